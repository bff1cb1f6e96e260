"""Throughput of pretraining a recipe's teacher: `python -m training.throughput --recipe mujo_pure --shards DIR`.

Under torchrun, of all its processes; the file has one entry for each recipe and number of processes.
"""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from training.evaluation.throughput import WARM_UP, merge, speed
from training.learn.distributed import rank_and_world, together
from training.learn.pretrain import pretrain
from training.recipes.recipe import read_recipe
from training.release.run import Run
from training.support.command import RecipeOption, ShardsOption, run
from training.support.provenance import git_commit


def main(
    recipe: RecipeOption = "mujo_pure",
    shards: ShardsOption = None,
    steps: Annotated[int, typer.Option(help="measured steps", min=2)] = 50,
    out: Annotated[Path, typer.Option(dir_okay=False, help="JSON file of results")] = Path("runs/throughput.json"),
) -> None:
    """Windows/s of pretraining a recipe's teacher, real and virtual together, drawing of batches included."""
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
