"""Meaning of the columns of a user's file: names and units of loggers and phone apps -> SI channels.

The tables below are all accepted names and units; `docs/recordings.md` shows them and a test keeps the two equal. A
unit that a name does not state is inferred from the data, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mujo_edge.core import F64, STANDARD_GRAVITY, DataError
from mujo_edge.recordings.evidence import STATED, accelerometer_unit, at_rest, check_gravity, constant_length
from mujo_edge.recordings.table import Kind
from mujo_edge.recordings.times import time_unit
from mujo_edge.recordings.units import (
    ACCELEROMETER_UNITS,
    GYROSCOPE_UNITS,
    NOTHING,
    TIME_UNITS,
    Answers,
    Units,
    factor_of,
    squeeze,
)
from mujo_edge.signal import DEFAULT_INPUT, Resampler

Split = tuple[str, str | None]
"""A column's name without punctuation, and its unit's spelling."""

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
    "epoch", "epoc", "unix time", "ts", "logging time", "datetime", "phone timestamp", "timestamps", "times",
    "time stamp", "timestamp unix", "sample time", "sample time fine", "date time", "date", "milliseconds", "millis",
    "microseconds", "micros", "nanoseconds", "seconds", "secs", "index level 0", "zeit", "zeitstempel", "temps",
    "heure", "tiempo", "hora", "fecha", "tempo", "tijd", "czas", "время", "时间", "时间戳", "時間", "시간",
)  # fmt: skip
CLOCKS = ("unix", "epoch", "utc", "gmt", "local", "iso", "iso8601", "hhmmss", "hhmmsssss", "sensor", "host")
"""What stands in brackets after the name of a time without being a unit."""

LABEL = ("label", "activity", "activity name", "class", "exercise", "truth", "annotation")

CORE_MOTION = ("accelerometer acceleration", "user acceleration", "user acc", "motion user acceleration")
"""Names of Apple's Core Motion, where gravity has the opposite sign: face up at rest, z = -1 g."""

SENSOR_LOGGER = "seconds elapsed"
"""Column that identifies files of Sensor Logger; those in g are Core Motion's, too."""

TURNED = 0.1
"""rad by which gravity must turn from its mean direction before a gyroscope's unit can be inferred."""

EVEN_S, EVEN_SHARE = 2 * Resampler.SNAP_S, 0.9
"""Times are even if this share of steps differs by at most this from the median; the others are gaps."""

IMPLIED_UNITS = {
    "g f": "g", "w": "rads", "seconds elapsed": "s", "milliseconds": "ms", "millis": "ms", "microseconds": "us",
    "micros": "us", "nanoseconds": "ns", "seconds": "s", "secs": "s", "sample time fine": "us",
}  # fmt: skip
"""Units of names that imply one, such as Physics Toolbox's gFx, Sensor Logger's seconds_elapsed, SampleTimeFine."""


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
    acc_names: str
    bare: bool
    """Whether the accelerometer's columns are only x, y and z."""
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
    notes = []
    clocks = [i for i, (base, _) in enumerate(split) if base in map(squeeze, TIME) and base == split[time or 0][0]]
    if gyro.columns and len(clocks) > 1 and max(acc.columns) < clocks[1] < min(gyro.columns):
        notes.append(f"the gyroscope has a clock of its own, column {clocks[1] + 1} {names[clocks[1]]!r}: not used")
        gyro = _Triple((), None, "")
    label = next((i for i, (base, _) in enumerate(split) if base in map(squeeze, LABEL)), None)
    axes = [names[i][:40] for i in acc.columns]
    used = {*clocks[1:], *acc.columns, *(gravity.columns if gravity else ()), *gyro.columns, time, label}
    unused = [repr(name[:40]) for i, name in enumerate(names) if i not in used]
    more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
    return Layout(
        acc=acc.columns,
        acc_factor=acc.factor,
        gravity=gravity.columns if gravity else (),
        linear=acc is linear,
        core_motion=acc.name in CORE_MOTION
        or (acc.name == "acceleration" and any(base == "deviceorientation" for base, _ in split)),
        sensor_logger=any(base == squeeze(SENSOR_LOGGER) for base, _ in split),
        gyro=gyro.columns,
        gyro_factor=gyro.factor,
        time=time,
        time_factor=time_factor,
        label=label,
        acc_names=f"columns {axes[0]!r}, {axes[1]!r}, {axes[2]!r}",
        bare=acc.name == "",
        notes=(*notes, *([f"columns not used: {', '.join(unused[:8])}{more}"] if unused else ())),
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


def find_units(layout: Layout, raw: ColumnData, rate_hz: float | None, answers: Answers = NOTHING) -> Layout:
    """Infer the factors that neither names nor the user state, and check that gravity is included.

    Args:
        layout: from `understand`.
        raw: the first rows.
        rate_hz: stated by the user if there is no time column.
        answers: of the user.

    Raises:
        DataError: a unit cannot be inferred, |a| at rest is not that of gravity, or gravity was taken out.
    """
    notes = list(layout.notes)
    layout = replace(
        layout,
        acc_factor=answers.acc or layout.acc_factor,
        gyro_factor=answers.gyro or layout.gyro_factor,
        time_factor=answers.time or layout.time_factor,
    )
    acc = raw.acc
    if raw.gravity is not None:
        # Some apps call it acceleration although gravity is not included.
        layout = replace(layout, linear=layout.linear or at_rest(acc) < 0.3 * at_rest(raw.gravity))
        if layout.linear:
            acc = acc + raw.gravity
            notes.append("accelerometer = acceleration without gravity + gravity")
    if raw.t is not None:
        if layout.time_factor is None:
            unit, factor = time_unit(raw.t, acc, layout.acc_factor)
            layout = replace(layout, time_factor=factor)
            notes.append(f"time unit found from the steps: {unit}")
        rate_hz = nominal_rate_hz(raw.t * (layout.time_factor or 1.0))
    rate = rate_hz or DEFAULT_INPUT.rate_hz
    check_gravity(acc, rate, layout.acc_names, stated=layout.acc_factor is not None)
    factor, note = _acc_factor(layout, acc, rate)
    if answers.sign is not None:
        factor *= answers.sign
    # Of the systems with a separate gravity, or with Sensor Logger, only Core Motion measures in g.
    elif layout.core_motion or ((layout.linear or layout.sensor_logger) and factor == STANDARD_GRAVITY):
        factor = -factor
        notes.append(
            "accelerometer of Apple's Core Motion: sign turned, so that the axis that points up reads +9.81 (--sign + "
            "leaves it)"
        )
    elif factor == STANDARD_GRAVITY and np.nanmedian(acc[:, 2]) < -0.7:
        notes.append(
            "z reads about -1 g: if the device lay face up, as an iPhone in g does, turn the sign with --sign -"
        )
    if note:
        notes.append(note)
    if constant_length(acc, rate) is not None:
        notes.append(f"{layout.acc_names} turn without any acceleration: if this is gravity alone, labels are wrong")
    layout = replace(layout, acc_factor=factor)
    if raw.gyro is not None and layout.gyro_factor is None:
        unit = _gyro_unit(rate, acc, raw.gyro)
        layout = replace(layout, gyro_factor=GYROSCOPE_UNITS[unit][0])
        notes.append(f"gyroscope unit found from how far gravity turns: {unit}; overrule it with --units")
    return replace(layout, notes=tuple(notes))


def _acc_factor(layout: Layout, acc: F64, rate_hz: float) -> tuple[float, str]:
    """The factor to m/s2, checked by |a| at rest or inferred from it, and a note if it was inferred."""
    if layout.acc_factor is None:
        return accelerometer_unit(acc, rate_hz, layout.acc_names, bare=layout.bare)
    rest_g = at_rest(acc) * layout.acc_factor / STANDARD_GRAVITY
    if STATED[0] <= rest_g <= STATED[1]:
        return layout.acc_factor, ""
    reason = "gravity is not included, but mujo-edge needs it" if rest_g < 0.5 else "the stated unit is wrong"
    raise DataError(
        f"|a| at rest is {rest_g:.3g} g by the unit of {layout.acc_names}; about 1 is right: {reason}.\n"
        "If only the unit is wrong, state it: --units acc=g, acc=mg, acc=m/s2 or acc=NUMBER/g"
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
        if squeeze(bracketed[2]) in CLOCKS:
            return squeeze(bracketed[1]), None
        # The 2 of m/s² is often lost when a logger wrote another code page than it stated.
        return squeeze(bracketed[1]), squeeze(bracketed[2].replace("\ufffd", "2"))
    words = re.split(r"[\W_]+", re.sub("([a-z])([A-Z])", r"\1_\2", name))
    for start in range(max(1, len(words) - 3), len(words)):
        unit = squeeze("".join(words[start:]))
        if unit in _SPELLINGS:
            return squeeze("".join(words[:start])), unit
    return squeeze(name), None


def _triple(split: Sequence[Split], names: Sequence[str], units: Units) -> _Triple | None:
    """The first of `names` with all three axes in one unit."""
    for name in names:
        stem = squeeze(name)
        pattern = re.compile(f"{stem}([xyz])(?:axis)?|([xyz])(?:axis)?{stem}")
        candidates: dict[tuple[float | None, str], int] = {}
        for i, (base, unit) in enumerate(split):
            match = pattern.fullmatch(base)
            unit = unit or IMPLIED_UNITS.get(name)
            factor = factor_of(units, unit) if unit else None
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
            if base != squeeze(name) or kinds[i] == "text":
                continue
            unit = unit or IMPLIED_UNITS.get(name)
            factor = 1.0 if kinds[i] == "datetime" else factor_of(TIME_UNITS, unit) if unit else None
            if factor is not None or unit is None:
                candidates.append((2 if kinds[i] == "datetime" else int(factor is None), rank, i, factor))
    if not candidates:
        # Any dates are times, also those of a nameless index.
        candidates = [(3, 0, i, 1.0) for i, kind in enumerate(kinds) if kind == "datetime"]
    return min(candidates)[2:] if candidates else (None, None)


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
        "the gyroscope's unit cannot be inferred from the data. Name it in the columns, e.g. gx_rad_s or gx_deg_s, or "
        "state it: --units gyro=rad/s or gyro=deg/s"
    )
