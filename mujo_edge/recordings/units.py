"""Units of recordings and their spellings, and what the user states about a file's or a board's columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import pi

from mujo_edge.core import STANDARD_GRAVITY, UsageError

Units = dict[str, tuple[float, tuple[str, ...]]]
"""Unit -> (factor to SI, spellings without punctuation)."""

ACCELEROMETER_UNITS: Units = {
    "m/s2": (1.0, ("ms2", "mps2", "mss", "msec2")),
    "g": (STANDARD_GRAVITY, ("g", "gs")),
    "mg": (STANDARD_GRAVITY / 1000, ("mg", "millig")),
    "1/64 g": (STANDARD_GRAVITY / 64, ("164g",)),
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


@dataclass(frozen=True, slots=True)
class Answers:
    """What the user states about the columns; None is found from names and values.

    `columns` are names that replace those of the file or board, in order. `acc`, `gyro` and `time` are factors to m/s2,
    rad/s and seconds; `sign` is -1 if gravity points the other way, so that the axis that points up reads negative.
    """

    columns: tuple[str, ...] | None = None
    acc: float | None = None
    gyro: float | None = None
    time: float | None = None
    sign: int | None = None

    @classmethod
    def parse(
        cls, columns: str | None = None, units: str | None = None, time_unit: str | None = None, sign: str | None = None
    ) -> Answers:
        """From the options `--columns t_s,ax_g,...`, `--units acc=g,gyro=deg/s` (or `acc=16384/g`), `--time-unit ms`
        (or `1/32768`) and `--sign -`. Raises `UsageError` for anything else."""
        known = {"acc": ACCELEROMETER_UNITS, "gyro": GYROSCOPE_UNITS}
        factors: dict[str, float] = {}
        for part in (units or "").split(",") if units else []:
            what, _, unit = (word.strip() for word in part.partition("="))
            counts = re.fullmatch(r"(\d+(?:\.\d+)?)/(?:g|dps|\(deg/s\))", unit)
            one = STANDARD_GRAVITY if what == "acc" else pi / 180
            factor = (
                one / float(counts[1]) if counts and float(counts[1]) else factor_of(known.get(what, {}), squeeze(unit))
            )
            if factor is None:
                raise UsageError(
                    f"--units {part.strip()}: give acc=m/s2, acc=g, acc=mg or counts a g such as acc=16384/g; "
                    "gyro=rad/s, gyro=deg/s or counts such as gyro=16.4/dps; with a comma between them"
                )
            factors[what] = factor
        if sign not in (None, "+", "-"):
            raise UsageError(f"--sign {sign}: give + if the axis that points up reads positive, else -")
        names = tuple(name.strip() for name in columns.split(",")) if columns is not None else None
        time = None if time_unit is None else _time_factor(time_unit)
        return cls(names, factors.get("acc"), factors.get("gyro"), time, {None: None, "+": 1, "-": -1}[sign])


def _time_factor(text: str) -> float:
    ticks = re.fullmatch(r"1/(\d+(?:\.\d+)?)(?: ?s)?", text.strip())
    factor = 1 / float(ticks[1]) if ticks and float(ticks[1]) else factor_of(TIME_UNITS, squeeze(text))
    if factor is None:
        raise UsageError(f"--time-unit {text}: give s, ms, us, ns, or ticks such as 1/32768")
    return factor


NOTHING = Answers()
"""No answers: all is found from names and values."""


def squeeze(name: str) -> str:
    """A name in lower case, letters and digits only."""
    plain = name.lower().replace("°", "deg").replace("²", "2").replace("µ", "u").replace("μ", "u")
    return re.sub(r"[\W_]+", "", plain)


def factor_of(units: Units, spelling: str) -> float | None:
    """The factor to SI of a unit in a known spelling, else None."""
    return next((factor for factor, spellings in units.values() if spelling in spellings), None)
