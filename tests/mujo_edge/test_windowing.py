"""Windows of the live path: bit-equal to those of training, reset by gaps, with the right truth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fakes import INFO, SPEC, chunked, motion
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.core import Chunk, Gap, StreamInfo, Window
from mujo_edge.signal import resample, segment_windows
from mujo_edge.windowing import Truth, WindowPipeline


def frame(chunks: list[Chunk], info: StreamInfo = INFO) -> tuple[list[Window], list[Gap], WindowPipeline]:
    pipeline = WindowPipeline(SPEC, info)
    events = [event for chunk in chunks for event in pipeline.update(chunk)]
    return (
        [event for event in events if isinstance(event, Window)],
        [event for event in events if isinstance(event, Gap)],
        pipeline,
    )


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_windows_of_a_recording_are_those_of_training(size: int) -> None:
    t_s, x, _ = motion([0, 1, 2], 7.0)
    windows, gaps, pipeline = frame(chunked(t_s, x, size=size))
    expected = segment_windows(x, SPEC.window, SPEC.hop)
    assert np.stack([window.x for window in windows]).tobytes() == expected.tobytes()
    assert [window.end_s for window in windows] == [pytest.approx(2.98 + 0.5 * i) for i in range(len(expected))]
    assert all(window.coverage == 1 for window in windows)
    assert not gaps
    assert pipeline.stats.windows == len(expected)


def test_windows_of_a_faster_recording_are_those_of_training() -> None:
    t_s, x, _ = motion([0, 1], 10.0, rate_hz=100)
    windows, _, _ = frame(chunked(t_s, x, size=3), StreamInfo("fast", INFO.channels, 100.0))
    expected = segment_windows(resample(x, 100.0).astype(np.float32), SPEC.window, SPEC.hop)
    assert len(expected) - len(windows) <= 1
    assert np.stack([window.x for window in windows]).tobytes() == expected[: len(windows)].tobytes()


@given(st.lists(st.integers(0, 1000), max_size=20), st.sampled_from([None, 50.0, 100.0]))
@settings(deadline=None, max_examples=30)
def test_windows_are_equal_for_any_chunking(cuts: list[int], nominal_hz: float | None) -> None:
    t_s, x, truth = motion([0, 1], 5.0, rate_hz=100)
    x[300:340] = np.nan
    t_s[700:] += 4
    info = StreamInfo("made", INFO.channels, nominal_hz)
    whole, whole_gaps, _ = frame([Chunk(t_s, x, 0.0, 0, truth)], info)
    bounds = [0, *sorted(cuts), len(t_s)]
    parts = [Chunk(t_s[a:b], x[a:b], 0.0, 0, truth[a:b]) for a, b in pairwise(bounds)]
    windows, gaps, _ = frame(parts, info)
    assert [(w.end_s, w.x.tobytes(), w.truth, w.coverage) for w in windows] == [
        (w.end_s, w.x.tobytes(), w.truth, w.coverage) for w in whole
    ]
    assert gaps == whole_gaps
    assert [gap.reason for gap in gaps] == ["invalid", "missing"]


def test_gap_resets_the_window() -> None:
    t_s, x, _ = motion([0], 10.0)
    t_s[200:] += 1.0
    windows, (gap,), _ = frame(chunked(t_s, x))
    assert (gap.start_s, gap.end_s) == (pytest.approx(3.98), pytest.approx(5.0))
    ends = [window.end_s for window in windows]
    assert ends[:4] == pytest.approx([2.98, 3.48, 3.98, 5.0 + 2.98])
    np.testing.assert_array_equal(windows[3].x, x[200:350])


def test_missing_samples_lower_the_coverage() -> None:
    t_s, x, _ = motion([0], 4.0)
    present = np.ones(len(t_s), bool)
    present[100:106] = False
    (first, *_), gaps, _ = frame(chunked(t_s[present], x[present]))
    assert not gaps
    assert first.coverage == pytest.approx(1 - 6 / 150)
    assert np.isfinite(first.x).all()


def test_truth_is_the_label_of_the_whole_window() -> None:
    t_s, x, truth = motion([0, 1, 2], 4.0)
    windows, _, _ = frame(chunked(t_s, x, truth, size=3))
    for i, window in enumerate(windows):
        labels = set(truth[i * SPEC.hop : i * SPEC.hop + SPEC.window])
        assert window.truth == (labels.pop() if len(labels) == 1 else None)
    assert {window.truth for window in windows} == {"x up", "y up", "z up", None}


def test_samples_without_a_label_have_no_truth() -> None:
    t_s, x, _ = motion([0], 4.0)
    windows, _, _ = frame(chunked(t_s, x, [""] * len(t_s)))
    assert [window.truth for window in windows] == [None] * 3


def test_truth_after_a_gap_ignores_labels_before_it() -> None:
    truth = Truth()
    truth.update(np.array([0.0, 1.0]), ("a", "b"))
    truth.reset()
    truth.update(np.array([5.0, 9.0]), ("c", "c"))
    assert truth.over(5.0, 8.0, 0.005) == "c"


@pytest.mark.parametrize(("rate_hz", "nominal_hz"), [(52.63, 50.0), (50.2, None), (25.0, 50.0), (104.0, None)])
def test_measured_rate_overrides_a_wrong_nominal_rate(rate_hz: float, nominal_hz: float | None) -> None:
    t_s, x, _ = motion([0], 20.0, rate_hz=rate_hz)
    tone = np.sin(2 * np.pi * 1.0 * t_s).astype(np.float32)
    x[:] = tone[:, None]
    windows, _, pipeline = frame(chunked(t_s, x), StreamInfo("made", INFO.channels, nominal_hz))
    assert pipeline.stats.rate_hz == pytest.approx(rate_hz, rel=1e-3)
    for window in windows[1:]:
        at_s = window.end_s - np.arange(149, -1, -1) / 50
        np.testing.assert_allclose(window.x[:, 0], np.sin(2 * np.pi * at_s), atol=0.03)


def test_rounding_at_the_end_of_the_measured_second_is_handled() -> None:
    start_s, end_s = -0.061, 0.939  # their difference rounds to 1.0, the first plus 1.0 to more than the second
    t_s = np.append(np.linspace(start_s, end_s, 50, endpoint=False), end_s)
    x = np.random.default_rng(0).normal(0, 1, (51, 6)).astype(np.float32)
    pipeline = WindowPipeline(SPEC, StreamInfo("odd", INFO.channels, None))
    assert not pipeline.update(Chunk(t_s, x, 0.0))
    assert pipeline.stats.samples == 51


def test_reset_forgets_the_samples() -> None:
    t_s, x, _ = motion([0], 4.0)
    pipeline = WindowPipeline(SPEC, INFO)
    pipeline.update(Chunk(t_s[:140], x[:140], 0.0))
    pipeline.reset()
    assert pipeline.update(Chunk(t_s[140:], x[140:], 0.0)) == []
