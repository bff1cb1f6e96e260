"""The optimization loop of every training step: AdamW, one-cycle, weight averaging, exact resume after a kill."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from training.learn.distributed import fill_and_average, of_all, of_first, rank_and_world
from training.support.tensors import load_tensors, save_tensors

CHECKPOINT_EVERY_S = 15.0
"""Seconds between checkpoints."""


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Settings of `optimize`. `ema` is the decay of the averaged weights, which are the result."""

    steps: int = 600
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.25
    ema: float = 0.99
    seed: int = 0


Report = Callable[[int, float], None]
"""Called after every step with the number of steps done and the loss."""


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Report]:
    """A progress bar on stderr with loss, elapsed and remaining time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        task = bar.add_task(description, total=total, loss=float("nan"))
        yield lambda done, loss: bar.update(task, completed=done, loss=loss)


def optimize(
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    config: LoopConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> nn.Module:
    """Minimize `loss_of(generator)` over the parameters of `model`; return the averaged copy in eval mode.

    All randomness comes from `generator` and torch's global state, both seeded here and saved in `checkpoint`, so that
    a resumed run ends with the same weights. A checkpoint of another `config` is ignored; other dependencies of
    `loss_of` belong into the name of the file. Under `training.learn.distributed.together` every process has its own
    seed, gradients are averaged, and the first process saves the checkpoint with the random states of all.

    Raises:
        DataError: the checkpoint is damaged.
    """
    rank, _ = rank_and_world()
    generator = torch.Generator().manual_seed(config.seed + rank)
    torch.manual_seed(config.seed + rank)
    model = model.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.lr,
        total_steps=config.steps,
        pct_start=min(1.0, max(config.warmup, 2 / config.steps)),
    )
    parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
    start = _restore(checkpoint, config, parts, generator)
    saved = time.monotonic()
    for step in range(start, config.steps):
        loss = loss_of(generator)
        optimizer.zero_grad()
        loss.backward()
        fill_and_average(model.parameters())
        optimizer.step()
        schedule.step()
        _follow(average, model, min(config.ema, (step + 1) / (step + 10)))
        if report is not None:
            report(step + 1, float(loss.detach()))
        if checkpoint is None:
            continue
        if of_first(time.monotonic() - saved > CHECKPOINT_EVERY_S or step + 1 == config.steps):
            _save(checkpoint, config, parts, generator, step + 1)
            saved = time.monotonic()
    return average.to(memory_format=torch.contiguous_format).eval()


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    for mean, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(new, 1 - decay)
        else:
            mean.copy_(new)


def _save(path: Path, config: LoopConfig, parts: dict[str, Any], generator: torch.Generator, step: int) -> None:
    rng = of_all({"rng": generator.get_state(), "torch_rng": torch.get_rng_state()})
    if rank_and_world()[0]:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    save_tensors(path, state | {"config": asdict(config), "step": step, "processes": rng})


def _restore(path: Path | None, config: LoopConfig, parts: dict[str, Any], generator: torch.Generator) -> int:
    if path is None or not path.exists():
        return 0
    state = load_tensors(path)
    rank, world = rank_and_world()
    # Made with other settings, another number of processes, or an older version.
    if state["config"] != asdict(config) or len(state.get("processes", ())) != world:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    own = state["processes"][rank]
    generator.set_state(own["rng"])
    torch.set_rng_state(own["torch_rng"])
    return int(state["step"])
