"""What three columns measure, by their values: an accelerometer with gravity, or something else, and in which unit.

An accelerometer keeps gravity in its mean over some seconds, however it moves; where gravity was taken out the mean is
near nothing. In real recordings of strong exercise, |a| of the quietest quarter goes from .5 to 2.6 g, and the longest
mean vector of 3 s from .6 to 2.2 g.
"""

from __future__ import annotations

import numpy as np

from mujo_edge.core import F64, STANDARD_GRAVITY, DataError

PIECE, BLOCK_S = 25, 3.0
"""Samples of a piece whose |a| is compared, and seconds over which gravity is averaged."""

LEAST_BLOCKS = 3
"""Fewer blocks prove nothing: three seconds of a throw have a mean near nothing, too."""

NO_GRAVITY = 0.25
"""|mean| over |a|, rms, of a block below which it holds no gravity; if so in all blocks, gravity was taken out."""

STATED = (0.4, 3.0)
"""Limits of |a| at rest in g, for a unit that the column states."""

COUNTS = (16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32)
"""Usual counts a g of sensors that give whole numbers."""

OTHERS = {
    "gyro": "a gyroscope", "rotationrate": "a gyroscope", "magnet": "a magnetometer", "compass": "a magnetometer",
    "linearacc": "acceleration without gravity", "linear": "acceleration without gravity",
    "useracc": "acceleration without gravity", "gravity": "gravity alone", "orientation": "an orientation",
    "quaternion": "an orientation", "euler": "an orientation",
}  # fmt: skip
"""Parts of names of files that hold no accelerometer, and what they hold."""


def at_rest(acc: F64) -> float:
    """Median |a| over the quietest quarter of half-second pieces (25 samples), in the unit of `acc` (n, 3)."""
    magnitude = np.linalg.norm(acc, axis=1)
    magnitude = magnitude[np.isfinite(magnitude)]
    if not len(magnitude):
        raise DataError("the accelerometer holds no finite number in the first rows")
    if len(magnitude) < PIECE:
        return float(np.median(magnitude))
    pieces = magnitude[: len(magnitude) // PIECE * PIECE].reshape(-1, PIECE)
    quiet = np.argsort(pieces.std(1), kind="stable")[: max(1, len(pieces) // 4)]
    return float(np.median(pieces[quiet]))


def blocks_of(acc: F64, rate_hz: float) -> tuple[F64, F64]:
    """|mean| and rms of |a| of every block of `BLOCK_S`, in the unit of `acc` (n, 3)."""
    acc = acc[np.isfinite(acc).all(1)]
    length = max(1, round(BLOCK_S * rate_hz))
    blocks = acc[: len(acc) // length * length].reshape(-1, length, 3)
    return np.linalg.norm(blocks.mean(1), axis=1), np.sqrt((blocks**2).sum(2).mean(1))


def check_gravity(acc: F64, rate_hz: float, names: str, *, stated: bool) -> None:
    """Raise `DataError` if columns `names` (n, 3) hold no gravity.

    Without a `stated` unit less is enough for a doubt: one block.
    """
    mean, rms = blocks_of(acc, rate_hz if stated else min(rate_hz, len(acc) / BLOCK_S))
    if len(mean) >= (LEAST_BLOCKS if stated else 1) and (rms > 0).all() and (mean / rms).max() < NO_GRAVITY:
        raise DataError(
            f"{names}: the mean over any {BLOCK_S:g} s is near 0, so gravity was taken out or this is a gyroscope; "
            "mujo-edge needs the accelerometer with gravity.\nExport the raw accelerometer, in phyphox "
            "'Acceleration (with g)', in Sensor Logger TotalAcceleration.csv. See docs/recordings.md."
        )


def constant_length(acc: F64, rate_hz: float) -> float | None:
    """The length of a vector (n, 3) that turns but keeps one length, as gravity alone and a magnetic field do."""
    good = acc[np.isfinite(acc).all(1)]
    size = np.linalg.norm(good, axis=1)
    if len(good) < LEAST_BLOCKS * BLOCK_S * rate_hz or size.min() <= 0 or np.ptp(size) > 2e-3 * size.mean():
        return None
    turned = good / size[:, None]
    return float(size.mean()) if np.linalg.norm(turned - turned.mean(0), axis=1).max() > 0.3 else None


def accelerometer_unit(acc: F64, rate_hz: float, names: str, *, bare: bool = False) -> tuple[float, str]:
    """The factor to m/s2 of columns whose unit is not stated, and a note.

    Whole numbers are counts of a usual scale, or mg; others m/s2, g or mg. With `bare` names, which do not even say
    that it is an accelerometer, gravity must fit more closely. Raises `DataError`, with the options that answer it,
    where no unit fits.
    """
    rest = at_rest(acc)
    mean, rms = blocks_of(acc, rate_hz)
    whole = bool((acc[np.isfinite(acc).all(1)] % 1 == 0).all()) and rest > 4
    # Gravity is what the mean keeps where |a| hardly changes, else |a| of the quietest pieces.
    steady = mean[mean > 0.98 * rms] if len(mean) else mean
    gravity = float(np.median(steady)) if len(steady) else rest
    scales = {"m/s2": STANDARD_GRAVITY, "g": 1.0, "mg": 1000.0}
    if whole:
        scales |= {f"{count}/g": float(count) for count in COUNTS}
    distance = {unit: abs(np.log(gravity / scale)) if gravity > 0 else np.inf for unit, scale in scales.items()}
    unit = min(distance, key=lambda name: distance[name])
    length = constant_length(acc, rate_hz)
    if length is not None and distance[unit] > 0.05:
        raise DataError(
            f"{names}: the vector turns but keeps its length, {length:.3g}, which is not that of gravity: a "
            "magnetometer?\nIf this is an accelerometer with gravity, state its unit: --units acc=g, acc=mg or "
            "acc=NUMBER/g"
        )
    limit = np.log(1.25 if whole and unit not in ("m/s2", "g") else 1.9)
    limit = min(limit, np.log(1.5)) if bare else limit
    usual = float(np.median(mean)) if len(mean) >= LEAST_BLOCKS else gravity
    fits = distance[unit] <= limit and (not bare or usual <= 1.5 * scales[unit])
    if not fits:
        raise DataError(
            f"{names}: the length at rest is {rest:.3g}, which is no usual unit (9.81 m/s2, 1 g, 1000 mg"
            + (", or 16384, 8192 ... 32 counts a g" if whole else "")
            + ").\nIf this is an accelerometer with gravity, state its unit: --units acc=g, acc=mg or acc=NUMBER/g"
        )
    near = [name for name, d in distance.items() if name != unit and abs(d - distance[unit]) < 0.05]
    doubt = f" ({' and '.join(near)} would fit nearly as well)" if near else ""
    factor = STANDARD_GRAVITY / scales[unit]
    return factor, f"accelerometer unit found from |a| at rest, {rest:.3g}: {unit}{doubt}; overrule it with --units"


def other_sensor(stem: str) -> str | None:
    """What a file holds by its name, if that is no accelerometer: "a gyroscope"."""
    name = "".join(c for c in stem.lower() if c.isalnum())
    if "total" in name or ("withg" in name or "includinggravity" in name):
        return None
    return next((what for part, what in OTHERS.items() if part in name), None)
