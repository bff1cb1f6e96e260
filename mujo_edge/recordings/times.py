"""Times of the rows of a file: stamps shared by several samples, and columns that count instead of telling the time.

A logger may stamp samples coarsely (whole seconds, ticks of 15.6 ms) or once for a pack of them, as a notification
brings it. Then a stamp is that of the last sample of its pack, and the samples before it are spread back evenly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mujo_edge.core import F64, STANDARD_GRAVITY, DataError
from mujo_edge.recordings.units import TIME_UNITS

TINY, TINY_SHARE = 0.1, 0.02
"""Stamps are coarse if more than this share of steps are below `TINY` of the mean step."""

ANCHOR_S = 2.0
"""Time between the stamps that samples are spread between, at most: shorter, and jitter would remain."""

LONG = 0.75
"""Part of the usual interval of packs by which one may be late before the samples are taken as missing."""

PARTIAL = 0.8
"""A pack with fewer than this part of the samples of its interval is incomplete, as the last one of a file can be."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Even times of samples with coarse stamps: `t_s` at the row numbers `row`, linear between them.

    `period_s` is the measured time between samples, `pack` the usual number of samples of one stamp.
    """

    row: F64
    t_s: F64
    period_s: float
    pack: float

    def at(self, first: int, n: int) -> F64:
        """(n,) times of the rows from `first` on; continued with the period at the ends."""
        rows = np.arange(first, first + n, dtype=np.float64)
        t: F64 = np.interp(rows, self.row, self.t_s)
        t += np.minimum(rows - self.row[0], 0) * self.period_s + np.maximum(rows - self.row[-1], 0) * self.period_s
        return t


def is_coarse(t: F64, x: F64) -> bool:
    """Whether stamps (n,) are shared by samples (n, k), and not repeated together with them by a logger."""
    good = np.isfinite(t)
    steps = np.diff(t[good])
    forward = steps[steps >= 0]
    if len(forward) < 8 or not forward.sum():
        return False
    tiny = (steps >= 0) & (steps < TINY * np.median(forward[forward > TINY * forward.mean()]))
    runs = np.diff(np.flatnonzero(np.r_[True, ~tiny, True]))
    if runs.max() > len(steps) / 2:  # a clock that stood still
        return False
    same = (np.diff(x[good], axis=0) == 0).all(1)
    moving = (~same).mean() > 0.1
    return float(tiny.mean()) > TINY_SHARE and not (moving and same[tiny].mean() > 0.5)


def spread(stamps: Iterable[F64], period_s: float | None = None) -> Spread:
    """Even times for the `stamps` of a whole file in seconds, block by block; `period_s` if it is known."""
    last_row, stamp, size = _packs(stamps)
    interval = np.diff(stamp)
    usual = float(np.median(interval[interval > 0])) if (interval > 0).any() else 0.0
    full = (interval > 0) & (interval < 1.5 * usual)
    if full.sum() > 2:
        full[-1] = False  # the last pack may be incomplete
    for _ in range(2):
        measured = float(interval[full].sum() / size[1:][full].sum()) if full.any() else usual
        known_s = period_s or measured
        late = (interval > size[1:] * known_s + LONG * max(usual, known_s)) | (interval <= 0)
        # Neither are those before and after missing samples.
        full &= ~late & ~np.r_[late[1:], False] & ~np.r_[False, late[:-1]]
    partial = np.r_[False, (size[1:] * known_s < PARTIAL * np.minimum(interval, usual)) & ~late]
    # A segment begins after missing samples, and after an incomplete pack; each is even from its first row to its last.
    begins = np.flatnonzero(np.r_[True, late | partial[:-1]])
    rows, times = [], []
    for first, after in pairwise([*begins.tolist(), len(stamp)]):
        whole = [k for k in range(first, after) if not partial[k]] or [first]
        rows.append(last_row[first] - size[first] + 1)
        times.append(stamp[whole[0]] - (last_row[whole[0]] - rows[-1]) * known_s)
        for k in whole:
            if stamp[k] - times[-1] >= ANCHOR_S or (k == whole[-1] and last_row[k] > rows[-1]):
                rows.append(last_row[k])
                times.append(stamp[k])
        if last_row[after - 1] > rows[-1]:
            times.append(times[-1] + (last_row[after - 1] - rows[-1]) * known_s)
            rows.append(last_row[after - 1])
    return Spread(np.array(rows, np.float64), np.array(times), known_s, float(np.median(size)))


def _packs(stamps: Iterable[F64]) -> tuple[F64, F64, F64]:
    """(last row, stamp of the last row, number of rows) of every pack: rows whose steps are tiny beside the others."""
    t = np.concatenate([*stamps])
    t = np.where(np.isfinite(t), t, np.nan)
    for i in np.flatnonzero(np.isnan(t)):
        t[i] = t[i - 1] if i else 0.0
    steps = np.diff(t)
    forward = steps[steps >= 0]
    limit = TINY * float(np.median(forward[forward > TINY * forward.mean()])) if forward.sum() else 0.0
    ends = np.r_[np.flatnonzero((steps >= limit) | (steps < 0)), len(t) - 1]
    return ends.astype(np.float64), t[ends], np.diff(np.r_[-1, ends]).astype(np.float64)


def counts_rows(t: F64) -> bool:
    """Whether a column of numbers only counts: 0, 1, 2, ... and no time since 1970."""
    t = t[np.isfinite(t)]
    steps = np.diff(t)
    return len(t) > 8 and bool((t == np.floor(t)).all()) and np.mean(steps == 1) > 0.95 and abs(t[0]) < 1e9


EPOCH = (1e9, 4e9)
"""Seconds since 1970 that recordings have: a large number tells its own unit."""

FAST_HZ, QUICK_HZ = 400.0, 15.0
"""A rate above the first is doubted if half the power of |a| then lies above the second: people move more slowly."""


def time_unit(t: F64, acc: F64, acc_factor: float | None) -> tuple[str, float]:
    """The unit of times (n,) whose column does not state it, and its factor to seconds.

    It is the one in which the steps are those of 2 to 2,000 samples per second; the ranges do not overlap.
    Raises `DataError`, with the options that answer it, if there is none, or if people cannot move as fast as `acc`
    (n, 3) then did: ticks of another clock look like microseconds.
    """
    if counts_rows(t):
        raise DataError("the time column only counts rows (0, 1, 2, ...). Give the sample rate: --rate HZ")
    good = t[np.isfinite(t)]
    steps = np.diff(good)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    largest = float(np.abs(good).max()) if len(good) else 0.0
    for unit, (factor, _) in TIME_UNITS.items():
        epoch = EPOCH[0] <= largest * factor <= EPOCH[1]
        if not 0.0005 <= step * factor < 0.5:
            continue
        rate_hz = 1 / (step * factor)
        if rate_hz > FAST_HZ and not epoch and _too_quick(acc, rate_hz, acc_factor):
            raise DataError(
                f"the time column steps by {step:.4g}: in {unit} that is {rate_hz:.4g} Hz, which is faster than this "
                f"movement can be; in ticks of 1/32768 s it is {32768 / step:.4g} Hz.\n"
                f"State the unit: --time-unit {unit}, or --time-unit 1/32768"
            )
        return unit, factor
    raise DataError(
        f"the time column steps by {step:.3g}: no sample rate between 2 and 2,000 Hz in s, ms, us or ns. "
        "Name its unit in the column, e.g. timestamp_ms, or state it: --time-unit ms"
    )


def _too_quick(acc: F64, rate_hz: float, acc_factor: float | None) -> bool:
    """Whether half the power of |a| lies above `QUICK_HZ` at this rate, while it moves."""
    size = np.linalg.norm(acc[np.isfinite(acc).all(1)], axis=1)
    scale = acc_factor or (STANDARD_GRAVITY / np.median(size) if len(size) and np.median(size) > 0 else 1.0)
    if len(size) < 64 or size.std() * abs(scale) < 0.2:
        return False
    power = np.abs(np.fft.rfft((size - size.mean()) * np.hanning(len(size)))) ** 2
    half = int(np.searchsorted(np.cumsum(power), power.sum() / 2))
    return float(np.fft.rfftfreq(len(size), 1 / rate_hz)[half]) > QUICK_HZ
