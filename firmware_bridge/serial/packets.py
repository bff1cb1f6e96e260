"""Our own packets on a serial line: a COBS frame each, ended by a zero byte (`firmware_bridge.protocol.packet`)."""

from __future__ import annotations

from dataclasses import replace

from firmware_bridge.protocol import packet
from firmware_bridge.protocol import predictions as labels
from firmware_bridge.protocol.framing import Splitter, cobs_decode
from firmware_bridge.stream import CodecError, DeviceModelInfo, Format, Packet


class PacketDecoder:
    """A `Decoder` of packets with six channels, or of those with three. A first frame may be the end of one.

    With the `names` of a board that recognizes by itself also of its labels.
    """

    def __init__(self, gyroscope: bool, rate_hz: float | None = None, names: DeviceModelInfo | None = None) -> None:
        self.format = format_of(gyroscope, rate_hz, names)
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
                for one in self._decode(cobs_decode(frame)):
                    if one.x.shape[1] != len(self.format.channels):
                        raise CodecError(f"a packet of {one.x.shape[1]} channels among those of another number")
                    packets.append(one)
            except CodecError as error:
                if begun:
                    self.bad, self.why = self.bad + 1, str(error)
        if self._frames.overlong > overlong:
            self.bad, self.why = self.bad + self._frames.overlong - overlong, "a frame without end"
        return packets

    def _decode(self, payload: bytes) -> list[Packet]:
        names, version = self.format.names, payload[0] >> 5 if payload else 0
        if names and version == labels.LABEL:
            return [labels.decode(payload, names)]
        if names and version == labels.NAMES:
            labels.Gatherer().add(payload)  # for a computer that comes later; damage is seen all the same
            return []
        return packet.decode(payload)

    def finish(self) -> list[Packet]:
        """Nothing: the rest of a frame is of no use."""
        return []


def format_of(gyroscope: bool, rate_hz: float | None, names: DeviceModelInfo | None) -> Format:
    """The format of such packets. Labels alone have a clock, but come when they will."""
    format = packet.format_of(gyroscope, rate_hz)
    if names is None or names.samples:
        return replace(format, names=names)
    return replace(format, names=names, seq_bits=None, even=False)
