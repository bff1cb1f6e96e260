"""Pure functions on arrays: resampling, windows, and the preprocessing that training and live streaming share.

Streams are (n, C), model input is (N, C, 1, T); the transpose happens here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from firmware_bridge.merge import MAX_STEP_S
from mujo_edge.core import CHANNELS, F32, F64, DataError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The model's input, kept in `bundle.json` so that training and live streaming cannot differ.

    `window` and `hop` are samples at `rate_hz`. `scale` divides each channel (m/s2, rad/s); `clip` bounds the scaled
    values. `max_gap_s` is the longest step between samples that is interpolated; a longer one resets the window.
    """

    channels: tuple[str, ...] = CHANNELS
    rate_hz: float = 50.0
    window: int = 150
    hop: int = 25
    scale: tuple[float, ...] = (9.80665,) * 3 + (4.0,) * 3
    clip: float = 4.0
    max_gap_s: float = MAX_STEP_S


DEFAULT_INPUT = InputSpec()
"""The input of the shipped models. Code without a bundle uses it; time constants elsewhere are derived from it."""

SHORTEST = round(0.5 * DEFAULT_INPUT.rate_hz)
"""Samples of the shortest segment that gives a window (protocol v1)."""


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


def resample(x: np.ndarray, rate_hz: float, to_hz: float = DEFAULT_INPUT.rate_hz) -> F64:
    """(n, C) at `rate_hz` -> (m, C) at `to_hz`: low-pass if faster, then linear interpolation.

    The rule of protocol v1 ("windowed sinc at 0.45 * 50 Hz"); one whole recording at a time.
    """
    y: F64 = np.asarray(x, np.float64)
    if rate_hz == to_hz or not len(y):
        return y
    if rate_hz > to_hz:
        kernel = lowpass_kernel(rate_hz, to_hz)
        half = len(kernel) // 2
        y = fir(np.pad(y, ((half, half), (0, 0)), "edge"), kernel)
    t = np.arange(floor((len(y) - 1) * to_hz / rate_hz) + 1, dtype=np.float64) * rate_hz / to_hz
    return interpolate(t, np.arange(len(y), dtype=np.float64), y)


def interpolate(at: F64, u: F64, x: F64) -> F64:
    """Linear interpolation of (n, C) samples at increasing `u` (n,) -> (m, C) at `at`, held at the ends.

    The formula of `numpy.interp`, and the sample's own bits where a point falls on one. A point depends
    on its two neighbors alone, so that a stream that arrives in chunks gives the same bits as one array.
    """
    at = np.clip(at, u[0], u[-1])
    left = np.searchsorted(u, at, side="right") - 1
    y = x[left]
    between = np.flatnonzero(at > u[left])
    left = left[between]
    slope = (x[left + 1] - x[left]) / (u[left + 1] - u[left])[:, None]
    y[between] += slope * (at[between] - u[left])[:, None]
    return y


@dataclass(frozen=True, slots=True)
class Grid:
    """Consecutive samples at the model's rate.

    `t_s` (m,) device time; `x` (m, C) float32; `bridged` (m,) True where the point lies between two samples
    more than 1.5 intervals apart, that is, where a sample is missing.
    """

    t_s: F64
    x: F32
    bridged: Mask


class Resampler:
    """`resample` for a stream: samples with device times in, chunk by chunk, samples on a uniform grid out.

    Any split into chunks gives the same bits. A clean recording at a constant rate gives the bits of
    `resample`, except at the end: `resample` pads it with the last value, which a stream cannot know. Output from a
    faster source therefore lags by half a low-pass kernel (80 ms at 50 Hz), and its last points are never produced.
    Samples at exactly `to_hz` pass through unchanged. Jitter and missing samples are bridged linearly; a faster
    source is first interpolated on an even grid at its own rate, so that the low-pass sees even samples.

    Times must increase by at least `MIN_STEP_S`, without long gaps; `mujo_edge.gaps` ensures both.
    """

    MIN_STEP_S = 100e-6
    """Smallest step from one sample to the next."""

    SNAP_S = 20e-6
    """A time this close to a multiple of the interval is taken as that multiple, to undo the rounding of text files."""

    def __init__(self, channels: int, rate_hz: float, to_hz: float = DEFAULT_INPUT.rate_hz) -> None:
        self.rate_hz, self.to_hz = rate_hz, to_hz
        self._start_s: float | None = None
        self._output = _Polyline(channels, rate_hz, to_hz)
        self._kernel = lowpass_kernel(rate_hz, to_hz) if rate_hz > to_hz else None
        self._even = _Polyline(channels, 1.0, 1.0)
        self._delayed: tuple[F64, Mask] | None = None
        self._filtered = 0

    def update(self, t_s: F64, x: F32) -> Grid:
        """(n,) seconds and (n, C) samples -> the grid points that they complete, none or more."""
        if self._start_s is None and len(t_s):
            self._start_s = float(t_s[0])
        start_s = self._start_s or 0.0
        u = (t_s - start_s) * self.rate_hz
        whole = np.rint(u)
        u = np.where(np.abs(u - whole) <= self.SNAP_S * self.rate_hz, whole, u)
        y, bridged = np.asarray(x, np.float64), np.zeros(len(x), np.bool_)
        if self._kernel is not None:
            _, y, bridged = self._even.extend(u, y, bridged)
            u, y, bridged = self._lowpass(self._kernel, y, bridged)
        k, y, bridged = self._output.extend(u, y, bridged)
        return Grid(start_s + k / self.to_hz, y.astype(np.float32), bridged)

    def _lowpass(self, kernel: F64, x: F64, bridged: Mask) -> tuple[F64, F64, Mask]:
        """The next even samples -> (index, values, bridged) of those that the kernel now covers."""
        half = len(kernel) // 2
        if self._delayed is not None:
            x, bridged = np.concatenate([self._delayed[0], x]), np.concatenate([self._delayed[1], bridged])
        elif len(x):
            x, bridged = np.pad(x, ((half, 0), (0, 0)), "edge"), np.pad(bridged, (half, 0))
        else:
            return np.empty(0), x, bridged
        self._delayed = x[-2 * half :], bridged[-2 * half :]
        if len(x) <= 2 * half:
            return np.empty(0), x[:0], bridged[:0]
        index = np.arange(self._filtered, self._filtered + len(x) - 2 * half, dtype=np.float64)
        self._filtered += len(index)
        return index, fir(x, kernel), bridged[half:-half]


class _Polyline:
    """Knots of a stream, interpolated at k * numerator / denominator for k = 0, 1, 2, ..."""

    def __init__(self, channels: int, numerator: float, denominator: float) -> None:
        self._numerator, self._denominator = numerator, denominator
        self._next = 0
        self._u, self._x, self._bridged = np.empty(0), np.empty((0, channels)), np.empty(0, np.bool_)

    def extend(self, u: F64, x: F64, bridged: Mask) -> tuple[F64, F64, Mask]:
        """Add (n,) positions, (n, C) values and their flags -> (k, values, bridged) of the points now covered."""
        u, x = np.concatenate([self._u, u]), np.concatenate([self._x, x])
        bridged = np.concatenate([self._bridged, bridged])
        if not len(u):
            return u, x, bridged
        k = np.arange(self._next, int(u[-1] * self._denominator / self._numerator) + 2, dtype=np.float64)
        k = k[k * self._numerator / self._denominator <= u[-1]]
        at = k * self._numerator / self._denominator
        self._next += len(k)
        left = np.searchsorted(u, at, side="right") - 1
        right = np.minimum(left + (at > u[left]), len(u) - 1)
        across = bridged[left] | bridged[right] | (u[right] - u[left] > 1.5)
        y = interpolate(at, u, x)
        keep = max(int(np.searchsorted(u, self._next * self._numerator / self._denominator, side="right")) - 1, 0)
        self._u, self._x, self._bridged = u[keep:], x[keep:], bridged[keep:]
        return k, y, across


def segment_windows(
    x: np.ndarray, window: int = DEFAULT_INPUT.window, hop: int = DEFAULT_INPUT.window // 2, shortest: int = SHORTEST
) -> np.ndarray:
    """(n, C) of ONE label -> (N, window, C).

    A segment of at least `shortest` but less than `window` samples gives one window, center-padded
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
    """(N, T, C) windows of a stream -> (N, C, T) model layout: the only transpose in mujo-edge."""
    return np.ascontiguousarray(np.swapaxes(windows, 1, 2))


def prepare(x: np.ndarray, spec: InputSpec) -> F32:
    """(N, 3 or 6, T) m/s2 and rad/s -> model input (N, 6, 1, T) float32, scaled and clipped.

    With three channels the gyroscope half is zero, as in training. Raises `DataError` for any other
    shape and for values that are not finite.
    """
    x = np.asarray(x, np.float32)
    total = len(spec.channels)
    if x.ndim != 3 or x.shape[1] not in (3, total) or x.shape[2] != spec.window:
        turned = x.ndim == 3 and x.shape[2] in (3, total) and x.shape[1] == spec.window
        raise DataError(
            f"windows have shape {x.shape}; expected (N, 3, {spec.window}) or (N, {total}, {spec.window}): "
            f"{spec.window / spec.rate_hz:g} s at {spec.rate_hz:g} Hz"
            + (". Channels come before time: pass x.transpose(0, 2, 1)" if turned else "")
        )
    if not np.isfinite(x).all():
        raise DataError("windows hold values that are not finite; drop or repair those samples first")
    n_channels = x.shape[1]
    out = np.zeros((len(x), total, 1, spec.window), np.float32)
    scale = np.asarray(spec.scale[:n_channels], np.float32)[:, None]
    np.clip(x / scale, -spec.clip, spec.clip, out=out[:, :n_channels, 0])
    return out
