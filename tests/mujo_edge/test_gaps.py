"""Gap detection: which samples pass, and which are dropped, repaired and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mujo_edge.core import CHANNELS, Chunk, Gap
from mujo_edge.gaps import GapDetector, Span

MAX_GAP_S = 0.25


def detector() -> GapDetector:
    return GapDetector(CHANNELS[:3], MAX_GAP_S)


def chunk(t_s: list[float], x: float = 1.0, lost: int = 0) -> Chunk:
    return Chunk(np.array(t_s, np.float64), np.full((len(t_s), 3), x, np.float32), 0.0, lost)


def even(start: int, n: int) -> list[float]:
    return [i / 50 for i in range(start, start + n)]


def gaps(spans: list[Span]) -> list[Gap]:
    return [span.gap for span in spans if span.gap]


def test_even_samples_pass_unchanged() -> None:
    device = detector()
    whole = Chunk(np.array(even(0, 100)), np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32), 0.0, 2)
    (span,) = device.split(whole)
    assert span.t_s.tobytes() == whole.t_s.tobytes()
    assert span.x.tobytes() == whole.x.tobytes()
    stats = device.stats
    assert (stats.samples, stats.lost, stats.invalid, stats.repeated, stats.gaps) == (100, 2, 0, 0, 0)
    assert stats.rate_hz == pytest.approx(50)
    assert stats.signal_s == pytest.approx(99 / 50)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9, -1001.0])
def test_value_out_of_range_is_dropped(bad: float) -> None:
    device = detector()
    one = chunk(even(0, 10))
    one.x[4, 1] = bad
    (span,) = device.split(one)
    assert len(span.t_s) == 9
    assert device.stats.invalid == 1
    assert device.stats.gaps == 0


def test_gyroscope_has_its_own_range() -> None:
    device = GapDetector(CHANNELS, MAX_GAP_S)
    x = np.zeros((3, 6), np.float32)
    x[1, 0], x[2, 3] = 500, 500
    (span,) = device.split(Chunk(np.array(even(0, 3)), x, 0.0))
    assert len(span.t_s) == 2


def test_many_invalid_values_make_a_gap_with_that_reason() -> None:
    device = detector()
    device.split(chunk(even(0, 50)))
    device.split(chunk(even(50, 20), np.nan))
    spans = device.split(chunk(even(70, 10)))
    assert gaps(spans) == [Gap(49 / 50, 70 / 50, "invalid")]
    assert (device.stats.invalid, device.stats.gaps) == (20, 1)


def test_pause_is_a_gap_only_if_longer_than_the_limit() -> None:
    device = detector()
    assert not gaps(device.split(chunk([0.0, 0.02, 0.02 + MAX_GAP_S])))
    assert gaps(device.split(chunk([0.02 + 2 * MAX_GAP_S + 0.01]))) == [Gap(0.27, 0.53, "missing")]
    assert device.stats.signal_s == pytest.approx(0.27)


def test_repeated_and_late_samples_are_dropped() -> None:
    device = detector()
    spans = device.split(chunk([0.0, 0.02, 0.02, 0.04, 0.0, 0.02, 0.06, 0.06 + 1e-6]))
    assert np.concatenate([span.t_s for span in spans]).tolist() == [0.0, 0.02, 0.04, 0.06]
    assert (device.stats.repeated, device.stats.gaps) == (4, 0)


def test_clock_restart_is_repaired_and_reported() -> None:
    device = detector()
    device.split(chunk(even(5000, 50)))
    spans = device.split(chunk(even(0, 50)))
    (gap,) = gaps(spans)
    assert gap.reason == "clock"
    assert gap.end_s == pytest.approx(gap.start_s + MAX_GAP_S)
    (span,) = spans
    np.testing.assert_allclose(np.diff(span.t_s), 0.02, atol=1e-9)
    (later,) = device.split(chunk(even(50, 5)))
    assert later.gap is None
    assert later.t_s[0] - span.t_s[-1] == pytest.approx(0.02)


def test_times_that_are_not_finite_are_dropped() -> None:
    device = detector()
    (span,) = device.split(chunk([0.0, np.nan, 0.02, np.inf, 0.04]))
    assert span.t_s.tolist() == [0.0, 0.02, 0.04]
    assert device.stats.invalid == 2


def test_rate_is_measured_anew_after_a_gap() -> None:
    device = detector()
    device.split(chunk([i / 104 for i in range(300)]))
    assert device.stats.rate_hz == pytest.approx(104)
    device.split(chunk([10 + i / 25 for i in range(30)]))
    assert device.stats.rate_hz == pytest.approx(25)


times = st.lists(
    st.one_of(st.floats(0, 3), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 0.02, 1e300])),
    max_size=60,
)


@given(times, st.lists(st.integers(0, 60), max_size=5))
def test_time_increases_and_every_sample_is_counted_for_any_input(t_s: list[float], cuts: list[int]) -> None:
    device, whole = detector(), detector()
    one = chunk(t_s)
    parts = zip(np.split(one.t_s, sorted(cuts)), np.split(one.x, sorted(cuts)), strict=True)
    spans = [span for t, x in parts for span in device.split(Chunk(t, x, 0.0))]
    span_times = np.concatenate([[], *(span.t_s for span in spans)])
    assert (np.diff(span_times) > 0).all()
    stats = device.stats
    assert stats.samples == len(t_s) == len(span_times) + stats.invalid + stats.repeated
    assert stats.gaps == len(gaps(spans))
    expected = whole.split(one)
    assert span_times.tobytes() == np.concatenate([[], *(span.t_s for span in expected)]).tobytes()
    assert gaps(spans) == gaps(expected)
