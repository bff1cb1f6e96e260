"""Evaluation of repetition counting: baselines and counter on made sets, parts, table, and the real numbers."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from mujo_edge.bundle import ModelBundle
from mujo_edge.core import STANDARD_GRAVITY, Bout
from mujo_edge.counting import is_counted
from training.corpora.base import RATE_HZ, Recording, RepetitionSet, constant
from training.corpora.registry import data_root
from training.evaluation import counting
from training.evaluation.counting import (
    CountedSet,
    Error,
    bout_scores,
    evaluate,
    loss,
    sets_of,
    streamed,
    table,
    write_sets,
)


def swing(n: int, period_s: float, rest_s: float = 6.0) -> np.ndarray:
    """`n` turns of a forearm by 60 degrees and back between two rests, (m, 3) at 50 Hz."""
    phase = 2 * np.pi * np.arange(round(n * period_s * RATE_HZ)) / (period_s * RATE_HZ)
    angle = np.pad(np.pi / 6 * (1 - np.cos(phase)), round(rest_s * RATE_HZ))
    x = STANDARD_GRAVITY * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    return (x + np.random.default_rng(0).normal(0, 0.05, x.shape)).astype(np.float32)


def made(corpus: str, n: int, period_s: float, part: str = "report") -> CountedSet:
    return CountedSet(corpus, part, "1", f"{n}", "wrist", "curl", 6.0, 6.0 + n * period_s, n, swing(n, period_s))


SETS = [made("a", 8, 2.0), made("a", 10, 1.2), made("b", 5, 3.5, "choose")]


def test_every_method_counts_a_clean_swing():
    for each in evaluate(SETS):
        assert abs(each.error) <= 1, each.method


def test_streamed_counts_only_repetitions_inside_the_set():
    whole = SETS[0]
    first_half = replace(whole, end_s=whole.start_s + 8.0, repetitions=4)
    second_half = replace(whole, start_s=whole.start_s + 8.0, repetitions=4)
    a, b, both = (each.counted for each in streamed([first_half, second_half, whole]))
    assert a + b == both
    assert {a, b} <= {3, 4, 5}


def test_bouts_are_events_against_the_sets_of_a_recording():
    whole = SETS[0]
    scores = bout_scores([whole, replace(whole, start_s=0.0, end_s=3.0)])
    assert dict(scores.true) == {"correct": 1, "deleted": 1}
    assert dict(scores.found) == {"correct": 1}
    assert abs(scores.onset_s[0]) < 1.5
    assert abs(scores.end_s[0]) < 1.5


def test_everyday_events_are_the_counters_and_with_labels_the_recognizers():
    x = swing(8, 2.0)
    recording = Recording("made", "1", "s", "wrist", RATE_HZ, x, constant("", len(x)), channels=("ax", "ay", "az"))
    alone = counting.everyday(recording, None, None)
    assert [event.repetitions for event in alone if isinstance(event, Bout)] == [8]
    bundle = ModelBundle.load()
    for event in counting.everyday(recording, bundle, "gym-wrist"):
        assert event.label in bundle.label_sets["gym-wrist"].names
        assert is_counted(event.label)


def test_loss_falls_with_better_counts_and_weighs_data_sets_equally():
    good = [Error("m", one, one.repetitions) for one in SETS]
    off = [Error("m", one, one.repetitions + (one.corpus == "b") * 5) for one in SETS]
    assert loss(good) == -1
    assert loss(off) == pytest.approx((-1 + 3) / 2)


def test_table_and_csv_have_every_set_and_method(tmp_path):
    errors = evaluate(SETS)
    lines = table(errors).splitlines()
    assert "| report | a | 2 | streamed | 100.0% |" in "\n".join(lines)
    assert len(lines) == 2 + 2 * 4
    write_sets(errors, tmp_path / "sets.csv")
    rows = list(csv.DictReader((tmp_path / "sets.csv").open()))
    assert [row["repetitions"] for row in rows] == ["5", "10", "8"]
    assert {"streamed", "cut", "autocorrelation", "peaks"} <= rows[0].keys()


def test_people_are_either_chosen_on_or_reported_and_single_executions_are_left_out():
    def recording(person: str, repetitions: int) -> Recording:
        x = swing(3, 1.0)
        one = RepetitionSet(0.0, len(x) / RATE_HZ, repetitions, "curl")
        return Recording("ptex", person, "s", "wrist", RATE_HZ, x, constant("curl", len(x)), sets=(one,))

    assert [one.part for one in sets_of(recording("1", 10))] == ["choose"]
    assert [one.part for one in sets_of(recording("5", 10))] == ["report"]
    assert list(sets_of(recording("5", 1))) == []


def test_counts_by_eye_are_of_two_parts_without_a_common_session():
    by_eye = counting.counts_by_eye()
    assert len(by_eye) == 96
    assert sorted({part for part, _ in by_eye.values()}) == ["choose", "report"]
    assert sum(n > 0 for _, n in by_eye.values()) > 60


def test_command_without_data_says_what_to_do(tmp_path):
    import typer

    from training.count_sets import main
    from training.support.command import step

    app = typer.Typer()
    app.command()(step(main))
    result = CliRunner().invoke(app, ["--data", str(tmp_path), "--names", "muvr"])
    assert result.exit_code == 4
    assert "Set MUJO_DATA" in result.output


def test_real_barbell_sets_are_counted_as_documented():
    sets = [one for one in counting.counted_sets(data_root(), ["metamotion"]) if one.part == "report"]
    if not sets:
        pytest.skip(f"metamotion is not under {data_root()}: set MUJO_DATA")
    errors = [abs(each.error) for each in streamed(sets)]
    assert len(errors) == 23
    assert np.mean(np.asarray(errors) <= 1) >= 0.9
