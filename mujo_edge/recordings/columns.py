"""Meaning of the columns of a user's file: names and units of loggers and phone apps -> SI channels.

The tables below are all accepted names and units; `docs/recordings.md` shows them and a test keeps the two equal. A
unit that a name does not state is inferred from the data, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi

import numpy as np

from mujo_edge.core import F64, STANDARD_GRAVITY, DataError
from mujo_edge.recordings.table import Kind
from mujo_edge.signal import DEFAULT_INPUT, Resampler

Split = tuple[str, str | None]
"""A column's name without punctuation, and its unit's spelling."""

Units = dict[str, tuple[float, tuple[str, ...]]]
"""Unit -> (factor to SI, spellings without punctuation)."""

ACCELEROMETER = (
    "a", "acc", "accel", "accelerometer", "acceleration", "accelerometer acceleration", "total acceleration", "g f", "",
)  # fmt: skip
GYROSCOPE = (
    "g", "gyr", "gyro", "gyroscope", "w", "omega", "as", "rotation rate", "gyro rotation", "motion rotation rate",
    "angular velocity", "angular rate", "",
)  # fmt: skip
GRAVITY = ("gravity", "motion gravity")
LINEAR = ("linear acceleration", "user acceleration", "user acc", "motion user acceleration")
TIME = (
    "t", "seconds elapsed", "elapsed", "relative time", "time since start", "time since start in",
    "accelerometer timestamp since reboot", "motion timestamp since reboot", "sensor timestamp", "timestamp", "time",
    "epoch", "epoc", "unix time", "ts", "logging time", "datetime", "phone timestamp",
)  # fmt: skip
LABEL = ("label", "activity", "activity name", "class", "exercise", "truth", "annotation")

ACCELEROMETER_UNITS: Units = {
    "m/s2": (1.0, ("ms2", "mps2", "mss", "msec2")),
    "g": (STANDARD_GRAVITY, ("g", "gs")),
    "mg": (STANDARD_GRAVITY / 1000, ("mg", "millig")),
}
GYROSCOPE_UNITS: Units = {
    "rad/s": (1.0, ("rads", "radsec", "radps", "radianss")),
    "deg/s": (pi / 180, ("degs", "dps", "degsec", "degreess")),
    "mdeg/s": (pi / 180_000, ("mdegs", "mdps")),
}
TIME_UNITS: Units = {
    "s": (1.0, ("s", "sec", "secs", "seconds")),
    "ms": (1e-3, ("ms", "msec", "millis", "milliseconds")),
    "us": (1e-6, ("us", "usec", "micros", "microseconds")),
    "ns": (1e-9, ("ns", "nanos", "nanoseconds")),
}
CORE_MOTION = ("accelerometer acceleration", "user acceleration", "user acc", "motion user acceleration")
"""Names of Apple's Core Motion, where gravity has the opposite sign: face up at rest, z = -1 g."""

SENSOR_LOGGER = "seconds elapsed"
"""Column that identifies files of Sensor Logger; those in g are Core Motion's, too."""

TURNED = 0.1
"""rad by which gravity must turn from its mean direction before a gyroscope's unit can be inferred."""

EVEN_S, EVEN_SHARE = 2 * Resampler.SNAP_S, 0.9
"""Times are even if this share of steps differs by at most this from the median; the others are gaps."""

IMPLIED_UNITS = {"g f": "g", "w": "rads", "seconds elapsed": "s"}
"""Units of names that imply one: Physics Toolbox's gFx and wx, Sensor Logger's seconds_elapsed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of each quantity; a factor of None is still to be inferred from the data.

    `acc`, `gyro` and `gravity` are columns of x, y, z, the latter two () if absent; `linear`
    says that `gravity` must be added to `acc`. Factors multiply to m/s2, rad/s and seconds. That of
    `acc` is negative if gravity points down in the file; here the axis that points up reads +9.81 m/s2.
    """

    acc: tuple[int, ...]
    acc_factor: float | None
    gravity: tuple[int, ...]
    linear: bool
    core_motion: bool
    sensor_logger: bool
    gyro: tuple[int, ...]
    gyro_factor: float | None
    time: int | None
    time_factor: float | None
    label: int | None
    notes: tuple[str, ...]


ACCEPTED = (
    "Accepted: accelerometer ax ay az, acc_x, accX, accelerometer_x, 'Acceleration x (m/s^2)', 'x-axis (g)', x "
    "in m/s2, g or mg; gyroscope gx gy gz, gyro_x, 'Gyroscope x (rad/s)' in rad/s or deg/s; "
    "time t_s, seconds_elapsed, timestamp, time in s, ms, us, ns or ISO 8601; label. See docs/recordings.md."
)
"""For error messages; `docs/recordings.md` has the complete list."""


def understand(names: Sequence[str], kinds: Sequence[Kind]) -> Layout:
    """Find the columns by their names.

    Raises `DataError`, with the accepted and the found names, if there is no accelerometer with three axes, or only
    one without gravity.
    """
    split = [_split(name) for name in names]
    gravity = _triple(split, GRAVITY, ACCELEROMETER_UNITS)
    linear = _triple(split, LINEAR, ACCELEROMETER_UNITS)
    acc = _triple(split, ACCELEROMETER, ACCELEROMETER_UNITS) or linear
    if acc is None:
        listed = ", ".join(repr(name[:40]) for name in names[:12]) + (", ..." if len(names) > 12 else "")
        raise DataError(f"no accelerometer columns with three axes among: {listed}.\n{ACCEPTED}")
    if gravity and gravity.factor != acc.factor:
        gravity = None
    if acc is linear and not gravity:
        raise DataError(
            f"{names[acc.columns[0]]!r} is acceleration without gravity; mujo-edge needs it with gravity.\n"
            "Export the raw accelerometer, in phyphox 'Acceleration (with g)'. See docs/recordings.md."
        )
    gyro = _triple(split, GYROSCOPE, GYROSCOPE_UNITS) or _Triple((), None, "")
    time, time_factor = _time(split, kinds)
    label = next((i for i, (base, _) in enumerate(split) if base in map(_squeeze, LABEL)), None)
    used = {*acc.columns, *(gravity.columns if gravity else ()), *gyro.columns, time, label}
    unused = [repr(name[:40]) for i, name in enumerate(names) if i not in used]
    more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
    return Layout(
        acc=acc.columns,
        acc_factor=acc.factor,
        gravity=gravity.columns if gravity else (),
        linear=acc is linear,
        core_motion=acc.name in CORE_MOTION,
        sensor_logger=any(base == _squeeze(SENSOR_LOGGER) for base, _ in split),
        gyro=gyro.columns,
        gyro_factor=gyro.factor,
        time=time,
        time_factor=time_factor,
        label=label,
        notes=(f"columns not used: {', '.join(unused[:8])}{more}",) if unused else (),
    )


@dataclass(frozen=True, slots=True)
class _Triple:
    """Columns of x, y, z, the factor to SI if the unit is known, and the name that matched."""

    columns: tuple[int, ...]
    factor: float | None
    name: str


@dataclass(frozen=True, slots=True)
class ColumnData:
    """Numbers in the units of the file: `t` (n,), the others (n, 3); None if there is no such column."""

    t: F64 | None
    acc: F64
    gravity: F64 | None
    gyro: F64 | None


def find_units(layout: Layout, raw: ColumnData, rate_hz: float | None) -> Layout:
    """Infer the factors that the names do not state, and check that gravity is included.

    Args:
        layout: from `understand`.
        raw: the first rows.
        rate_hz: stated by the user if there is no time column.

    Raises:
        DataError: a unit cannot be inferred, or |a| at rest is not that of gravity.
    """
    notes = list(layout.notes)
    if raw.t is not None:
        if layout.time_factor is None:
            unit = _time_unit(raw.t)
            layout = replace(layout, time_factor=TIME_UNITS[unit][0])
            notes.append(f"time unit found from the steps: {unit}")
        rate_hz = nominal_rate_hz(raw.t * (layout.time_factor or 1.0))
    acc = raw.acc
    if raw.gravity is not None:
        # Some apps call it acceleration although gravity is not included.
        layout = replace(layout, linear=layout.linear or _at_rest(acc) < 0.3 * _at_rest(raw.gravity))
        if layout.linear:
            acc = acc + raw.gravity
            notes.append("accelerometer = acceleration without gravity + gravity")
    factor, note = _acc_factor(layout, _at_rest(acc))
    # Of the systems with a separate gravity, or with Sensor Logger, only Core Motion measures in g.
    if layout.core_motion or ((layout.linear or layout.sensor_logger) and factor == STANDARD_GRAVITY):
        factor = -factor
        notes.append("accelerometer of Apple's Core Motion: sign turned, so that the axis that points up reads +9.81")
    if note:
        notes.append(note)
    layout = replace(layout, acc_factor=factor)
    if raw.gyro is not None and layout.gyro_factor is None:
        unit = _gyro_unit(rate_hz or DEFAULT_INPUT.rate_hz, acc, raw.gyro)
        layout = replace(layout, gyro_factor=GYROSCOPE_UNITS[unit][0])
        notes.append(f"gyroscope unit found from how far gravity turns: {unit}")
    return replace(layout, notes=tuple(notes))


def _acc_factor(layout: Layout, rest: float) -> tuple[float, str]:
    """The factor to m/s2, checked by |a| at rest or inferred from it, and a note if it was inferred."""
    if layout.acc_factor is not None:
        rest_g = rest * layout.acc_factor / STANDARD_GRAVITY
        if 0.5 <= rest_g <= 4.0:
            return layout.acc_factor, ""
        reason = "gravity is not included, but mujo-edge needs it" if rest_g < 0.5 else "the unit in the name is wrong"
        raise DataError(f"|a| at rest is {rest_g:.3g} g by the unit in the column's name; about 1 is right: {reason}.")
    # Continuous movement raises |a| to a few g; the ranges still do not overlap.
    for unit, low, high in (("m/s2", 5.0, 40.0), ("g", 0.5, 4.0), ("mg", 500.0, 4000.0)):
        if low <= rest <= high:
            return ACCELEROMETER_UNITS[unit][0], f"accelerometer unit found from |a| at rest, {rest:.3g}: {unit}"
    raise DataError(
        f"|a| at rest is {rest:.3g}: neither 9.81 m/s2, nor 1 g, nor 1000 mg.\nEither gravity is not included, which "
        "mujo-edge needs (from Sensor Logger give WristMotion.csv or TotalAcceleration.csv), or the unit is another: "
        "convert it, and name it in the columns, e.g. ax_m_s2."
    )


def even_rate_hz(t: F64) -> float | None:
    """`nominal_rate_hz` of even times; None if they jitter by more than rounding, so that the rate must be measured.

    Motion events of phones, for example, are 16 or 17 ms apart: the rate of the median step is up to 2 % off.
    """
    steps = np.diff(t[np.isfinite(t)])
    steps = steps[steps > 0]
    even = len(steps) and np.mean(np.abs(steps - np.median(steps)) <= EVEN_S) >= EVEN_SHARE
    return nominal_rate_hz(t) if even else None


def nominal_rate_hz(t: F64) -> float | None:
    """Reciprocal of the median positive step of `t` in seconds, to four digits; None if there is none."""
    steps = np.diff(t[np.isfinite(t)])
    steps = steps[steps > 0]
    return float(f"{1 / np.median(steps):.4g}") if len(steps) else None


def _squeeze(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower().replace("°", "deg").replace("²", "2").replace("µ", "u"))


_SPELLINGS = {
    spelling
    for units in (ACCELEROMETER_UNITS, GYROSCOPE_UNITS, TIME_UNITS)
    for _, spellings in units.values()
    for spelling in spellings
}


def _split(name: str) -> Split:
    """Name and unit: 'Acceleration x (m/s²)' -> ('accelerationx', 'ms2'), 'gx_rad_s' -> ('gx', 'rads')."""
    bracketed = re.fullmatch(r"(.*?)[(\[]([^)\]]*)[)\]]\W*", name, re.DOTALL)
    if bracketed:
        # The 2 of m/s² is often lost when a logger wrote another code page than it stated.
        return _squeeze(bracketed[1]), _squeeze(bracketed[2].replace("\ufffd", "2"))
    words = re.split(r"[\W_]+", re.sub("([a-z])([A-Z])", r"\1_\2", name))
    for start in range(max(1, len(words) - 3), len(words)):
        unit = _squeeze("".join(words[start:]))
        if unit in _SPELLINGS:
            return _squeeze("".join(words[:start])), unit
    return _squeeze(name), None


def _factor(units: Units, spelling: str) -> float | None:
    return next((factor for factor, spellings in units.values() if spelling in spellings), None)


def _triple(split: Sequence[Split], names: Sequence[str], units: Units) -> _Triple | None:
    """The first of `names` with all three axes in one unit."""
    for name in names:
        stem = _squeeze(name)
        pattern = re.compile(f"{stem}([xyz])(?:axis)?|([xyz])(?:axis)?{stem}")
        candidates: dict[tuple[float | None, str], int] = {}
        for i, (base, unit) in enumerate(split):
            match = pattern.fullmatch(base)
            unit = unit or IMPLIED_UNITS.get(name)
            factor = _factor(units, unit) if unit else None
            # A bare x without a unit is taken as an accelerometer's.
            if match and (factor or (unit is None and (name or units is ACCELEROMETER_UNITS))):
                candidates.setdefault((factor, match[1] or match[2]), i)
        for factor, _ in list(candidates):
            if all((factor, axis) in candidates for axis in "xyz"):
                return _Triple(tuple(candidates[factor, axis] for axis in "xyz"), factor, name)
    return None


def _time(split: Sequence[Split], kinds: Sequence[Kind]) -> tuple[int | None, float | None]:
    """The time column and its factor; one with a unit is preferred to one without, and that to dates."""
    candidates: list[tuple[int, int, int, float | None]] = []
    for rank, name in enumerate(TIME):
        for i, (base, unit) in enumerate(split):
            if base != _squeeze(name) or kinds[i] == "text":
                continue
            unit = unit or IMPLIED_UNITS.get(name)
            factor = 1.0 if kinds[i] == "datetime" else _factor(TIME_UNITS, unit) if unit else None
            if factor is not None or unit is None:
                candidates.append((2 if kinds[i] == "datetime" else int(factor is None), rank, i, factor))
    return min(candidates)[2:] if candidates else (None, None)


def _time_unit(t: F64) -> str:
    """The unit in which the median step is that of 2 to 2,000 samples per second; the ranges do not overlap."""
    steps = np.diff(t[np.isfinite(t)])
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    for unit, (factor, _) in TIME_UNITS.items():
        if 0.0005 <= step * factor < 0.5:
            return unit
    raise DataError(
        f"the time column steps by {step:.3g}: no sample rate between 2 and 2,000 Hz in s, ms, us or ns. "
        "Name its unit in the column, e.g. timestamp_ms."
    )


def _at_rest(acc: F64) -> float:
    """Median |a| over the quietest quarter of half-second pieces (25 samples), in the unit of `acc`."""
    magnitude = np.linalg.norm(acc, axis=1)
    magnitude = magnitude[np.isfinite(magnitude)]
    if not len(magnitude):
        raise DataError("the accelerometer holds no finite number in the first rows")
    if len(magnitude) < 25:
        return float(np.median(magnitude))
    pieces = magnitude[: len(magnitude) // 25 * 25].reshape(-1, 25)
    quiet = np.argsort(pieces.std(1), kind="stable")[: max(1, len(pieces) // 4)]
    return float(np.median(pieces[quiet]))


def _gyro_unit(rate_hz: float, acc: F64, gyro: F64) -> str:
    """rad/s or deg/s, from the angle by which gravity turns in the sensor frame and the integral of the gyroscope.

    The integral is larger by a factor of 1.2 to 21 in the trials of MotionSense, SPAR and sp-sw in rad/s, and of
    64 to 620 in those of UTD-MHAD, which are in deg/s. For a sensor that lies still both are noise and offset, so
    gravity must turn by `TURNED`.
    """
    good = np.isfinite(acc).all(1) & np.isfinite(gyro).all(1)
    length = max(3, round(rate_hz / 2))
    pieces = int(good.sum()) // length
    if pieces > 1:
        down = acc[good][: pieces * length].reshape(pieces, length, 3).mean(1)
        down /= np.maximum(np.linalg.norm(down, axis=1, keepdims=True), 1e-9)
        still = np.linalg.norm(down - down.mean(0), axis=1).max() < TURNED
        turned = 0.0 if still else float(np.linalg.norm(np.diff(down, axis=0), axis=1).sum())
        summed = float(np.linalg.norm(gyro[good], axis=1).sum()) / rate_hz
        if 0.5 * turned < summed < 25 * turned:
            return "rad/s"
        if 50 * turned < summed < 1500 * turned:
            return "deg/s"
    raise DataError(
        "the gyroscope's unit cannot be inferred from the data. Name it in the columns, e.g. gx_rad_s or gx_deg_s."
    )
