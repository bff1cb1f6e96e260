"""Our own packets on a serial line: a COBS frame each, ended by a zero byte (`firmware_bridge.packet`)."""

from __future__ import annotations

from firmware_bridge import packet
from firmware_bridge.framing import Splitter, cobs_decode
from firmware_bridge.stream import CodecError, Packet


class PacketDecoder:
    """A `Decoder` of packets with six channels, or of those with three. A first frame may be the end of one."""

    def __init__(self, gyroscope: bool, rate_hz: float | None = None) -> None:
        self.format = packet.format_of(gyroscope, rate_hz)
        self.bad, self.why = 0, ""
        self._frames = Splitter(b"\0")
        self._begun = False

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """See `Decoder`."""
        packets: list[Packet] = []
        overlong = self._frames.overlong
        for frame in self._frames.feed(data):
            begun, self._begun = self._begun, True
            try:
                for one in packet.decode(cobs_decode(frame)):
                    if one.x.shape[1] != len(self.format.channels):
                        raise CodecError(f"a packet of {one.x.shape[1]} channels among those of another number")
                    packets.append(one)
            except CodecError as error:
                if begun:
                    self.bad, self.why = self.bad + 1, str(error)
        if self._frames.overlong > overlong:
            self.bad, self.why = self.bad + self._frames.overlong - overlong, "a frame without end"
        return packets

    def finish(self) -> list[Packet]:
        """Nothing: the rest of a frame is of no use."""
        return []
