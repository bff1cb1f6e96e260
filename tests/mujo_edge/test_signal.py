"""The pure functions of preprocessing; equal to protocol v1 where it is available."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mujo_edge.core import CHANNELS, DataError
from mujo_edge.signal import (
    InputSpec,
    channels_first,
    fir,
    interpolate,
    lowpass_kernel,
    prepare,
    resample,
    segment_windows,
)

SPEC = InputSpec()
RATES_HZ = [12.5, 20.0, 25.0, 50.0, 52.6, 64.0, 97.3, 100.0, 104.0, 200.0, 400.0]

values = st.floats(-200, 200, width=32)
slow = settings(max_examples=50, deadline=None)


def signal(n: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 5, (n, channels)).cumsum(0) * 0.1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n", [1, 2, 3, 149, 1000])
def test_resample_follows_the_protocol(protocol: ModuleType, rate_hz: float, n: int) -> None:
    x = signal(n)
    np.testing.assert_allclose(resample(x, rate_hz), protocol.resample(x, rate_hz), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 24, 25, 26, 99, 149, 150, 151, 224, 225, 226, 1000])
def test_windows_equal_the_protocol_bit_for_bit(protocol: ModuleType, n: int) -> None:
    x = signal(n).astype(np.float32)
    ours, theirs = channels_first(segment_windows(x)), protocol.windows(x)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_default_input_follows_the_protocol(protocol: ModuleType) -> None:
    assert (SPEC.rate_hz, SPEC.window) == (protocol.RATE_HZ, protocol.WINDOW)


@pytest.mark.parametrize("rate_hz", [rate for rate in RATES_HZ if rate > 50])
def test_low_pass_keeps_movement_and_prevents_aliasing(rate_hz: float) -> None:
    kernel = lowpass_kernel(rate_hz, 50.0)
    assert len(kernel) % 2 == 1
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-15)
    assert kernel.sum() == pytest.approx(1)

    def gain(hz: float) -> float:
        return abs(np.exp(-2j * np.pi * hz / rate_hz * np.arange(len(kernel))) @ kernel)

    assert all(gain(hz) == pytest.approx(1, abs=0.02) for hz in np.arange(0, 11, 0.5))
    assert all(gain(hz) < 0.02 for hz in np.arange(34, rate_hz / 2, 0.5))


@slow
@given(
    x=hnp.arrays(np.float64, st.tuples(st.integers(0, 60), st.integers(1, 6)), elements=values),
    kernel=hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(-1, 1)),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_fir_is_a_convolution_with_bits_independent_of_the_split(
    x: np.ndarray, kernel: np.ndarray, cuts: list[int]
) -> None:
    taps = len(kernel)
    x = np.pad(x, ((taps - 1, 0), (0, 0)))
    y = fir(x, kernel)
    expected = [np.convolve(column, kernel, "valid") if len(x) >= taps else [] for column in x.T]
    np.testing.assert_allclose(y, np.stack(expected, 1).reshape(y.shape), atol=1e-9)
    edges = [0, *sorted(min(cut, len(y)) for cut in cuts), len(y)]
    parts = [fir(x[a : b + taps - 1], kernel) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), y)


@slow
@given(rate_hz=st.floats(5, 500), n=st.integers(1, 400), level=values)
def test_resampling_keeps_length_and_level(rate_hz: float, n: int, level: float) -> None:
    y = resample(np.full((n, 2), level), rate_hz)
    assert y.dtype == np.float64
    assert abs((len(y) - 1) / 50 - (n - 1) / rate_hz) < 1 / 50 + 1e-9
    np.testing.assert_allclose(y, level, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_slow_sine_is_preserved(rate_hz: float) -> None:
    t = np.arange(0, 20, 1 / rate_hz)
    y = resample(np.sin(2 * np.pi * t)[:, None], rate_hz)[:, 0]
    truth = np.sin(2 * np.pi * np.arange(len(y)) / 50)
    np.testing.assert_allclose(y[10:-10], truth[10:-10], atol=0.5 / rate_hz + 0.02)


def test_aliases_are_removed() -> None:
    t = np.arange(0, 20, 1 / 200)
    y = resample(np.sin(2 * np.pi * 45 * t)[:, None], 200.0)
    assert np.abs(y[10:-10]).max() < 0.03


def test_model_rate_passes_through_unchanged() -> None:
    x = signal(77).astype(np.float32)
    np.testing.assert_array_equal(resample(x, 50.0), x.astype(np.float64))


@pytest.mark.parametrize("rate_hz", [25.0, 50.0, 100.0])
def test_empty_input_gives_empty_output(rate_hz: float) -> None:
    assert resample(np.empty((0, 6), np.float32), rate_hz).shape == (0, 6)


@slow
@given(
    steps=st.lists(st.floats(0.001, 10), min_size=1, max_size=40),
    at=st.lists(st.floats(-10, 500), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
)
def test_interpolate_equals_numpy_and_is_exact_on_samples(steps: list[float], at: list[float], seed: int) -> None:
    u = np.cumsum(steps)
    x = signal(len(u), 2, seed)
    points = np.array(sorted(at))
    expected = np.stack([np.interp(points, u, column) for column in x.T], 1)
    np.testing.assert_allclose(interpolate(points, u, x), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(interpolate(u, u, x), x)


@slow
@given(n=st.integers(0, 700), window=st.integers(1, 200), hop=st.integers(1, 200), shortest=st.integers(1, 50))
def test_windows_hold_the_segment_in_order(n: int, window: int, hop: int, shortest: int) -> None:
    x = np.arange(n)[:, None]
    windows = segment_windows(x, window, hop, shortest)
    assert windows.shape[1:] == (window, 1)
    if n < shortest:
        assert len(windows) == 0
    elif n < window:
        assert len(windows) == 1
        row = windows[0, :, 0]
        np.testing.assert_array_equal(np.unique(row), np.arange(n))
        assert (np.diff(row) >= 0).all()
        padding = (row == 0).sum(), (row == n - 1).sum()
        assert n == 1 or 0 <= padding[1] - padding[0] <= 1
    else:
        assert len(windows) == (n - window) // hop + 1
        for i, row in enumerate(windows[:, :, 0]):
            np.testing.assert_array_equal(row, np.arange(i * hop, i * hop + window))


def test_channels_first_is_the_transpose_in_c_order() -> None:
    x = np.arange(24).reshape(2, 4, 3)
    y = channels_first(x)
    assert y.shape == (2, 3, 4)
    assert y.flags.c_contiguous
    assert y[1, 2, 3] == x[1, 3, 2]


def windows_of(channels: int) -> st.SearchStrategy[np.ndarray]:
    finite = st.floats(-1e9, 1e9, width=32)
    return hnp.arrays(np.float32, st.tuples(st.integers(0, 3), st.just(channels), st.just(150)), elements=finite)


@slow
@given(x=st.sampled_from([3, 6]).flatmap(windows_of))
def test_prepare_scales_clips_and_fills(x: np.ndarray) -> None:
    before = x.copy()
    y = prepare(x, SPEC)
    n, n_channels, _ = x.shape
    assert (y.shape, y.dtype) == ((n, 6, 1, 150), np.float32)
    assert y.flags.c_contiguous
    scale = np.float32(SPEC.scale)[:n_channels, None]
    np.testing.assert_array_equal(y[:, :n_channels, 0], np.clip(x / scale, -4, 4))
    assert not y[:, n_channels:].any()
    np.testing.assert_array_equal(x, before)


@slow
@given(x=windows_of(6))
def test_prepare_is_independent_of_the_batch(x: np.ndarray) -> None:
    y = prepare(x, SPEC)
    for i in range(len(x)):
        np.testing.assert_array_equal(prepare(x[i : i + 1], SPEC)[0], y[i])
    np.testing.assert_array_equal(prepare(x.astype(np.float64), SPEC), y)
    np.testing.assert_array_equal(prepare(np.asfortranarray(x), SPEC), y)


def test_missing_gyroscope_is_zero() -> None:
    x = np.zeros((2, 6, 150), np.float32)
    x[:, :3] = signal(150, 3).T
    np.testing.assert_array_equal(prepare(x[:, :3], SPEC), prepare(x, SPEC))


def test_one_g_is_scaled_to_one() -> None:
    x = np.full((1, 3, 150), 9.80665, np.float32)
    np.testing.assert_array_equal(prepare(x, SPEC)[0, :3], 1)


def test_prepare_follows_its_spec() -> None:
    spec = InputSpec(channels=CHANNELS[:3], rate_hz=25.0, window=50, scale=(2.0, 4.0, 8.0), clip=1.5)
    y = prepare(np.full((1, 3, 50), 4.0, np.float32), spec)
    np.testing.assert_array_equal(y[0, :, 0, 0], [1.5, 1.0, 0.5])
    with pytest.raises(DataError, match="2 s at 25 Hz"):
        prepare(np.zeros((1, 3, 150), np.float32), spec)


@pytest.mark.parametrize(
    "shape", [(6, 150), (1, 6, 149), (1, 6, 151), (1, 4, 150), (1, 150, 6), (1, 0, 150), (1, 6, 1, 150), ()]
)
def test_shape_error_names_the_expected_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected \(N, 3, 150\) or \(N, 6, 150\): 3 s at 50 Hz") as caught:
        prepare(np.zeros(shape, np.float32), SPEC)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 149), (1, 5, 75)])
def test_values_that_are_not_finite_are_rejected(bad: float, place: tuple[int, int, int]) -> None:
    x = np.zeros((2, 6, 150), np.float32)
    x[place] = bad
    with pytest.raises(DataError, match="not finite"):
        prepare(x, SPEC)


@pytest.mark.parametrize("function", [lambda x: resample(x, 100.0), segment_windows], ids=["resample", "windows"])
def test_inputs_are_not_modified(function: Callable[[np.ndarray], np.ndarray]) -> None:
    x = signal(300)
    before = x.copy()
    function(x)
    np.testing.assert_array_equal(x, before)
