"""The streaming resampler: the same bits for any chunks, and those of the one-shot `resample`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.signal import Grid, Resampler, interpolate, resample

RATES = [12.5, 25.0, 33.3, 50.0, 52.63, 60.0, 99.3, 100.0, 104.0, 200.0]


def run(t_s: np.ndarray, x: np.ndarray, rate_hz: float, cuts: list[int]) -> Grid:
    resampler = Resampler(x.shape[1], rate_hz)
    parts = [
        resampler.update(t, part)
        for t, part in zip(np.split(t_s, sorted(cuts)), np.split(x, sorted(cuts)), strict=True)
    ]
    return Grid(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("t_s", "x", "bridged")))


def same(a: Grid, b: Grid) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("t_s", "x", "bridged"))


@settings(deadline=None)  # a few hundred calls for some splits, which a busy machine does not finish in 200 ms
@given(
    rate_hz=st.sampled_from(RATES),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 400),
    jitter=st.sampled_from([0.0, 0.3]),
    missing=st.sampled_from([0.0, 0.1]),
    data=st.data(),
)
def test_resampler_keeps_bits_for_any_chunking(
    rate_hz: float, seed: int, n: int, jitter: float, missing: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    t_s = 17.0 + (np.arange(n) + jitter * rng.uniform(-1, 1, n)) / rate_hz
    present = rng.uniform(size=n) >= missing
    t_s, x = t_s[present], rng.normal(0, 9, (n, 3)).astype(np.float32)[present]
    cuts = data.draw(st.lists(st.integers(0, len(x)), max_size=40))
    assert same(run(t_s, x, rate_hz, cuts), run(t_s, x, rate_hz, []))
    assert same(run(t_s, x, rate_hz, list(range(len(x)))), run(t_s, x, rate_hz, []))


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("start_s", [0.0, 1.7e9])
def test_resampler_equals_resample_on_a_clean_recording(rate_hz: float, start_s: float) -> None:
    x = np.random.default_rng(1).normal(0, 9, (2001, 6)).astype(np.float32)
    grid = run(start_s + np.arange(len(x)) / rate_hz, x, rate_hz, list(range(0, len(x), 7)))
    whole = resample(x, rate_hz).astype(np.float32)
    late = int(np.ceil(0.08 * 50)) + 1 if rate_hz > 50 else 0
    assert len(whole) - late <= len(grid.x) <= len(whole)
    assert grid.x.tobytes() == whole[: len(grid.x)].tobytes()
    np.testing.assert_allclose(grid.t_s, start_s + np.arange(len(grid.x)) / 50, atol=1e-6)
    assert not grid.bridged.any()


def test_samples_at_the_model_rate_pass_through_at_once() -> None:
    x = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    x[3] = -0.0
    resampler = Resampler(3, 50.0)
    for i in range(50):
        # Times rounded as in a text file.
        grid = resampler.update(np.array([round(100 + i * 0.02, 6)]), x[i : i + 1])
        assert grid.x.tobytes() == x[i].tobytes()


def test_missing_sample_is_bridged_and_flagged() -> None:
    t_s = np.arange(100) / 50
    x = np.stack([t_s, 2 * t_s, -t_s], 1).astype(np.float32)
    present = np.arange(100) != 40
    grid = run(t_s[present], x[present], 50.0, [])
    np.testing.assert_allclose(grid.x, x, atol=1e-6)
    assert np.flatnonzero(grid.bridged).tolist() == [40]


def test_jitter_does_not_move_the_signal() -> None:
    rng = np.random.default_rng(3)
    t_s = np.arange(1000) / 104 + rng.uniform(-0.003, 0.003, 1000)
    x = np.sin(2 * np.pi * 2 * t_s)[:, None].astype(np.float32)
    grid = run(t_s, x, 104.0, [])
    np.testing.assert_allclose(grid.x[20:, 0], np.sin(2 * np.pi * 2 * grid.t_s[20:]), atol=0.02)


def test_tone_above_half_the_rate_is_removed() -> None:
    t_s = np.arange(2000) / 200
    loud = np.sin(2 * np.pi * 70 * t_s)[:, None].astype(np.float32)
    grid = run(t_s, loud, 200.0, [])
    assert np.abs(grid.x[20:]).max() < 0.02


@given(st.lists(st.floats(0, 99), min_size=1, max_size=50))
def test_interpolate_equals_numpy(at: list[float]) -> None:
    rng = np.random.default_rng(4)
    u, x = np.arange(100.0) + rng.uniform(-0.3, 0.3, 100), rng.normal(size=(100, 2))
    expected = np.stack([np.interp(at, u, column) for column in x.T], 1)
    np.testing.assert_allclose(interpolate(np.array(at), u, x), expected, rtol=1e-12, atol=1e-12)
