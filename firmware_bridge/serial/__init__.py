"""What boards send over a serial line: lines of numbers, WitMotion's frames, and our own packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from firmware_bridge.protocol import predictions as labels
from firmware_bridge.serial.lines import Columns, LineDecoder
from firmware_bridge.serial.packets import PacketDecoder
from firmware_bridge.serial.witmotion import WitMotionDecoder
from firmware_bridge.stream import CodecError, DeviceModelInfo

PROTOCOLS = ("csv", "wit", "packet")

SerialDecoder = LineDecoder | WitMotionDecoder | PacketDecoder


@dataclass(frozen=True, slots=True)
class SerialFormat:
    """What decoding a port needs. `protocol` and `names` as in `DetectedFormat`; `columns` belong to "csv"."""

    protocol: str
    gyroscope: bool
    rate_hz: float | None = None
    columns: Columns | None = None
    names: DeviceModelInfo | None = None

    def decoder(self) -> SerialDecoder:
        """A decoder for one connection."""
        if self.columns:
            return LineDecoder(self.columns, self.rate_hz)
        if self.protocol == "packet":
            return PacketDecoder(self.gyroscope, self.rate_hz, self.names)
        return WitMotionDecoder(self.gyroscope, self.rate_hz)

    def dump(self) -> dict[str, Any]:
        """What JSON can hold and `load` reads."""
        return asdict(self)

    @classmethod
    def load(cls, table: Mapping[str, Any]) -> SerialFormat:
        """Of `dump`, with other keys among them. Raises `CodecError` for anything that is no dialect."""
        try:
            protocol, layout, rate_hz = table["protocol"], table["columns"], table["rate_hz"]
            columns = None
            if layout is not None:
                layout = {key: tuple(value) if isinstance(value, list) else value for key, value in layout.items()}
                columns = Columns(**layout)
                used = [*columns.acc, *columns.gravity, *columns.gyro, columns.time or 0]
                columns.header.encode()
                if not all(0 <= place < columns.count for place in used):
                    raise CodecError(f"columns beyond the {columns.count} of a line")
            if (protocol == "csv") != (columns is not None) or protocol not in PROTOCOLS:
                raise CodecError(f"no protocol of a serial port: {protocol!r}")
            names = table.get("names")
            if names is not None:
                names = DeviceModelInfo(**{**names, "labels": tuple(names["labels"])})
                labels.encode_names(names)
            return cls(protocol, bool(table["gyroscope"]), None if rate_hz is None else float(rate_hz), columns, names)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CodecError(f"not what a serial port was opened with: {error}") from None
