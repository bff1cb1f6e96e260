"""Windows that a trial is trained and tested on, and the scores of its predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mujo_edge.core import DataError
from training.corpora import folds, labels_of_one, load_windows
from training.evaluation import runs
from training.evaluation.encoders import Evaluation
from training.evaluation.schedule import grouped
from training.evaluation.trials import Score, Trial, append_scores, confusion, prepared, read_scores, split
from training.recipes.recipe import Recipe

RANDOM = Trial("random", 3, "spar", 0, 0.02, 0)


class SeenError(Exception):
    """Carries the arguments of the training."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a trial up to its training -> the windows, labels and unlabeled windows that it would be trained on."""

    def fake(encoder, x, y, *rest, unlabeled):
        raise SeenError(x, y, unlabeled)

    monkeypatch.setattr(runs, "finetune", fake)

    def learn(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        with pytest.raises(SeenError) as caught:
            runs.run_trial(trial, Evaluation(tmp_path, Recipe("none", ("spar",))))
        return caught.value.args

    return learn


@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.parametrize("fraction", [0.02, 1.0, "one"])
def test_model_is_trained_on_windows_of_other_people_only(fold: int, fraction: float | str, seen):
    x, y, unlabeled = seen(replace(RANDOM, fold=fold, fraction=fraction))
    assert unlabeled is None
    data, every = prepared("spar", 3)
    people = sorted(set(data.subject.tolist()), key=int)[fold::5]
    tested = {w.tobytes() for w in every[np.isin(data.subject, people)]}
    assert not tested & {w.tobytes() for w in x}
    assert set(y) == set(range(7))
    others = ~np.isin(data.subject, people)
    if fraction == "one":
        sizes = {int((data.subject == person).sum()) for person in set(data.subject[others])}
        assert len(y) in sizes
        owner = {w.tobytes(): person for w, person in zip(every, data.subject, strict=True)}
        assert len({owner[w.tobytes()] for w in x}) == 1
    else:
        assert len(y) == pytest.approx(fraction * others.sum(), abs=7)


def test_three_channels_are_the_accelerometer():
    data, x = prepared("spar", 3)
    assert not x[:, 3:].any()
    np.testing.assert_array_equal(x[:, :3], prepared("spar", 6)[1][:, :3])
    assert len(x) == len(data)


def test_seeds_of_a_fold_differ_in_training_people_and_models_share_them():
    data = load_windows("spar")
    chosen = {}
    for fold, (train_rows, _) in enumerate(folds(data.y, data.subject)):
        for seed in range(3):
            trial = Trial("random", 3, "spar", fold, "one", seed)
            labeled, others, test = split(data, trial)
            (chosen[fold, seed],) = set(data.subject[labeled].tolist())
            np.testing.assert_array_equal(labeled, split(data, replace(trial, method="mujo"))[0])
            np.testing.assert_array_equal(np.sort([*labeled, *others]), train_rows)
            assert len(labeled) == (data.subject == chosen[fold, seed]).sum()
            assert chosen[fold, seed] not in data.subject[test]
        assert len({chosen[fold, seed] for seed in range(3)}) == 3


def test_only_people_with_every_class_are_used():
    y = np.array([0, 1, 0, 0, 1, 1, 0])
    subject = np.array(["a", "a", "b", "c", "c", "a", "b"])
    train_rows = np.arange(7)
    taken = {tuple(labels_of_one(y, subject, train_rows, 0, seed).tolist()) for seed in range(6)}
    assert taken == {(0, 1, 5), (3, 4)}
    with pytest.raises(DataError, match="no train person has every class"):
        labels_of_one(y, subject, np.array([0, 2, 4]), 0, 0)


def test_folds_share_a_model_without_labels_of_the_tested_set():
    trials = [replace(RANDOM, fold=fold, seed=seed) for fold in (0, 1) for seed in (0, 1)]
    assert grouped(trials) == [(trial,) for trial in trials]
    words = [replace(trial, method="mujo", fraction=0.0) for trial in trials]
    assert grouped(words) == [(words[0], words[2]), (words[1], words[3])]
    other = [replace(trial, source="muvr") for trial in trials]
    assert len(grouped([*trials, *words, *other])) == 4 + 2 + 2


def test_scores_are_read_as_they_were_written(tmp_path: Path):
    path = tmp_path / "trials.jsonl"
    scores = [
        Score(RANDOM, "fp32", ((1, 2), (3, 4))),
        Score(replace(RANDOM, fraction="one", without="pose"), "fp32", ((0, 1), (1, 0))),
        Score(replace(RANDOM, method="mujo", fraction=0.0), "fp32", ((0, 1), (1, 0))),
    ]
    append_scores(path, scores[:1])
    append_scores(path, scores[1:])
    assert read_scores(path) == scores
    assert read_scores(tmp_path / "none") == []


labels = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1))
)


@settings(max_examples=80, deadline=None)
@given(labels)
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_are_tested(drawn):
    n, pairs = drawn
    y, predicted = np.array(pairs).T
    score = Score(RANDOM, "fp32", confusion(y, predicted, n)).macro_f1
    assert score == pytest.approx(f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0))


def test_macro_f1_is_that_of_the_protocol(protocol: ModuleType):
    rng = np.random.default_rng(0)
    for n in (2, 5, 27):
        y, predicted = rng.integers(0, n, (2, 60))
        assert Score(RANDOM, "fp32", confusion(y, predicted, n)).macro_f1 == protocol.macro_f1(y, predicted, n)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2, 0.1), (0.25, 0.75, 0.0)])
def test_chance_is_the_macro_f1_of_random_guesses(shares: tuple[float, ...]):
    """Against 400,000 guesses, some of a class that is not tested."""
    rng = np.random.default_rng(0)
    y = rng.choice(len(shares), 400_000, p=shares)
    guessed = Score(RANDOM, "fp32", confusion(y, rng.integers(0, len(shares), len(y)), len(shares)))
    assert guessed.macro_f1 == pytest.approx(guessed.chance, abs=3e-3)
