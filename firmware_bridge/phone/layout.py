"""Layouts: the streams of a phone that make up the rows, with gravity added where it is separate, and sensors
merged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from firmware_bridge.merge import Merger
from firmware_bridge.phone.json_fields import number
from firmware_bridge.stream import ACC, F32, F64, IMU, CodecError, Format, Packet


@dataclass(frozen=True, slots=True)
class Layout:
    """The streams in use, by the phone's own names.

    `gravity` is added to an `acceleration` without it. Both times `factor` are m/s2 with +9.81 on the axis that points
    up: `factor` is negative for a phone with the opposite sign. The gyroscope is in rad/s.
    """

    acceleration: str
    gravity: str | None = None
    gyroscope: str | None = None
    factor: float = 1.0
    placement: str | None = None

    @property
    def streams(self) -> frozenset[str]:
        """Names of all streams in use."""
        return frozenset(name for name in (self.acceleration, self.gravity, self.gyroscope) if name)

    @property
    def format(self) -> Format:
        """The format of the rows; axes of a phone: x to its right, y to its top, z out of the display."""
        return Format(IMU if self.gyroscope else ACC, None, placement=self.placement)

    def about(self) -> dict[str, object]:
        """The layout as a JSON object, for a transcript."""
        return asdict(self)

    @classmethod
    def of(cls, about: Mapping[str, object]) -> Layout:
        """The layout in an object of `about`. Raises `CodecError`."""
        names = [about.get(name) for name in ("acceleration", "gravity", "gyroscope", "placement")]
        if not isinstance(names[0], str) or not all(isinstance(name, str | None) for name in names):
            raise CodecError("the transcript does not say which streams the phone sent")
        acceleration, gravity, gyroscope, placement = (str(name) if name else None for name in names)
        return cls(acceleration or "", gravity, gyroscope, number(about.get("factor")), placement)


def choose(streams: Collection[str], whole: Collection[str], linear: str, gravity: str, gyroscope: str) -> Layout:
    """The best layout for the available `streams`.

    Args:
        whole: accelerations with gravity, in order of preference. linear: acceleration without gravity.

    Raises `CodecError` with the reason if there is no acceleration with gravity.
    """
    rotation = gyroscope if gyroscope in streams else None
    best = next((name for name in whole if name in streams), None)
    if best is not None:
        return Layout(best, gyroscope=rotation)
    if linear not in streams:
        raise CodecError("the phone sends no acceleration")
    if gravity not in streams:
        raise CodecError("the phone sends acceleration without gravity, and no separate gravity")
    return Layout(linear, gravity, rotation)


class Joiner:
    """Joins samples of the streams of a layout into packets of its format."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._others = [name for name in (layout.gravity, layout.gyroscope) if name]
        self._merger = Merger(layout.acceleration, self._others)

    def feed(self, name: str, t_s: F64, xyz: F32) -> list[Packet]:
        """Add samples `xyz` (n, 3) of one of the streams, taken at `t_s` (n,) -> the rows that they complete."""
        if not len(t_s):
            return []
        if self._others:
            return [self._row(packet) for packet in self._merger.feed(name, t_s, xyz)]
        return [Packet((xyz * self._layout.factor).astype(np.float32), t_s=t_s)]

    def finish(self) -> list[Packet]:
        """The pending rows, at the end of the connection."""
        return [self._row(packet) for packet in self._merger.finish()]

    def _row(self, packet: Packet) -> Packet:
        x = packet.x
        acceleration = x[:, :3] + x[:, 3:6] if self._layout.gravity else x[:, :3]
        parts = [
            acceleration * self._layout.factor,
            x[:, 3 * len(self._others) :] if self._layout.gyroscope else x[:, :0],
        ]
        return Packet(np.concatenate(parts, 1).astype(np.float32), t_s=packet.t_s)
