"""`training.pretrain --shards`: the clips that a run uses, and the command under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generated_motion import ROOT
from made_clips import FEATURES, made_clip, made_clips

from mujo_edge.core import UsageError
from training.evaluation.retrieval import read_teacher
from training.fimad.clip import MODALITIES
from training.fimad.shards import encode, shards_sha256, write_shards
from training.learn.curves import read_curves
from training.learn.loop import LoopConfig
from training.learn.pretrain import JointModel, PretrainConfig
from training.models.encoders import PoseConfig, VideoConfig
from training.models.student import StudentConfig
from training.recipes.recipe import Recipe
from training.release.run import Run
from training.support.tensors import load_tensors

TEACHER = PretrainConfig(
    encoder=StudentConfig(stem=8, blocks=((12, 5, 2),), embedding=64),
    pose=PoseConfig(16, 1, 2),
    video=VideoConfig(16, 1, 2, features=FEATURES),
    loop=LoopConfig(steps=10, batch=16),
    modalities=MODALITIES,
)
RECIPE = Recipe("made", ("spar",), max_windows_per_class=10, teacher=TEACHER)
TOML = f"""
corpora = ["spar"]
max_windows_per_class = 10
[teacher]
modalities = ["imu", "pose", "video", "text"]
encoder = {{ stem = 8, blocks = [[12, 5, 2]] }}
pose = {{ width = 16, layers = 1, heads = 2 }}
video = {{ width = 16, layers = 1, heads = 2, features = {FEATURES} }}
loop = {{ steps = 10, batch = 16 }}
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two data sets of clips, one of them with a real IMU, and held-out clips."""
    folder = tmp_path / "shards"
    folder.mkdir()
    clips = made_clips(4)
    other = [
        replace(made_clip("rest", 50 + i, corpus="other", real_imu=made_clip("squat", i).imu), split=split)
        for i, split in enumerate(("train", "val"))
    ]
    write_shards(folder, "made", [encode(clips)], {})
    write_shards(folder, "other", [encode(other)], {})
    return folder


def test_recipe_with_pose_needs_shards(tmp_path: Path):
    with pytest.raises(UsageError, match=r"recipe made trains on clips with pose, video: give their folder with --sha"):
        Run(RECIPE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_uses_the_train_clips_of_its_recipe(shards: Path, tmp_path: Path):
    clips, windows = Run(RECIPE, tmp_path / "run", shards).pools(TEACHER)
    assert (len(clips), clips.corpora, len(windows.y)) == (13, ("made", "other"), 70)
    assert not clips.virtual.all(), "MuJo+ takes in what devices measured"
    pure = replace(TEACHER, clip_share=1.0)
    clips, windows = Run(replace(RECIPE, clips=("made",), teacher=pure), tmp_path / "run", shards).pools(pure)
    assert (len(clips), windows) == (12, None)
    assert clips.virtual.all()
    fewer = Run(RECIPE, tmp_path / "run", shards).pools(replace(TEACHER, modalities=("imu", "text")))[0]
    assert not fewer.has("pose").any()


def test_teacher_is_trained_once_for_the_same_shards(shards: Path, tmp_path: Path):
    run = Run(RECIPE, tmp_path / "run", shards)
    first = run.teacher().state_dict()
    made = (tmp_path / "run" / "teacher.pt").stat().st_mtime_ns
    names = {name for _, name, _ in read_curves(tmp_path / "run" / "losses.csv")}
    assert {"imu-pose", "imu-text", "imu-video", "pose-text", "pose-video", "text-video", "imu label"} <= names
    assert (tmp_path / "run" / "losses.png").exists()
    again = Run(RECIPE, tmp_path / "run", shards).teacher().state_dict()
    assert (tmp_path / "run" / "teacher.pt").stat().st_mtime_ns == made
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    recipe, _ = read_teacher(tmp_path / "run")
    assert recipe == RECIPE
    key = run.made_from(TEACHER)
    write_shards(shards, "other", [encode([made_clip("rest", 99, corpus="other")])], {})
    assert Run(RECIPE, tmp_path / "run", shards).made_from(TEACHER) != key
    assert set(shards_sha256(shards)) == {"made-00000.parquet", "other-00000.parquet"}


def test_command_runs_under_torchrun(shards: Path, tmp_path: Path, cache: Path):
    recipe = tmp_path / "made.toml"
    recipe.write_text(TOML)
    words = f"-m training.pretrain --recipe {recipe} --shards {shards} --out {tmp_path / 'run'}".split()
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"MUJO_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *start, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"teacher: {tmp_path / 'run' / 'teacher.pt'}"]
    assert done.stderr.count("10/10") == 1, "one bar"
    JointModel(TEACHER).load_state_dict(load_tensors(tmp_path / "run" / "teacher.pt")["state"])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *("teacher.pt", "run.json", "losses.csv", "losses.png")
    }
