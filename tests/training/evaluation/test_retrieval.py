"""Retrieval: ranks and chance by hand, every ordered pair, and the command on synthetic clips."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import FEATURES, made_clips
from typer.testing import CliRunner

from mujo_edge.core import DataError
from mujo_edge.signal import InputSpec
from training import retrieval
from training.evaluation.retrieval import chance, embed, markdown, ranks, read_teacher, retrieve, score
from training.fimad.clip import MODALITIES, Clip
from training.fimad.shards import encode, write_shards
from training.learn.clip_pool import ClipPool, make_clip_pool
from training.learn.curves import read_curves
from training.learn.loop import LoopConfig
from training.learn.pretrain import JointModel, PretrainConfig, pretrain
from training.models.encoders import PoseConfig, VideoConfig
from training.recipes.recipe import Recipe
from training.support.tensors import save_tensors

CONFIG = PretrainConfig(
    pose=PoseConfig(32, 1, 2),
    video=VideoConfig(32, 1, 2, features=FEATURES),
    loop=LoopConfig(steps=150, batch=32, ema=0.9),
    modalities=MODALITIES,
    title_weight=0.5,
    predict_weight=0.2,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread: faster for small networks, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def held_out() -> list[Clip]:
    """Clips of other people."""
    return [replace(clip, split="val") for clip in made_clips(5, first=100)]


@pytest.fixture(scope="module")
def curves(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("curves") / "losses.csv"


@pytest.fixture(scope="module")
def joint(curves: Path) -> JointModel:
    """Trained on the synthetic exercises in all modalities."""
    return pretrain(CONFIG, make_clip_pool(made_clips(12), InputSpec()), None, None, curves=curves)


def test_ranks_equal_a_hand_calculation():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.1, 0.2, 0.3]])
    right = np.array([[False, True, True], [True, False, False], [False, True, True]])
    assert ranks(scores, right).tolist() == [2, 3, 1], "best of the right ones; ties count against it"


@pytest.mark.parametrize("counts", [[1], [1, 1, 4], [7], [2, 3]])
def test_chance_equals_the_mean_over_shuffles(counts: list[int]):
    candidates = 7
    right = np.zeros((len(counts), candidates), bool)
    for row, k in enumerate(counts):
        right[row, :k] = True
    recall, median = chance(right)
    rng = np.random.default_rng(0)
    drawn = np.array([ranks(rng.random(right.shape), right) for _ in range(4000)])
    assert recall == pytest.approx([(drawn <= 1).mean(), (drawn <= 5).mean()], abs=0.02)
    assert abs(median - np.median(drawn)) <= (0 if len(counts) == 1 and counts[0] != 1 else 1)


def test_chance_is_one_in_n():
    assert chance(np.eye(10, dtype=bool)) == (pytest.approx((0.1, 0.5)), 5.0)
    assert chance(np.eye(3, dtype=bool)) == (pytest.approx((1 / 3, 1.0)), 2.0)


def test_retrieval_in_a_perfect_and_in_a_random_space():
    same = np.eye(6)
    perfect = score("imu", "pose", "clip", same, same, np.eye(6, dtype=bool))
    assert (perfect.recall, perfect.median_rank) == ((1.0, 1.0), 1.0)
    useless = score("imu", "pose", "clip", np.ones((6, 2)), np.ones((6, 2)), np.eye(6, dtype=bool))
    assert (useless.recall, useless.median_rank) == ((0.0, 0.0), 6.0)


def test_every_trained_pair_is_retrieved(joint: JointModel, held_out: list[Clip]):
    scores = list(retrieve(joint, make_clip_pool(held_out, InputSpec()), MODALITIES))
    assert {(s.query, s.target) for s in scores if s.match == "title"} == {
        (a, b) for a in MODALITIES for b in MODALITIES if a != b
    }
    assert len([s for s in scores if s.match == "clip"]) == 6
    for s in scores:
        if s.match == "title":
            assert s.recall[0] > s.chance_recall[0] + 0.1, s
            assert s.median_rank == 1, s
    to_text = next(s for s in scores if (s.query, s.target) == ("imu", "text"))
    assert (to_text.queries, to_text.candidates) == (15, 3)
    assert to_text.chance_recall[0] == pytest.approx(1 / 3)


def test_untrained_space_is_at_chance(held_out: list[Clip]):
    torch.manual_seed(0)
    scores = list(retrieve(JointModel(CONFIG).eval(), make_clip_pool(held_out, InputSpec()), MODALITIES))
    assert np.mean([s.recall[0] - s.chance_recall[0] for s in scores]) < 0.2


def test_pairs_are_those_that_clips_share(joint: JointModel, held_out: list[Clip]):
    """No clip has both IMU and video, so the pair has no score."""
    lacking = [
        replace(clip, video=None) if i % 2 else replace(clip, imu={}, pose=None) for i, clip in enumerate(held_out)
    ]
    scores = list(retrieve(joint, make_clip_pool(lacking, InputSpec()), MODALITIES))
    pairs = {(s.query, s.target) for s in scores}
    assert ("imu", "video") not in pairs
    assert {("imu", "pose"), ("video", "text"), ("text", "video")} <= pairs
    assert next(s for s in scores if (s.query, s.target) == ("video", "text")).queries == 8


def test_embeddings_are_unit_vectors_with_the_indices_of_their_clips(joint: JointModel, held_out: list[Clip]):
    pool = make_clip_pool([replace(clip, imu={}) if i < 5 else clip for i, clip in enumerate(held_out)], InputSpec())
    assert isinstance(pool, ClipPool)
    which, vectors = embed(joint, pool, ["imu"])["imu"]
    assert which.tolist() == list(range(5, 15))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_loss_of_every_pair_falls(joint: JointModel, curves: Path):
    rows = read_curves(curves)
    names = {name for _, name, _ in rows}
    pairs = {"imu-pose", "imu-text", "imu-video", "pose-text", "pose-video", "text-video"}
    assert pairs | {"loss", "scale", "imu label", "imu predicts text", "text predicts video"} <= names
    for pair in pairs:
        values = [value for _, name, value in rows if name == pair]
        assert np.mean(values[-3:]) < 0.8 * values[0], pair


@pytest.fixture
def folder(tmp_path: Path, joint: JointModel) -> Path:
    """The folder of a run."""
    recipe = Recipe("made", ("spar",), teacher=CONFIG)
    save_tensors(tmp_path / "teacher.pt", {"state": joint.state_dict(), "made_from": "x"})
    (tmp_path / "run.json").write_text(json.dumps({"config": {"recipe": asdict(recipe)}}))
    return tmp_path


def test_command_writes_table_and_picture(folder: Path, held_out: list[Clip]):
    import typer

    (folder / "shards").mkdir()
    write_shards(
        folder / "shards", "made", [encode([*held_out, replace(held_out[0], id="made/train", split="train")])], {}
    )
    app = typer.Typer()
    app.command()(retrieval.main)
    out = folder / "out"
    done = CliRunner().invoke(app, [str(folder), "--shards", str(folder / "shards"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    record = json.loads((out / "retrieval.json").read_text())
    assert (record["clips"], record["split"], len(record["scores"])) == (15, "val", 18)
    table = (out / "retrieval.md").read_text()
    assert re.search(r"\| imu -> text \| title \| 15 \| 3 \| [01]\.\d{3} \[0\.333\] \|", table)
    assert table in done.output
    assert (out / "retrieval.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("harm", ["run.json", "teacher.pt", "json", "weights", "recipe"])
def test_folder_without_a_teacher_is_reported_in_one_line(folder: Path, harm: str):
    if harm in ("run.json", "teacher.pt"):
        (folder / harm).unlink()
    elif harm == "json":
        (folder / "run.json").write_text("{")
    elif harm == "weights":
        save_tensors(folder / "teacher.pt", {"state": {"x": torch.zeros(1)}, "made_from": "x"})
    else:
        (folder / "run.json").write_text('{"config": {"recipe": {"name": 3}}}')
    with pytest.raises(DataError, match=r"Delete it and|holds no teacher .* python -m training\.pretrain --out"):
        read_teacher(folder)


def test_read_teacher_restores_the_weights(folder: Path, joint: JointModel):
    recipe, model = read_teacher(folder)
    assert recipe.teacher == CONFIG
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in joint.state_dict().items())


def test_table_has_chance_in_brackets():
    line = markdown([score("imu", "text", "title", np.eye(4), np.eye(4), np.eye(4, dtype=bool))]).splitlines()[2]
    assert line == "| imu -> text | title | 4 | 4 | 1.000 [0.250] | 1.000 [1.000] | 1 [2] |"
