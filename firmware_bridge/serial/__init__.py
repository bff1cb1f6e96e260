"""Decoders for serial ports: lines of numbers, WitMotion's frames, and mujo-edge's own packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.protocol import predictions
from firmware_bridge.serial.lines import Columns, LineDecoder
from firmware_bridge.serial.packets import PacketDecoder
from firmware_bridge.serial.witmotion import WitMotionDecoder
from firmware_bridge.stream import CodecError, DeviceModelInfo

PROTOCOLS = ("csv", "wit", "packet")

SerialDecoder = LineDecoder | WitMotionDecoder | PacketDecoder


@dataclass(frozen=True, slots=True)
class SerialFormat:
    """How to decode a port. `protocol` and `device_model` are as in `DetectedFormat`; `columns` are for "csv"."""

    protocol: str
    gyroscope: bool
    rate_hz: float | None = None
    columns: Columns | None = None
    device_model: DeviceModelInfo | None = None

    def decoder(self) -> SerialDecoder:
        """A decoder for one connection."""
        if self.columns:
            return LineDecoder(self.columns, self.rate_hz)
        if self.protocol == "packet":
            return PacketDecoder(self.gyroscope, self.rate_hz, self.device_model)
        return WitMotionDecoder(self.gyroscope, self.rate_hz)

    def dump(self) -> dict[str, Any]:
        """The format as a JSON object, for `load`. The device model has the key "names"."""
        table = asdict(self)
        table["names"] = table.pop("device_model")
        return table

    @classmethod
    def load(cls, table: Mapping[str, Any]) -> SerialFormat:
        """The format in a table of `dump`, which may have further keys. Raises `CodecError` for an invalid one."""
        try:
            protocol, layout, rate_hz = table["protocol"], table["columns"], table["rate_hz"]
            columns = None
            if layout is not None:
                layout = {key: tuple(value) if isinstance(value, list) else value for key, value in layout.items()}
                columns = Columns(**layout)
                used = [*columns.acc, *columns.gravity, *columns.gyro, columns.time or 0]
                columns.header.encode()
                if not all(0 <= index < columns.count for index in used):
                    raise CodecError(f"columns beyond the {columns.count} of a line")
            if (protocol == "csv") != (columns is not None) or protocol not in PROTOCOLS:
                raise CodecError(f"no protocol of a serial port: {protocol!r}")
            model = table.get("names")
            if model is not None:
                model = DeviceModelInfo(**{**model, "labels": tuple(model["labels"])})
                predictions.encode_device_model(model)
            return cls(protocol, bool(table["gyroscope"]), None if rate_hz is None else float(rate_hz), columns, model)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CodecError(f"not the format of a serial port: {error}") from None
