"""The repetitions in a stretch of accelerometer frames; see `mujo_edge.counting`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from mujo_edge.core import F64

POWER_STEPS = 32
"""Iterations for the first principal direction."""


@dataclass(frozen=True, slots=True)
class CounterSettings:
    """The counter's constants, chosen by `python -m training.count_sets --choose`; see docs/counting.md.

    Times in seconds. `min_swing` is the least swing (m/s2, peak to peak on the principal direction) of a repetition.
    `salience` and `likeness` are the least self-similarity at the period and the least median correlation of the
    repetitions with their template at which a bout begins.
    """

    frame_hz: float = 10.0
    memory_s: float = 120.0
    shortest_s: float = 0.5
    longest_s: float = 10.0
    lags: int = 44
    presmooth: int = 3
    octave: float = 0.9
    smooth: float = 0.3
    detrend: float = 1.75
    hysteresis: float = 0.5
    template: float = 0.3
    size: float = 0.6
    apart: float = 0.55
    min_swing: float = 0.3
    salience: float = 0.4
    likeness: float = 0.6
    least: int = 3
    rest_s: float = 4.0
    rest_periods: float = 3.0
    open_s: tuple[float, ...] = (8.0, 16.0, 32.0)


@dataclass(frozen=True, slots=True)
class Analysis:
    """The repetitions in some frames: (n, 2) first and last frame index, and their period and quality."""

    spans: np.ndarray
    period: int
    salience: float
    likeness: float


def analyze(z: F64, lag: np.ndarray, s: CounterSettings) -> Analysis | None:
    """The repetitions in frames (n, 3) in m/s2; None if nothing repeats."""
    if len(z) < 2 * lag[0] + 8:
        return None
    z = smooth(z, s.presmooth)
    found = period(z, lag, s)
    if found is None:
        return None
    frames, salience = found
    y = smooth(z - smooth(z, s.detrend * frames), s.smooth * frames)
    edge = len(y) // 8
    p = y @ principal(y[edge : len(y) - edge])
    step = max(1, frames // 4)
    spans = np.lib.stride_tricks.sliding_window_view(p, min(frames, len(p)))[::step]
    swing = float(np.median(np.ptp(spans, axis=1)))
    if swing < s.min_swing:
        return None
    extrema = turns(p, s.hysteresis * swing)
    best: Analysis | None = None
    for kind in (1, -1):
        spans, likeness = matching(y, extrema, kind, frames, s)
        if len(spans) and (best is None or likeness > best.likeness):
            best = Analysis(spans, frames, salience, likeness)
    return best


def period(z: F64, lag: np.ndarray, s: CounterSettings) -> tuple[int, float] | None:
    """Period of frames (n, 3) in frames, and the self-similarity there (1: identical); None if nothing repeats."""
    curve = similarity(z, lag)
    usable = lag <= len(z) // 2
    curve = np.where(usable, np.sort(curve, 0)[len(curve) // 2 :].mean(0), -1)
    peaks = [k for k in range(1, len(lag) - 1) if curve[k] > max(curve[k - 1], 0) and curve[k] >= curve[k + 1]]
    if not peaks:
        return None
    highest = max(curve[k] for k in peaks)
    k = next(k for k in peaks if curve[k] >= s.octave * highest)
    return int(lag[k]), float(curve[k])


def similarity(z: F64, lag: np.ndarray, hop: int = 5, least: int = 30) -> F64:
    """(n / hop, lags): 1 - d / v at a time and a lag.

    d is the mean square distance of frames to those one lag earlier, v the sum of the variances of both, each less its
    mean, over pairs of frames around the time that span twice the lag, or `least` frames.
    """
    n = len(z)
    centers = np.arange(0, n, hop)
    out = np.zeros((len(centers), len(lag)))
    sums = running(np.concatenate([z, (z * z).sum(1, keepdims=True)], 1))
    for k, shift in enumerate(lag.tolist()):
        pairs = n - shift
        if pairs <= 8:
            continue
        width = min(max(least, 2 * shift), pairs)
        low = np.clip(np.floor(centers - shift / 2 - width / 2).astype(np.int64), 0, pairs - width)
        high = low + width
        now = (sums[high + shift] - sums[low + shift]) / width
        then = (sums[high] - sums[low]) / width
        products = running((z[shift:] * z[:pairs]).sum(1, keepdims=True))
        both = (products[high] - products[low])[:, 0] / width - (now[:, :3] * then[:, :3]).sum(1)
        spread = now[:, 3] + then[:, 3] - (now[:, :3] ** 2).sum(1) - (then[:, :3] ** 2).sum(1)
        out[:, k] = 2 * both / (spread + 0.02)
    return out


def matching(
    y: F64, extrema: list[tuple[int, float, int]], kind: int, period: int, s: CounterSettings
) -> tuple[np.ndarray, float]:
    """Spans (n, 2) around the extrema of one kind that fit their common template, and their median correlation."""
    at = np.asarray([i for i, _, which in extrema if which == kind], np.int64)
    if len(at) == 0 or len(extrema) < 2:
        return np.empty((0, 2), np.int64), 0.0
    half = max(3, period // 2)
    padded = np.concatenate([np.repeat(y[:1], half, 0), y, np.repeat(y[-1:], half, 0)])
    shapes = np.stack([padded[i : i + 2 * half + 1] for i in at.tolist()])
    shapes = shapes - shapes.mean(1, keepdims=True)
    template = np.median(shapes, 0)
    size = np.sqrt((shapes**2).sum((1, 2)))
    likeness = (shapes * template).sum((1, 2)) / (size * np.sqrt((template**2).sum()) + 1e-9)
    typical = np.median(size)
    good = (likeness > s.template) & (size > s.size * typical) & (size < 2.5 * typical)
    chosen = distant(at[good], likeness[good], s.apart * period)
    if len(chosen) > 1 and chosen[0] == extrema[0][0] and chosen[-1] == extrema[-1][0]:
        # n + 1 extrema with n repetitions between them: each of the outermost has but one half movement.
        chosen = chosen[1:] if size[0] < size[-1] else chosen[:-1]
    return spans_around(chosen, extrema, kind, period, len(y)), float(np.median(likeness))


def spans_around(
    chosen: list[int], extrema: list[tuple[int, float, int]], kind: int, period: int, n: int
) -> np.ndarray:
    """(len(chosen), 2): first and last frame of the repetitions around the extrema at frames `chosen`, of `n` frames.

    Neighbors no further apart than 1.5 periods meet at the farthest turn between them; else a repetition ends at the
    farthest turn within 0.75 periods, or after half a period without one.
    """

    opposite = [(i, kind * value) for i, value, which in extrema if which != kind]
    frames = [i for i, _ in opposite]

    def farthest(first: float, last: float, otherwise: int) -> int:
        between = opposite[bisect_left(frames, first) : bisect_right(frames, last)]
        return min(between, key=lambda turn: (turn[1], turn[0]))[0] if between else otherwise

    spans: list[tuple[int, int]] = []
    for k, i in enumerate(chosen):
        previous = chosen[k - 1] if k else None
        if previous is not None and i - previous <= 1.5 * period:
            start = spans[-1][1]
        else:
            start = farthest(i - 0.75 * period, i, max(0, i - period // 2))
        following = chosen[k + 1] if k + 1 < len(chosen) else None
        if following is not None and following - i <= 1.5 * period:
            end = farthest(i, following, (i + following) // 2)
        else:
            end = farthest(i, i + 0.75 * period, min(n - 1, i + period // 2))
        spans.append((max(start, spans[-1][1] if spans else 0), end))
    return np.asarray(spans, np.int64).reshape(-1, 2)


def distant(at: np.ndarray, likeness: F64, apart: float) -> list[int]:
    """The candidates at frames (n,), in order, that have no better one nearer than `apart`, best first."""
    chosen: list[int] = []
    frames = at.tolist()
    for i in np.argsort(-likeness, kind="stable").tolist():
        k = bisect_left(chosen, frames[i])
        if all(abs(frames[i] - other) >= apart for other in chosen[max(0, k - 1) : k + 1]):
            chosen.insert(k, frames[i])
    return chosen


def turns(p: F64, hysteresis: float) -> list[tuple[int, float, int]]:
    """(index, value, 1 for a maximum and -1 for a minimum) where `p` (n,) turns by more than `hysteresis`.

    The first and the last are the extreme values before the first and after the last turn.
    """
    out: list[tuple[int, float, int]] = []
    highest = lowest = float(p[0])
    top = bottom = direction = 0
    for i, v in enumerate(p.tolist()):
        if v > highest:
            highest, top = v, i
        if v < lowest:
            lowest, bottom = v, i
        if direction != -1 and v < highest - hysteresis:
            out.append((top, highest, 1))
            direction, lowest, bottom = -1, v, i
        elif direction != 1 and v > lowest + hysteresis:
            out.append((bottom, lowest, -1))
            direction, highest, top = 1, v, i
    if direction:
        out.append((top, highest, 1) if direction == 1 else (bottom, lowest, -1))
    return out


def principal(y: F64) -> F64:
    """First principal direction (3,) of (n, 3), by power iteration from the axis of the largest variance."""
    centered = y - y.mean(0)
    covariance = centered.T @ centered
    v: F64 = np.eye(3)[int(np.argmax(np.diag(covariance)))]
    for _ in range(POWER_STEPS):
        w = covariance @ v
        length = float(np.sqrt((w * w).sum()))
        if length == 0:
            break
        v = w / length
    return v


def running(z: F64) -> F64:
    """Sums (n + 1, C) of the first 0 to n rows of (n, C)."""
    return np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z, 0)])


def lags(settings: CounterSettings, hz: float) -> np.ndarray:
    """Lags in frames, evenly spaced in logarithm."""
    even = np.geomspace(settings.shortest_s * hz, settings.longest_s * hz, settings.lags)
    return np.unique(np.rint(even).astype(np.int64))


def smooth(z: F64, width: float) -> F64:
    """Centered moving average of (n, C) over `width` frames, with the end values repeated outside."""
    w = max(1, round(width))
    if w == 1:
        return z
    padded = np.concatenate([np.repeat(z[:1], w // 2, 0), z, np.repeat(z[-1:], w - 1 - w // 2, 0)])
    sums = running(padded)
    out: F64 = (sums[w:] - sums[:-w]) / w
    return out
