"""Labels of counted repetitions, and repetitions and bouts through recognizer, engine, API and screen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import INFO, ListSink, ListSource, Output, bundle, chunked, label_set
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.api import recognize
from mujo_edge.bundle.labels import Label
from mujo_edge.core import F32, STANDARD_GRAVITY, UNKNOWN, Bout, Chunk, Gap, Prediction, Repetition
from mujo_edge.counting import SWITCH, LabeledBouts, is_counted
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks.ndjson import NdjsonSink
from mujo_edge.sinks.screen import describe

RATE_HZ = 50.0


def swings(axis: int, n: int, period_s: float = 2.0) -> F32:
    """(m, 6): `n` turns by 40 degrees and back, of a sensor on which `axis` points up on average."""
    phase = 2 * np.pi * np.arange(round(n * period_s * RATE_HZ)) / (period_s * RATE_HZ)
    angle = np.deg2rad(20) * (1 - np.cos(phase))
    x = np.zeros((len(phase), 6), np.float32)
    x[:, axis], x[:, (axis + 1) % 3] = STANDARD_GRAVITY * np.cos(angle), STANDARD_GRAVITY * np.sin(angle)
    return x + np.random.default_rng(n).normal(0, 0.05, x.shape).astype(np.float32)


def rest(axis: int, seconds: float) -> F32:
    x = np.random.default_rng(9).normal(0, 0.02, (round(seconds * RATE_HZ), 6)).astype(np.float32)
    x[:, axis] += STANDARD_GRAVITY
    return x


def workout() -> F32:
    """Eight x up, a rest, six y up; the stream ends during the last one's rest."""
    return np.concatenate([rest(0, 5), swings(0, 8), rest(0, 10), rest(1, 3), swings(1, 6), rest(1, 2)])


def stream(x: F32, size: int = 5) -> list[Chunk]:
    return chunked(np.arange(len(x)) / RATE_HZ, x, None, size)


def counted(recognizer: Recognizer, chunks: list[Chunk]) -> list[Repetition | Bout]:
    events: list[Repetition | Bout] = []
    for chunk in chunks:
        recognizer.classify(recognizer.cut(chunk))
        events += recognizer.counted()
    return events + recognizer.counted(ended=True)


def summarized(events: list[Repetition | Bout]) -> list[tuple[str, int]]:
    return [(event.label, event.repetitions) for event in events if isinstance(event, Bout)]


def labeled(*runs: tuple[str, int]) -> list[Repetition]:
    labels = [label for label, n in runs for _ in range(n)]
    return [Repetition(float(i), i + 1.0, label) for i, label in enumerate(labels)]


def split(repetitions: list[Repetition]) -> list[Repetition | Bout]:
    bouts = LabeledBouts()
    return [event for one in repetitions for event in bouts.add(one)] + bouts.end()


def test_bout_takes_the_label_of_most_repetitions_and_a_long_other_run_is_a_bout_of_its_own() -> None:
    assert summarized(split(labeled(("curl", 2), ("squat", 8), ("curl", 2)))) == [("squat", 12)]
    assert summarized(split(labeled(("curl", 10), ("squat", SWITCH)))) == [("curl", 10), ("squat", SWITCH)]
    assert summarized(split(labeled(("curl", 10), ("squat", SWITCH - 1)))) == [("curl", 14)]
    assert summarized(split(labeled(("curl", 2), ("squat", 1)))) == [("curl", 3)]


def test_labels_of_daily_life_are_left_out_with_their_repetitions() -> None:
    events = split(labeled(("walking", 20), ("squat", 8), ("Sitting", 6)))
    assert summarized(events) == [("squat", 8)]
    assert {event.label for event in events} == {"squat"}
    assert split(labeled((UNKNOWN, 9))) == split(labeled(("background", 9))) == split([]) == []
    assert is_counted("biceps curl")
    assert not is_counted("Walking Upstairs")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["curl", "squat", "walking"]), st.integers(1, 9)), max_size=8))
def test_bouts_hold_exactly_the_repetitions_before_them(runs: list[tuple[str, int]]) -> None:
    events = split(labeled(*runs))
    pending: list[Repetition] = []
    for event in events:
        if isinstance(event, Repetition):
            pending.append(event)
            continue
        assert event.repetitions == len(pending)
        assert {one.label for one in pending} == {event.label}
        assert (event.start_s, event.end_s) == (pending[0].start_s, pending[-1].end_s)
        pending = []
    assert pending == []
    assert len({one.start_s for one in events if isinstance(one, Repetition)}) <= sum(n for _, n in runs)


@pytest.mark.parametrize("size", [1, 7, 50, 100_000])
def test_recognizer_gives_labeled_bouts_for_any_chunks(size: int) -> None:
    chunks = stream(workout(), size)
    expected = counted(Recognizer(bundle(), INFO), stream(workout(), 5))
    assert counted(Recognizer(bundle(), INFO), chunks) == expected
    assert summarized(expected) == [("x up", 8), ("y up", 6)]


def test_predictions_carry_the_running_count_of_counted_labels_alone() -> None:
    recognizer = Recognizer(bundle(), INFO)
    counts = [p.repetitions for chunk in stream(workout()) for p in recognizer.update(chunk)]
    assert counts[0] == 0
    assert max(counts) == 8
    daily = label_set("daily", labels=tuple(Label(name) for name in ("walking", "sitting", "standing")))
    recognizer = Recognizer(bundle(daily), INFO)
    assert {p.repetitions for chunk in stream(workout()) for p in recognizer.update(chunk)} == {0}
    assert counted(Recognizer(bundle(daily), INFO), stream(workout())) == []


def test_gap_ends_the_bout() -> None:
    chunks = stream(np.concatenate([swings(0, 6), swings(0, 7)]))
    after = [replace(chunk, t_s=chunk.t_s + 5.0 * (chunk.t_s[0] >= 12)) for chunk in chunks]
    bouts = [e for e in counted(Recognizer(bundle(), INFO), after) if isinstance(e, Bout)]
    assert [bout.repetitions for bout in bouts] == pytest.approx([6, 7], abs=1)
    assert bouts[0].end_s <= 12.0
    assert bouts[1].start_s >= 17.0


async def test_summary_lines_and_card_list_the_sets_with_the_last_one_that_the_stream_cut_off() -> None:
    sink, out = ListSink(), Output()
    source = ListSource(stream(workout(), 50))
    summary = await Engine(source, [sink, NdjsonSink(out)], lambda info: Recognizer(bundle(), info), live=False).run()
    assert [(bout.label, bout.repetitions) for bout in summary.recognized.bouts] == [("x up", 8), ("y up", 6)]
    assert summarized([event for update in sink.updates for event in update.counted]) == [("x up", 8), ("y up", 6)]
    card = describe(summary)
    assert "  1 set of 8 x up, 2.0" in card
    assert "  1 set of 6 y up, 2.0" in card
    records = out.records()
    assert [record["repetitions"] for record in records if record["type"] == "bout"] == [8, 6]
    assert sum(record["type"] == "repetition" for record in records) == 14
    assert records[-1]["bouts"] == [
        {key: value for key, value in record.items() if key not in ("schema", "time", "type")}
        for record in records
        if record["type"] == "bout"
    ]


def test_python_loop_yields_repetitions_and_bouts_on_request() -> None:
    def run(**options: bool) -> list[Prediction | Gap | Repetition | Bout]:
        return list(recognize(ListSource(stream(workout(), 50)), bundle=bundle(), live=False, **options))  # type: ignore[call-overload, no-any-return]

    assert all(isinstance(event, Prediction) for event in run())
    events = run(counts=True)
    assert summarized([event for event in events if not isinstance(event, Prediction | Gap)]) == [
        ("x up", 8),
        ("y up", 6),
    ]
    assert sum(isinstance(event, Repetition) for event in events) == 14


def test_card_names_sets_of_equal_and_different_size() -> None:
    from mujo_edge.core import StreamStats
    from mujo_edge.sinks import Recognized, RunInfo, Summary, Tally

    bouts = tuple(
        Bout(label, 0.0, 9.0, n, 2.0, 0.1)
        for label, n in [("curl", 12), ("squat", 10), ("curl", 12), ("squat", 8), ("curl", 12)]
    )
    summary = Summary(
        RunInfo(INFO, labels=("curl", "squat", UNKNOWN)),
        Tally(StreamStats(), 0, 0, 0, 0.0, None),
        "end",
        recognized=Recognized(bouts=bouts),
    )
    card = describe(summary)
    assert "3 sets of 12 curl, 2.0 ± 0.1 s per repetition" in card
    assert "2 sets of 10 and 8 squat" in card
