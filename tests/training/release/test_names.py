"""Vocabulary: names without duplicates, calibrated and evaluated on held-out people."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

import training.names
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.bundle.vocabulary import Vocabulary, key
from mujo_edge.core import DataError
from mujo_edge.signal import InputSpec
from training.corpora import CORPORA
from training.corpora.labels import Vocabulary as Labels
from training.corpora.labels import read_vocabulary
from training.learn.pretrain import JointModel
from training.models.sentence_embedding import TextProjection
from training.models.student import Student
from training.recipes.splits import Data
from training.release import vocabulary as module
from training.release.bundle import load_checkpoint, save_checkpoint
from training.release.calibrate import FALSE_UNKNOWN, likelihood
from training.release.card import model_card
from training.release.vocabulary import (
    NAMES_FILE,
    Entry,
    HeldOut,
    calibrated,
    first_unseen,
    measured,
    read_names,
)

FEW = """
exercises = ["Fast Swing", "Barbell Curl, Standing", "Oscillation"]
[activities]
"slow swing" = ["swaying", "oscillations"]
"sleeping" = ["napping"]
"""


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "names.toml"
    path.write_text(FEW)
    monkeypatch.setattr(module, "NAMES_FILE", path)
    return path


@pytest.mark.parametrize("corpora", [(), tuple(CORPORA)], ids=["shipped", "every data set"])
def test_shipped_names_are_at_least_a_thousand_and_distinct(corpora: tuple[str, ...]) -> None:
    labels = read_vocabulary(corpora=corpora)
    entries = read_names(labels, NAMES_FILE)
    keys = [key(words) for entry in entries for words in (entry.name, *entry.also)]
    assert len(entries) >= 1000
    assert len(set(keys)) == len(keys)
    assert all(keys)
    assert {key(name) for name in labels.names} <= set(keys)
    assert not [entry.name for entry in entries if "," in entry.name], "a comma separates labels"
    for entry in entries:
        assert entry.prompts
        assert entry.name == entry.name.strip()


def test_trained_names_keep_their_prompts() -> None:
    labels = read_vocabulary()
    entries = {entry.name: entry for entry in read_names(labels, NAMES_FILE)}
    for name, prompts in zip(labels.names, labels.prompts, strict=True):
        assert entries[name].prompts == prompts


def test_every_exercise_of_free_exercise_db_is_known() -> None:
    from training.corpora.registry import data_root

    path = data_root() / "free_exercise_db" / "exercises.json"
    if not path.is_file():
        pytest.skip(f"free-exercise-db is not at {path}")
    known = {key(words) for entry in read_names(read_vocabulary(), NAMES_FILE) for words in (entry.name, *entry.also)}
    names = [exercise["name"] for exercise in json.loads(path.read_text())]
    assert len(names) == 873
    assert not [name for name in names if key(name) not in known]


def test_names_are_merged_in_order(vocabulary: Labels, few: Path) -> None:
    entries = read_names(vocabulary, few)
    assert [entry.name for entry in entries] == [*vocabulary.names, "sleeping", "barbell curl standing"]
    assert entries[1] == Entry("slow swing", ("swaying", "oscillations"), vocabulary.prompts[1])
    assert entries[4].prompts[:2] == ("sleeping", "napping")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a file of names"),
        ("exercises = [", "not a file of names"),
        ('exercises = "squat"\n[activities]', "not a file of names"),
        ('exercises = ["squat"]\n[activities]\nwalking = 3', "not a file of names"),
        (
            'exercises = ["squat"]\n[activities]\nwalking = ["gait"]\nhiking = ["gaits"]',
            "to both 'walking' and 'hiking'",
        ),
        ('exercises = ["squat"]\n[activities]\nwalking = ["rest"]', "gives 'rest' to both 'rest' and 'walking'"),
    ],
)
def test_invalid_names_file_is_refused(vocabulary: Labels, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "names.toml"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_names(vocabulary, path)


def test_missing_names_file_is_refused(vocabulary: Labels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a file of names"):
        read_names(vocabulary, tmp_path / "nowhere.toml")


def test_reworded_names_are_none_of_the_prompts(vocabulary: Labels, few: Path) -> None:
    from mujo_edge.bundle.vocabulary import Name

    assert first_unseen(Name("run", ("running", "jog")), ("Running!",)) == "jog"
    assert first_unseen(Name("run", ("running",)), ("running",)) == "run"


@pytest.fixture
def made(
    teacher: JointModel, student: Student, vocabulary: Labels, motion_data: Data, few: Path
) -> tuple[Vocabulary, dict]:
    return module.known_names(teacher.text, student, vocabulary, motion_data, InputSpec())


def test_names_of_trained_motion_are_found_on_held_out_people(made: tuple[Vocabulary, dict]) -> None:
    known, metrics = made
    assert [name.name for name in known.names if name.trained] == ["rest", "slow swing", "fast swing", "twist"]
    assert metrics["names"] == 6
    scores = metrics["label_sets"]["motion-wrist"]
    assert scores["windows"] == 160
    assert scores["macro_f1"] > 0.9
    assert scores["in_first_five"] >= scores["first_of_all_names"] > 0.8
    assert scores["median_rank"] == 1
    assert scores["kept"] == pytest.approx(1 - FALSE_UNKNOWN, abs=0.02)


def test_titles_of_clips_count_as_trained(
    teacher: JointModel, student: Student, vocabulary: Labels, motion_data: Data, few: Path
) -> None:
    known, _ = module.known_names(teacher.text, student, vocabulary, motion_data, InputSpec(), trained=["Sleeping"])
    assert known.names[known.rows["sleeping"]].trained
    assert not known.names[known.rows[key("barbell curl standing")]].trained


def test_calibration_weights_sets_equally_and_maximizes_likelihood(made: tuple[Vocabulary, dict]) -> None:
    rng = np.random.default_rng(0)

    def held_out(n: int, center: float) -> HeldOut:
        y = rng.integers(0, 3, n)
        cosine = rng.normal(0, 0.1, (n, 3)).astype(np.float32)
        cosine[np.arange(n), y] += center
        empty = np.zeros((n, 64), np.float32)
        return HeldOut("s", cosine, y, empty, np.arange(3), np.zeros((3, 64), np.float32))

    sets = [held_out(4000, 0.8), held_out(400, 0.3)]
    known = calibrated(made[0], sets)
    accepted = [float((one.cosine.max(1) >= known.unknown_threshold).mean()) for one in sets]
    assert np.mean(accepted) == pytest.approx(1 - FALSE_UNKNOWN, abs=0.01)
    assert accepted[0] > 0.99 > 0.95 > accepted[1]

    def cost(temperature: float) -> float:
        return float(np.mean([likelihood(one.cosine, one.y, temperature) for one in sets]))

    assert cost(known.temperature) <= min(cost(0.9 * known.temperature), cost(1.1 * known.temperature))


def test_ranks_are_among_all_names(made: tuple[Vocabulary, dict]) -> None:
    known, _ = made
    embeddings = known.prototypes[[0, 1]]
    one = HeldOut(
        "s", embeddings @ known.prototypes[[0, 1]].T, np.array([0, 0]), embeddings, np.array([0, 1]), embeddings
    )
    scores = measured(known, [one])["s"]
    every = (embeddings @ known.prototypes.T)[1]  # one product: another kernel rounds a name's own cosine differently
    rank = 1 + int((every > every[0]).sum())
    assert scores["median_rank"] == (1 + rank) / 2
    assert scores["first_of_all_names"] == 0.5


def test_command_adds_names_to_a_release(
    checkpoint: Path, few: Path, vocabulary: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, motion_data: Data
) -> None:
    """The whole command, with a text projection that the network was not trained with."""
    torch.manual_seed(0)
    projection = {f"text.{name}": value for name, value in TextProjection().state_dict().items()}
    torch.save({"state": projection | {"imu.other": torch.zeros(1)}}, tmp_path / "teacher.pt")
    monkeypatch.setattr(training.names, "read_vocabulary", lambda **_: vocabulary)
    monkeypatch.setattr(training.names, "load_data", lambda recipe: motion_data)
    training.names.main(checkpoint, tmp_path / "teacher.pt", tmp_path / "named.pt", "tiny")

    *parts, release = load_checkpoint(tmp_path / "named.pt")
    assert release.vocabulary is not None
    assert len(release.vocabulary.names) == 6
    np.testing.assert_array_equal(release.vocabulary.weight, projection["text.project.weight"].numpy())
    save_checkpoint(tmp_path / "again.pt", *parts, release)
    again = load_checkpoint(tmp_path / "again.pt")[-1].vocabulary
    assert again is not None
    assert again.names == release.vocabulary.names
    np.testing.assert_array_equal(again.prototypes, release.vocabulary.prototypes)


def test_names_are_exported_and_listed_in_the_card(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    assert manifest.vocabulary is not None
    assert manifest.labels("planking,rest").names[:2] == ("planking", "rest")
    card = (bundle_folder / manifest.card).read_text()
    assert "5 activities and exercises have a prototype" in card
    assert "| `motion-wrist` | 160 | 0.990 | 0.500 | 0.950 | 0.900 | 1.000 |" in card


def test_card_without_names_has_no_section_of_names(bundle_folder: Path, checkpoint: Path) -> None:
    _, spec, _, _, release = load_checkpoint(checkpoint)
    table = json.loads((bundle_folder / "bundle.json").read_text())
    del table["metrics"]["names"]
    assert "## Names" not in model_card(
        table, spec, read_manifest(bundle_folder).models, (), defaultdict(int), release.label_sets
    )
