"""Pure functions on arrays: resampling, windows, and the one preprocessing of training and live.

Streams are (n, C), model input is (N, C, 1, T); the transpose happens here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from mujo_edge.core import CHANNELS, F32, F64, DataError

@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model takes. Kept in `bundle.json`, so that training and live cannot differ.

    `scale` divides each channel (m/s2, rad/s); `clip` bounds the scaled values.
    """

    channels: tuple[str, ...] = CHANNELS
    rate_hz: float = 50.0
    window: int = 150
    hop: int = 25
    scale: tuple[float, ...] = (9.80665,) * 3 + (4.0,) * 3
    clip: float = 4.0
    max_gap_s: float = 0.25


def lowpass_kernel(rate_hz: float, to_hz: float) -> F64:
    """Odd-length windowed-sinc low-pass at 0.45 * `to_hz` for samples at `rate_hz`; sums to 1."""
    half = ceil(4 * rate_hz / to_hz)
    kernel = np.sinc(0.9 * to_hz / rate_hz * np.arange(-half, half + 1)) * np.hamming(2 * half + 1)
    return np.asarray(kernel / kernel.sum(), np.float64)


def fir(x: F64, kernel: F64) -> F64:
    """Valid-mode FIR of (n, C) along time -> (n - len(kernel) + 1, C).

    Tap by tap, so that an output depends on its own inputs alone and a stream that arrives in
    chunks gives the same bits as one array.
    """
    n = len(x) - len(kernel) + 1
    y = np.zeros((n, x.shape[1]))
    for k, weight in enumerate(kernel[::-1]):
        y += weight * x[k : k + n]
    return y


def resample(x: np.ndarray, rate_hz: float, to_hz: float = 50.0) -> F64:
    """(n, C) at `rate_hz` -> (m, C) at `to_hz`: low-pass if faster, then linear interpolation.

    The rule of protocol v1 ("windowed sinc at 0.45 * 50 Hz"); one whole recording at a time.
    """
    x = np.asarray(x, np.float64)
    if rate_hz == to_hz:
        return x
    if rate_hz > to_hz:
        kernel = lowpass_kernel(rate_hz, to_hz)
        half = len(kernel) // 2
        x = fir(np.pad(x, ((half, half), (0, 0)), "edge"), kernel)
    t = np.arange(floor((len(x) - 1) * to_hz / rate_hz) + 1) * rate_hz / to_hz
    return np.stack([np.interp(t, np.arange(len(x)), column) for column in x.T], 1)


def segment_windows(x: np.ndarray, window: int = 150, hop: int = 75, shortest: int = 25) -> np.ndarray:
    """(n, C) of ONE label -> (N, window, C).

    A segment of at least `shortest` but less than `window` samples gives one window, centre-padded
    with its edge values; a shorter one gives none (protocol v1).
    """
    n = len(x)
    if n < shortest:
        return np.empty((0, window, x.shape[1]), x.dtype)
    if n < window:
        before = (window - n) // 2
        return np.pad(x, ((before, window - n - before), (0, 0)), "edge")[None]
    return np.stack([x[i : i + window] for i in range(0, n - window + 1, hop)])


def channels_first(windows: np.ndarray) -> np.ndarray:
    """(N, T, C) windows of a stream -> (N, C, T) model layout: the only transpose in the house."""
    return np.ascontiguousarray(np.swapaxes(windows, 1, 2))


def prepare(x: np.ndarray, spec: InputSpec) -> F32:
    """(N, 3 or 6, T) m/s2 and rad/s -> model input (N, 6, 1, T) float32, scaled and clipped.

    With three channels the gyroscope half is zero, as in training. Raises `DataError` for any other
    shape and for values that are not finite.
    """
    x = np.asarray(x, np.float32)
    total = len(spec.channels)
    if x.ndim != 3 or x.shape[1] not in (3, total) or x.shape[2] != spec.window:
        raise DataError(
            f"windows have shape {x.shape}; expected (N, 3, {spec.window}) or (N, {total}, {spec.window}): "
            f"{spec.window / spec.rate_hz:g} s at {spec.rate_hz:g} Hz"
        )
    if not np.isfinite(x).all():
        raise DataError("windows hold values that are not finite; drop or repair those samples first")
    given = x.shape[1]
    out = np.zeros((len(x), total, 1, spec.window), np.float32)
    scale = np.asarray(spec.scale[:given], np.float32)[:, None]
    np.clip(x / scale, -spec.clip, spec.clip, out=out[:, :given, 0])
    return out
