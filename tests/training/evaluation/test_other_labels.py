"""Scores without labels of the tested set: zero-shot, and by the labels of another set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_motion import CLASSES
from motion_corpus import motion_set

from mujo_edge.core import DataError
from mujo_edge.signal import InputSpec, prepare
from training.corpora import CORPORA, folds
from training.corpora.labels import Vocabulary
from training.evaluation import runs
from training.evaluation.encoders import Evaluation
from training.evaluation.runs import PLACES, TARGETS, movements, shared, sources_of
from training.evaluation.trials import Trial
from training.learn.pretrain import JointModel
from training.models.student import Student
from training.recipes.recipe import read_recipe

MOVES = {
    ("wrist", "rest"): {"spar": ("rest",), "muvr": ("rest",)},
    ("wrist", "swing"): {"spar": ("slow swing", "fast swing"), "muvr": ("slow swing", "fast swing")},
}


@pytest.fixture
def run(tmp_path: Path) -> Evaluation:
    recipe = read_recipe("tiny")
    short = replace(recipe.finetune, loop=replace(recipe.finetune.loop, batch=32, ema=0.9))
    return Evaluation(tmp_path, replace(recipe, finetune=replace(short, least_steps=80, most_steps=80)))


@pytest.fixture(autouse=True)
def motion(monkeypatch: pytest.MonkeyPatch, vocabulary: Vocabulary) -> None:
    """Every data set is generated motion: "spar" of other people than the rest."""

    def made(corpus: str, channels: int):
        data = motion_set(20, seed=int(corpus == "spar"))
        return data, prepare(data.x[:, :channels], InputSpec())

    monkeypatch.setattr(runs, "prepared", made)
    monkeypatch.setattr(runs, "read_vocabulary", lambda **_: vocabulary)


def trials(method: str, **changes) -> list[Trial]:
    return [replace(Trial("mujo", 6, "spar", fold, 0.0, 0), method=method, **changes) for fold in range(5)]


def test_zero_shot_needs_the_pretrained_encoder(run: Evaluation, teacher: JointModel, monkeypatch):
    monkeypatch.setattr(runs, "load_encoder", lambda trial, run: (teacher.imu, teacher.text))
    scores = runs.zero_shot(trials("mujo"), run)
    data = motion_set(20, seed=1)
    for score, (_, test) in zip(scores, folds(data.y, data.subject), strict=True):
        assert np.sum(score.confusion, 1).tolist() == np.bincount(data.y[test], minlength=4).tolist()
    assert np.mean([score.macro_f1 for score in scores]) > 0.85
    torch.manual_seed(0)
    monkeypatch.setattr(runs, "load_encoder", lambda trial, run: (Student().eval(), teacher.text))
    assert np.mean([score.macro_f1 for score in runs.zero_shot(trials("mujo"), run)]) < 0.5


def test_prompts_method_maps_labels_to_the_nearest_class(run: Evaluation):
    """The other set has the same labels here, so each is nearest to itself."""
    scores = runs.zero_shot(trials("prompts"), replace(run, recipe=replace(run.recipe, corpora=("muvr",))))
    assert np.mean([score.macro_f1 for score in scores]) > 0.85


def test_label_that_the_set_lacks_goes_to_the_nearest_class(run: Evaluation, vocabulary: Vocabulary, monkeypatch):
    """The tested set has two of the four classes; windows of a label that it lacks go to the nearer words."""
    two = replace(run, recipe=replace(run.recipe, corpora=("muvr",)))
    _, x = runs.prepared("spar", 6)
    y = motion_set(20, seed=1).y
    labels = np.array([0, 3])  # rest and twist
    actual = runs.by_other_labels(trials("prompts")[0], two, x, labels, vocabulary)
    assert set(actual) <= {0, 1}
    assert (actual[y == 0] == 0).mean() > 0.85
    assert (actual[y == 3] == 1).mean() > 0.85


@pytest.mark.parametrize("method", ["random", "forest"])
def test_labels_of_another_set_are_learned(method: str, run: Evaluation, monkeypatch):
    monkeypatch.setattr(runs, "movements", lambda: MOVES)
    scores = runs.transfer(trials(method, fraction=1.0, source="muvr"), run)
    assert [score.variant for score in scores] == ["forest" if method == "forest" else "fp32"] * 5
    for score in scores:
        assert np.shape(score.confusion) == (2, 2)
        assert np.sum(score.confusion, 1).tolist() == [4, 8], "twist is no movement that both show"
    assert np.mean([score.macro_f1 for score in scores]) > 0.85


def test_windows_at_another_place_are_left_out(monkeypatch):
    monkeypatch.setattr(runs, "movements", lambda: MOVES)
    _, _, y, people = runs.examples("spar", 6, MOVES)
    assert np.bincount(y).tolist() == [20, 40]
    assert set(people.tolist()) == {f"p{i}" for i in range(5)}
    at_thigh = {("thigh", name): classes for (_, name), classes in MOVES.items()}
    assert len(runs.examples("spar", 6, at_thigh)[2]) == 0


def test_table_of_movements_names_existing_classes():
    assert CLASSES[0] == "rest"
    for (place, _), classes in movements().items():
        assert place in PLACES
        assert len(classes) > 1
        for name, own in classes.items():
            assert set(own) <= set(CORPORA[name].classes)
    assert {target: sources_of(target) for target in TARGETS} == {
        "motionsense": ["utd_mhad", "sp_sw_phone"],
        "spar": ["muvr"],
        "utd_mhad": ["motionsense", "sp_sw_phone"],
        "sp_sw_watch": ["mhealth_fragments"],
        "sp_sw_phone": ["motionsense", "utd_mhad"],
    }
    assert not shared("sp_sw_phone", "sp_sw_watch"), "the same people"
    assert not shared("spar", "spar")


@pytest.mark.parametrize(
    "text",
    [
        '[wrist.row]\nspar = ["rowing"]\n',
        '[wrist.row]\nmnist = ["bent-over row"]\n',
        '[knee.row]\nspar = ["bent-over row"]\n',
    ],
)
def test_wrong_table_of_movements_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "moves.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"moves\.toml: .* has no classes"):
        movements(path)
