"""The recognizer on a model whose answers are known: labels, unknown, smoothing, gaps, bad samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import AXES, INFO, AxisRuntime, bundle, chunked, label_set, motion
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mujo_edge.bundle.manifest import Smoothing
from mujo_edge.core import CHANNELS, UNKNOWN, Chunk, DataError, Gap, Prediction, StreamInfo, UsageError
from mujo_edge.recognizer import Recognizer, Smoother


def predictions(recognizer: Recognizer, chunks: list[Chunk]) -> list[Prediction]:
    return [prediction for chunk in chunks for prediction in recognizer.update(chunk)]


def test_recognizer_identifies_the_upward_axis() -> None:
    recognizer = Recognizer(bundle(), INFO)
    actual = predictions(recognizer, chunked(*motion([0, 1, 2], 6.0)))
    assert len(actual) == 31
    judged = [prediction for prediction in actual if prediction.truth]
    assert [prediction.label for prediction in judged] == [prediction.truth for prediction in judged]
    assert {prediction.truth for prediction in judged} == set(AXES)
    for prediction in actual:
        assert prediction.scores[prediction.label] == prediction.score == max(prediction.scores.values())
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-5)
        assert list(prediction.scores) == [*AXES, UNKNOWN]
        assert np.linalg.norm(prediction.embedding) == pytest.approx(1, abs=1e-5)
    assert recognizer.stats.windows == 31


def test_default_label_set_suits_the_placement_and_is_named_in_a_note() -> None:
    placements = {"axes": "wrist", "pocket-axes": "pocket", "more-axes": "pocket"}
    sets = {name: replace(label_set(name), placement=place) for name, place in placements.items()}
    known = bundle()
    known = replace(known, manifest=replace(known.manifest, label_sets=sets))
    for placement, chosen in ((None, "axes"), ("wrist", "axes"), ("pocket", "pocket-axes"), ("ankle", "axes")):
        recognizer = Recognizer(known, replace(INFO, placement=placement))
        assert recognizer.labels.name == chosen
        others = ", ".join(name for name in sets if name != chosen)
        assert recognizer.stats.notes[0].startswith(f"using {chosen} (")
        assert "as no label set was chosen" in recognizer.stats.notes[0]
        assert recognizer.stats.notes[0].endswith(f"others: {others}")
    assert not any("no label set" in note for note in Recognizer(known, INFO, "more-axes").stats.notes)
    named = Recognizer(known, replace(INFO, labels="more-axes"))
    assert named.labels.name == "more-axes"
    assert not any("no label set" in note for note in named.stats.notes)


def test_window_that_fits_no_label_is_unknown() -> None:
    t_s, x, _ = motion([0], 5.0)
    x[:, :3] = np.random.default_rng(0).normal(5.66, 0.1, (len(x), 3))  # the diagonal: cosine 0.577 to every axis
    actual = predictions(Recognizer(bundle(), INFO), chunked(t_s, x))
    assert {prediction.label for prediction in actual} == {UNKNOWN}
    assert actual[0].score > 0.9


def test_batched_and_single_windows_give_the_same_predictions() -> None:
    recording = motion([0, 1, 2, 0], 40.0)
    runtime = AxisRuntime()
    one_by_one = predictions(Recognizer(bundle(), INFO), chunked(*recording, size=1))
    at_once = predictions(
        Recognizer(bundle(runtime=runtime), INFO, worn="as-trained"), chunked(*recording, size=100_000)
    )
    assert len(runtime.calls) == 2
    assert max(runtime.calls) == 256
    assert [(p.end_s, p.label, p.truth) for p in at_once] == [(p.end_s, p.label, p.truth) for p in one_by_one]
    np.testing.assert_allclose([p.score for p in at_once], [p.score for p in one_by_one], rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_invalid_samples_become_a_gap_and_never_a_prediction(bad: float) -> None:
    t_s, x, _ = motion([0], 12.0)
    x[200:260, 1] = bad
    recognizer = Recognizer(bundle(), INFO)
    events = [event for chunk in chunked(t_s, x) for event in recognizer.classify(recognizer.cut(chunk))]
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert (gap.start_s, gap.end_s, gap.reason) == (pytest.approx(3.98), pytest.approx(5.2), "invalid")
    ends = [event.end_s for event in events if isinstance(event, Prediction)]
    assert not [end_s for end_s in ends if 3.98 < end_s < 5.2 + 2.98 - 0.01]
    assert (recognizer.stats.invalid, recognizer.stats.gaps) == (60, 1)


def test_constant_signal_is_a_gap() -> None:
    t_s, x, _ = motion([0], 15.0)
    x[200:500] = x[200]
    recognizer = Recognizer(bundle(), INFO)
    events = recognizer.classify([event for chunk in chunked(t_s, x) for event in recognizer.cut(chunk)])
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert gap.reason == "constant"
    assert (gap.start_s, gap.end_s) == (pytest.approx(4.0), pytest.approx(6.98))
    ends = [round(event.end_s, 2) for event in events if isinstance(event, Prediction)]
    assert ends == [2.98, 3.48, 3.98, 4.48, 4.98, 5.48, 5.98, 6.48, *np.arange(10.48, 15, 0.5).round(2)]
    assert recognizer.stats.gaps == 1


@pytest.mark.parametrize("channels", [CHANNELS[:3], ("gz", "az", "ay", "ax"), ("mx", *CHANNELS, "my")])
def test_channels_are_selected_by_name(channels: tuple[str, ...]) -> None:
    t_s, x, truth = motion([1], 4.0)
    columns = [x[:, CHANNELS.index(name)] if name in CHANNELS else np.full(len(x), np.nan) for name in channels]
    info = replace(INFO, channels=channels)
    actual = predictions(Recognizer(bundle(), info), chunked(t_s, np.stack(columns, 1), truth))
    assert [prediction.label for prediction in actual] == ["y up"] * 3


def test_label_set_for_three_channels_ignores_the_gyroscope() -> None:
    t_s, x, truth = motion([2], 4.0)
    x[:, 3:] = np.nan
    recognizer = Recognizer(bundle(label_set(channels=3)), INFO)
    assert [prediction.label for prediction in predictions(recognizer, chunked(t_s, x, truth))] == ["z up"] * 3


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (StreamInfo("s", ("gx", "gy", "gz"), 50.0), "has no accelerometer: its channels are gx, gy, gz"),
        (StreamInfo("s", CHANNELS, 50.0, gravity="excluded"), "without gravity"),
    ],
)
def test_unusable_stream_is_rejected(info: StreamInfo, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recognizer(bundle(), info)


def test_label_set_is_the_requested_else_the_recordings_else_the_default() -> None:
    model = bundle(label_set("first"), label_set("second"), label_set("third"))
    recorded = replace(INFO, labels="second")
    assert Recognizer(model, INFO).labels.name == "first"
    assert Recognizer(model, recorded).labels.name == "second"
    assert Recognizer(model, recorded, "third").labels.name == "third"
    assert Recognizer(model, replace(INFO, labels="of another bundle")).labels.name == "first"
    with pytest.raises(UsageError, match="first, second, third"):
        Recognizer(model, INFO, "fourth")


def test_different_placement_is_noted() -> None:
    recognizer = Recognizer(bundle(), replace(INFO, placement="pocket"))
    assert recognizer.stats.notes == ["worn at the pocket, but axes was trained at the wrist"]


def test_reset_starts_a_new_window_and_keeps_the_counts() -> None:
    t_s, x, _ = motion([0], 4.0)
    recognizer = Recognizer(bundle(label_set(smoothing=Smoothing("hmm"))), INFO)
    before = predictions(recognizer, [Chunk(t_s, x, 0.0)])
    recognizer.reset()
    assert recognizer.update(Chunk(t_s[:149] + 10, x[:149], 0.0)) == []
    (after,) = recognizer.update(Chunk(t_s[149:150] + 10, x[149:150], 0.0))
    assert after.scores == before[0].scores
    assert recognizer.stats.samples == 350


def test_latency_adds_up() -> None:
    actual = predictions(Recognizer(bundle(runtime=AxisRuntime(takes_s=0.01)), INFO), chunked(*motion([0], 3.0)))
    latency = actual[0].latency
    assert min(latency.queue_ms, latency.preprocess_ms) >= 0
    assert latency.inference_ms >= 10
    assert latency.total_ms == pytest.approx(latency.queue_ms + latency.preprocess_ms + latency.inference_ms)


def p(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_hmm_filter_resists_one_odd_window_but_follows_several() -> None:
    smoother = Smoother(Smoothing("hmm", stay=0.95), 3)
    a, b = p(0.8, 0.15, 0.05), p(0.2, 0.75, 0.05)
    assert [int(smoother.update(x).argmax()) for x in (a, a, a, b, a, b, b, b, b)] == [0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_hmm_filter_is_rabiners_forward_recursion() -> None:
    stay = 0.9
    transition = np.full((3, 3), (1 - stay) / 2)
    np.fill_diagonal(transition, stay)
    smoother = Smoother(Smoothing("hmm", stay=stay), 3)
    alpha = None
    for row in np.random.default_rng(0).dirichlet([1, 1, 1], 20).astype(np.float32):
        alpha = row if alpha is None else (alpha @ transition) * row
        alpha = alpha / alpha.sum()
        np.testing.assert_allclose(smoother.update(row), alpha, rtol=1e-4)


def test_hmm_filter_recovers_from_certainty() -> None:
    smoother = Smoother(Smoothing("hmm", stay=0.99), 2)
    for _ in range(1000):
        smoother.update(p(1, 0))
    steps = [int(smoother.update(p(0, 1)).argmax()) for _ in range(5)]
    assert steps[-1] == 1


def test_majority_counts_the_last_windows_and_the_newest_breaks_ties() -> None:
    smoother = Smoother(Smoothing("majority", windows=3), 3)
    a, b, c = p(1, 0, 0), p(0, 1, 0), p(0, 0, 1)
    assert [int(smoother.update(x).argmax()) for x in (a, b, b, a, c)] == [0, 1, 1, 1, 2]


@given(
    st.sampled_from(["hmm", "majority", "none"]),
    hnp.arrays(np.float32, (30, 4), elements=st.floats(0, 1, width=32)).filter(lambda x: (x.sum(1) > 0.01).all()),
)
def test_smoothed_probabilities_add_up_to_one(method: str, rows: np.ndarray) -> None:
    smoother = Smoother(Smoothing(method), 4)
    for row in rows / rows.sum(1, keepdims=True):
        smoothed = smoother.update(row)
        assert smoothed.sum() == pytest.approx(1, abs=1e-4)
        assert (smoothed >= 0).all()
