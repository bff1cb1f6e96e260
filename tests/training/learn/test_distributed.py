"""Two processes train as one: gradients, batch statistics and resuming from a checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from generated_motion import ROOT
from torch import Tensor

from training.learn.distributed import fill_and_average, gather, of_all, of_first, rank_and_world, together

HERE = Path(__file__).parent

COMMON = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from torch import nn
from made_clips import FEATURES, made_clip, made_clips
from mujo_edge.signal import InputSpec
from training.learn import loop
from training.learn.clip_pool import make_clip_pool
from training.learn.distributed import fill_and_average, join_batch_norms, rank_and_world, together
from training.models.encoders import PoseConfig, VideoConfig
from training.fimad.clip import MODALITIES
from training.learn.loop import LoopConfig
from training.learn.pretrain import Batch, JointModel, PretrainConfig, Labels, clip_batch, pretrain, terms
from training.models.student import StudentConfig
torch.set_num_threads(1)
out = Path(sys.argv[1])
CONFIG = PretrainConfig(
    encoder=StudentConfig(stem=8, blocks=((12, 5, 2), (12, 5, 1)), embedding=8, dropout=0.0),
    pose=PoseConfig(16, 1, 2, 0.0), video=VideoConfig(16, 1, 2, 0.0, FEATURES),
    loop=LoopConfig(steps=12, batch=24, ema=0.9), modalities=MODALITIES,
    title_weight=0.5, predict_weight=0.3, pair_weights={"imu-text": 2.0},
)
"""
GRADIENTS = (
    COMMON
    + """
def rows(batch, which):
    '''Some samples of a batch, as a process would have drawn them.'''
    inputs = {m: x[which[batch.present[m]]] for m, x in batch.inputs.items()}
    labels = tuple(replace(part, y=part.y[which], allowed=part.allowed[which]) for part in batch.labels)
    return Batch(inputs, {m: p[which] for m, p in batch.present.items()}, batch.group[which], labels)

clips = made_clips(4)
# No video in the second half, no IMU in some: processes differ in what they have.
lacking = [replace(clip, video=None) if i % 2 else replace(clip, imu={}) if i % 3 == 0 else clip
           for i, clip in enumerate(clips)]
pool = make_clip_pool(lacking, InputSpec())
batch = clip_batch(24, pool, CONFIG, torch.Generator().manual_seed(0))
order = torch.argsort(batch.present["video"].int(), descending=True, stable=True)
halves = torch.zeros(24, dtype=torch.long)
halves[order[12:]] = 1
with together("cpu"):
    rank, world = rank_and_world()
    torch.manual_seed(0)
    model = JointModel(CONFIG).train()
    join_batch_norms(model)
    joined = rows(batch, torch.ones(24, dtype=torch.bool)) if world == 1 else rows(batch, halves == rank)
    found = list(terms(model, joined, CONFIG))
    loss = sum(value * weight for _, value, weight in found)
    loss.backward()
    fill_and_average(model.parameters())
    torch.save({
        "gradients": {name: p.grad for name, p in model.named_parameters()},
        "buffers": dict(model.named_buffers()),
        "pairs": {name: float(value) for name, value, _ in found if "-" in name},
        "video": int(joined.present["video"].sum()),
    }, out / f"{world}-{rank}.pt")
"""
)
TRAIN = (
    COMMON
    + """
loop.CHECKPOINT_EVERY_S = 0.0
class Stop(Exception):
    pass
def stop(step, loss):
    if step == 7:
        raise Stop
with together("cpu"):
    rank, world = rank_and_world()
    pool = make_clip_pool(made_clips(4, first=4 * rank), InputSpec())
    def train(folder, report=None):
        return pretrain(CONFIG, pool, None, None, report, out / folder / "a.checkpoint", out / folder / "losses.csv")
    torch.save(train("whole").state_dict(), out / f"whole-{rank}.pt")
    try:
        train("stopped", stop)
    except Stop:
        assert torch.load(out / "stopped" / "a.checkpoint", weights_only=True)["step"] == 6
        torch.save(train("stopped").state_dict(), out / f"resumed-{rank}.pt")
"""
)


def run(code: str, processes: int, folder: Path) -> None:
    """Under torchrun if there are several processes, else directly."""
    script = folder / "script.py"
    script.write_text(code)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(ROOT / "tests"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *start, str(script), str(folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def load(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)


def test_gradients_are_those_of_one_process_with_the_joined_batch(tmp_path: Path):
    """Four modalities, label and prediction terms, halves of a batch that lack different modalities."""
    run(GRADIENTS, 1, tmp_path)
    run(GRADIENTS, 2, tmp_path)
    one, first, second = (load(tmp_path / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    assert first["video"] > second["video"] == 0, "the test needs processes that differ"
    assert one["video"] == first["video"]
    assert set(one["pairs"]) == {"imu-pose", "imu-text", "imu-video", "pose-text", "pose-video", "text-video"}
    for name, gradient in one["gradients"].items():
        assert gradient.abs().max() > 0, name
        for other in (first, second):
            torch.testing.assert_close(other["gradients"][name], gradient, rtol=1e-3, atol=2e-5, msg=name)
    for name, buffer in one["buffers"].items():
        torch.testing.assert_close(first["buffers"][name], buffer, rtol=1e-4, atol=1e-6, msg=name)
    assert first["pairs"] == pytest.approx(one["pairs"], rel=1e-4)


def test_two_processes_train_one_model_and_resume(tmp_path: Path):
    run(TRAIN, 2, tmp_path)
    whole = load(tmp_path / "whole-0.pt")
    for name in ("whole-1.pt", "resumed-0.pt", "resumed-1.pt"):
        assert all(torch.equal(value, whole[key]) for key, value in load(tmp_path / name).items()), name
    curves = [(tmp_path / folder / "losses.csv").read_text() for folder in ("whole", "stopped")]
    assert curves[0] == curves[1]
    assert "10,imu-text," in curves[0]


def test_single_process_exchanges_nothing():
    with together("cpu"):
        assert rank_and_world() == (0, 1)
        x = torch.ones(2, 3)
        assert gather(x) is x
        assert of_first(True)
        assert of_all("a") == ["a"]


def test_missing_gradient_becomes_zero():
    layer, fixed = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
    layer(torch.ones(1, 2)).sum().backward()
    layer.bias.grad = None
    before = layer.weight.grad.clone()
    fill_and_average([*layer.parameters(), *fixed.parameters()])
    assert layer.bias.grad.tolist() == [0, 0]
    assert torch.equal(layer.weight.grad, before)
    assert fixed.weight.grad is None
