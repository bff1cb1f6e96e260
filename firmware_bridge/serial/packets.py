"""mujo-edge's packets on a serial line: one COBS frame each, ended by a zero byte
(`firmware_bridge.protocol.packet`)."""

from __future__ import annotations

from dataclasses import replace

from firmware_bridge.protocol import packet, predictions
from firmware_bridge.protocol.framing import Splitter, cobs_decode
from firmware_bridge.stream import CodecError, DeviceModelInfo, Format, Packet


class PacketDecoder:
    """A `Decoder` of packets with six channels, or with three. The first frame may be incomplete.

    With the `device_model` of a board that recognizes on the device, it decodes predictions too.
    """

    def __init__(
        self, gyroscope: bool, rate_hz: float | None = None, device_model: DeviceModelInfo | None = None
    ) -> None:
        self.format = format_of(gyroscope, rate_hz, device_model)
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
                        raise CodecError(f"a packet of {one.x.shape[1]} channels, not {len(self.format.channels)}")
                    packets.append(one)
            except CodecError as error:
                if begun:
                    self.bad, self.why = self.bad + 1, str(error)
        if self._frames.overlong > overlong:
            self.bad, self.why = self.bad + self._frames.overlong - overlong, "a frame that is too long"
        return packets

    def _decode(self, payload: bytes) -> list[Packet]:
        model, version = self.format.device_model, payload[0] >> 5 if payload else 0
        if model and version == predictions.PREDICTION:
            return [predictions.decode(payload, model)]
        if model and version == predictions.DEVICE_MODEL:
            predictions.PieceCollector().add(payload)  # the description is known; this only detects damage
            return []
        return packet.decode(payload)

    def finish(self) -> list[Packet]:
        """Nothing: an incomplete frame is of no use."""
        return []


def format_of(gyroscope: bool, rate_hz: float | None, device_model: DeviceModelInfo | None) -> Format:
    """The format of such packets. Predictions without samples have a clock, but no fixed rate."""
    format = packet.format_of(gyroscope, rate_hz)
    if device_model is None or device_model.samples:
        return replace(format, device_model=device_model)
    return replace(format, device_model=device_model, seq_bits=None, even=False)
