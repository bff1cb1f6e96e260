"""Tables: means over folds of means over seeds, paired differences, goals, zero-shot, transfer and ablation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from training.corpora import PROTOCOL_V1, get
from training.evaluation.paired import Difference, mean_of, paired
from training.evaluation.report import write_report
from training.evaluation.tables import ablations, compared, efficiency, goals_markdown
from training.evaluation.trials import Score, Trial

RANDOM = Trial("random", 3, "spar", 0, 0.02, 0)


def score(trial: Trial, right: float, variant: str = "fp32") -> Score:
    """A confusion with `right` of 10,000 right in each of two classes, so that macro-F1 is `right`."""
    classes = len(get(trial.corpus).classes)
    counts = np.zeros((classes, classes), int)
    n = round(right * 10_000)
    counts[:2, :2] = [[n, 10_000 - n], [10_000 - n, n]]
    return Score(trial, variant, tuple(map(tuple, counts.tolist())))


def test_table_is_the_mean_over_folds_of_the_mean_over_seeds(tmp_path: Path):
    """Fold 0: .9 and .7, fold 1: .6, fold 2: .2. One seed more in a fold gives it no more weight."""
    cells = [(0, 0, 0.9), (0, 1, 0.7), (1, 0, 0.6), (2, 0, 0.2)]
    scores = [score(replace(RANDOM, fold=fold, seed=seed), right) for fold, seed, right in cells]
    text = write_report(scores[::-1], tmp_path)
    (entry,) = json.loads((tmp_path / "table.json").read_text())
    assert entry["mean"] == pytest.approx((0.8 + 0.6 + 0.2) / 3)
    assert entry["sd"] == pytest.approx(np.std([0.8, 0.6, 0.2]))
    assert entry["mean_peer_folds"] == pytest.approx(0.7)
    assert entry["folds"] == {"0": [0.9, 0.7], "1": [0.6], "2": [0.2]}
    assert "| random fp32, 3 ch | 0.533 ± 0.249 [0.700] | 0.533 [0.700] |" in text
    assert "| peer | [0.768] | [0.768] |" in text
    assert (tmp_path / "table.md").read_text() == text
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion-spar.png", "efficiency.png"}


def test_mean_over_data_sets_needs_all_of_them(tmp_path: Path):
    scores = [score(RANDOM, 0.8), score(replace(RANDOM, method="forest"), 0.6, "forest")]
    scores.append(score(replace(RANDOM, corpus="motionsense"), 1.0))
    text = write_report(scores, tmp_path)
    assert "| random fp32, 3 ch | 1.000 ± 0.000 | 0.800 ± 0.000 | 0.900 |" in text
    assert "| forest, 3 ch |  | 0.600 ± 0.000 |  |" in text


def test_column_of_one_persons_labels_comes_last(tmp_path: Path):
    cells = [replace(RANDOM, fraction=fraction) for fraction in ("one", 1.0, 0.02, 0.1)]
    text = write_report([score(trial, 0.5) for trial in cells], tmp_path)
    heads = [line.split(" | ")[0] for line in text.splitlines() if " labels" in line and line.startswith("| ")]
    assert heads[:4] == [
        "| 2% of the labels",
        "| 10% of the labels",
        "| 100% of the labels",
        "| all labels of one person",
    ]


def test_difference_pairs_folds_and_seeds():
    method = {0: {0: 0.9, 1: 0.8}, 1: {0: 0.7}, 2: {0: 0.5}}
    reference = {0: {0: 0.8, 2: 0.1}, 1: {0: 0.65}, 3: {0: 0.0}}
    actual = paired(method, reference)
    assert actual is not None
    assert actual.mean == pytest.approx((0.1 + 0.05) / 2)
    assert (actual.pairs, actual.freedom) == (2, 1)
    assert actual.variance == pytest.approx(np.var([0.1, 0.05], ddof=1) * (1 / 2 + 1 / 4))
    assert paired(method, {4: {0: 1.0}}) is None
    assert paired(method, {0: {5: 1.0}}) is None


def test_interval_is_that_of_scipys_t_test_corrected_for_overlap():
    rng = np.random.default_rng(0)
    values = rng.normal(0.05, 0.02, 5)
    actual = paired({i: {0: v} for i, v in enumerate(values)}, {i: {0: 0.0} for i in range(5)})
    assert actual is not None
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    wider = np.sqrt((1 / 5 + 1 / 4) / (1 / 5))
    half = (plain.high - plain.low) / 2 * wider
    assert actual.interval == pytest.approx((values.mean() - half, values.mean() + half))


def test_intervals_cover_the_true_difference_at_their_level():
    """Independent folds: without the overlap's share, 95 %; with it, more. Means of four sets as well."""
    rng = np.random.default_rng(0)
    inside = {"one": 0, "four": 0}
    for _ in range(400):
        sets = [
            paired({i: {0: v} for i, v in enumerate(rng.normal(0.1, sd, 5))}, {i: {0: 0.0} for i in range(5)})
            for sd in (0.01, 0.02, 0.05, 0.1)
        ]
        own = [d for d in sets if d is not None]
        for name, actual in (("one", own[0]), ("four", mean_of(own))):
            low, high = actual.interval
            inside[name] += low < 0.1 < high
    assert min(inside.values()) >= 0.95 * 400


def test_one_fold_has_a_difference_and_no_interval(tmp_path: Path):
    text = write_report([score(RANDOM, 0.5), score(replace(RANDOM, method="mujo"), 0.6)], tmp_path)
    assert "| 2% of the labels: mujo fp32, 3 ch | +0.100 (no interval: one fold) |" in text
    (entry, mean) = json.loads((tmp_path / "differences.json").read_text())
    assert (entry["method"], entry["corpus"], entry["interval"], entry["pairs"]) == ("mujo fp32", "spar", None, 1)
    assert mean["corpus"] == "mean"


def test_mean_difference_of_sets_without_spread_is_a_point():
    same = [Difference(0.1, 0.0, 4, 5), Difference(0.3, 0.0, 4, 5)]
    assert mean_of(same).interval == pytest.approx((0.2, 0.2))


def whole(method: str, gain: float, fraction: float) -> list[Score]:
    """Scores of all sets and folds: random init has .5, `method` `gain` more."""
    return [
        score(Trial(name, 3, corpus, fold, fraction, 0), value + 0.01 * fold)
        for corpus in PROTOCOL_V1
        for fold in range(5)
        for name, value in (("random", 0.5), (method, 0.5 + gain))
    ]


def test_goals_are_evaluated_with_all_sets_only():
    scores = [*whole("mujo_plus", 0.06, 0.02), *whole("mujo_plus", -0.01, 1.0), *whole("mujo", 0.01, 0.02)]
    text = goals_markdown(efficiency(scores))
    assert (
        "- met: mujo_plus at 2 % is at least 0.05 above random init in the mean of the sets; it is +0.060 (+0.060"
        in text
    )
    assert "- not met: mujo_plus at 100 % is on no set more than 0.005 below random init; it is -0.010" in text
    assert "- met: pure mujo at 2 % is above random init in the mean of the sets; it is +0.010" in text
    assert (
        "- not met: mujo_plus at 2 % reaches the best peer at 100 % on utd_mhad (folds 0 and 1: 0.813); it is 0.565"
        in text
    )
    some = [s for s in scores if s.trial.corpus != "spar"]
    assert "mean of the sets" not in goals_markdown(efficiency(some))
    assert goals_markdown(efficiency([score(RANDOM, 0.5)])) == ""


def test_semi_supervised_methods_are_compared_with_each_other(tmp_path: Path):
    plain = [*whole("mujo_plus", 0.01, 0.02)]
    semi = [replace(s, trial=replace(s.trial, semi=True)) for s in whole("mujo_plus", 0.06, 0.02)]
    semi = [replace(s, confusion=score(s.trial, s.macro_f1 + 0.2).confusion) for s in semi]
    actual = compared(efficiency([*plain, *semi]))
    assert {method: round(own["mean"].mean, 3) for (method, _, _), own in actual.items()} == {
        "mujo_plus fp32": 0.01,
        "random semi fp32": 0.2,
        "mujo_plus semi fp32": 0.06,
    }
    text = goals_markdown(efficiency([*plain, *semi]))
    assert "- not met: mujo_plus at 2 % is at least 0.05 above random init" in text
    assert "- met: mujo_plus semi at 2 % is at least 0.05 above random init semi" in text
    assert "- met: mujo_plus semi at 2 % reaches the best peer at 100 % on utd_mhad" not in text
    table = write_report([*plain, *semi], tmp_path)
    names = [line.split(",")[0] for line in table.splitlines() if ", 3 ch | 0." in line]
    assert names == ["| random fp32", "| mujo_plus fp32", "| random semi fp32", "| mujo_plus semi fp32"]


def test_methods_with_other_channels_are_not_compared():
    scores = [score(RANDOM, 0.5), score(replace(RANDOM, method="mujo", channels=6), 0.7)]
    assert compared(efficiency(scores)) == {}


def test_other_tables_stay_out_of_label_efficiency(tmp_path: Path):
    labeled = [score(replace(RANDOM, fold=fold), 0.5) for fold in (0, 1)]
    zero = [score(replace(RANDOM, method="mujo", fraction=0.0, fold=fold), 0.3) for fold in (0, 1)]
    far = [score(replace(RANDOM, source="muvr", fold=fold), 0.4) for fold in (0, 1)]
    text = write_report([*labeled, *zero, *far], tmp_path)
    assert [e["method"] for e in json.loads((tmp_path / "table.json").read_text())] == ["random fp32"]
    assert "| mujo | 0.300 ± 0.000 | 0.300 |" in (tmp_path / "zero-shot.md").read_text()
    chance = zero[0].chance
    assert f"| chance | {chance:.3f} ± 0.000 | {chance:.3f} |" in (tmp_path / "zero-shot.md").read_text()
    assert "| method | muvr to spar | mean |" in (tmp_path / "transfer.md").read_text()
    assert (tmp_path / "zero-shot.md").read_text() in text
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")


def test_ablation_reports_the_gain_from_each_part(tmp_path: Path):
    plus = replace(RANDOM, method="mujo_plus", corpus="motionsense")
    scores = [
        score(replace(plus, corpus=corpus, fold=fold, without=without), value + 0.02 * fold)
        for fold in (0, 1)
        for without, value in (("", 0.6), ("pose", 0.5), ("text", 0.65))
        for corpus in ("motionsense", "spar")
    ]
    scores += [replace(s, variant="int8") for s in scores if not s.trial.without]
    earned = ablations(scores)
    assert earned["mujo_plus", 3, 0.02, "pose"]["mean"].mean == pytest.approx(0.1)
    assert earned["mujo_plus", 3, 0.02, "text"]["spar"].mean == pytest.approx(-0.05)
    write_report(scores, tmp_path)
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in lines if line.startswith("| mujo_plus")] == ["pose", "text"]
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
