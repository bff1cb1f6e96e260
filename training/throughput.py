"""How fast a recipe's teacher is pretrained: `python -m training.throughput --recipe mujo_pure --shards DIR`.

Under torchrun it measures that many processes; the file has one entry for each recipe and number of processes.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer

from training.command import run
from training.distributed import rank_and_world, together
from training.pretrain import pretrain
from training.provenance import git_commit
from training.recipe import read_recipe
from training.run import RecipeOption, Run, ShardsOption

WARM_UP = 5
"""Steps that are not counted."""


def speed(times_s: Sequence[float], batch: int) -> dict[str, Any]:
    """Times (n,) at which the steps were done -> windows/s over all counted steps, and quartiles over single steps."""
    steps = np.diff(times_s[WARM_UP - 1 :])
    return {
        "steps": len(steps),
        "windows_per_s": batch * len(steps) / float(steps.sum()),
        "windows_per_s_quartiles": (batch / np.quantile(steps, (0.75, 0.25))).tolist(),
    }


def merge(path: Path, entry: dict[str, Any]) -> None:
    """Put `entry` into the JSON list at `path`, in place of what was measured of the same recipe and processes."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else []
    kept = [old for old in kept if any(old[key] != entry[key] for key in ("recipe", "processes"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, entry], indent=1) + "\n")


def main(
    recipe: RecipeOption = "mujo_pure",
    shards: ShardsOption = None,
    steps: Annotated[int, typer.Option(help="steps that are counted", min=2)] = 50,
    out: Annotated[Path, typer.Option(dir_okay=False, help="JSON file of the figures")] = Path("runs/throughput.json"),
) -> None:
    """Windows/s of pretraining a recipe's teacher, real and virtual together, drawing included."""
    chosen = read_recipe(recipe)
    config = replace(chosen.teacher, loop=replace(chosen.teacher.loop, steps=steps + WARM_UP))
    with together(config.device), TemporaryDirectory() as folder:
        this = Run(chosen, Path(folder), shards)
        clips, windows = this.pools(config)
        times_s: list[float] = []
        pretrain(config, clips, windows, this.words, lambda step, loss: times_s.append(time.perf_counter()))
        rank, world = rank_and_world()
        entry = {
            "recipe": chosen.name,
            "processes": world,
            "threads_each": torch.get_num_threads(),
            "batch": config.loop.batch,
            "device": config.device,
            "machine": platform.processor() or platform.machine(),
            "git_commit": git_commit(),
            **speed(times_s, config.loop.batch),
        }
        if rank == 0:
            merge(out, entry)
            typer.echo(f"{world} process(es): {entry['windows_per_s']:.0f} windows/s")


if __name__ == "__main__":
    run(main)
