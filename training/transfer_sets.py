"""Accuracy on whole data sets that training did not see, by protocol v2: `python -m training.transfer_sets`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from training.evaluation.frozen import METHODS
from training.evaluation.protocol_v1 import among
from training.evaluation.set_groups import read_protocol
from training.evaluation.transfer_sets import evaluate, read_results, trials
from training.evaluation.transfer_sets_report import write_report
from training.learn.broad import BroadConfig
from training.support.command import run


def main(
    targets: Annotated[str, typer.Option(help="test targets, comma-separated  [default: all]")] = "",
    methods: Annotated[str, typer.Option(help=", ".join(METHODS))] = "hand,random,broad,broad_int8",
    channels: Annotated[str, typer.Option(help="3 (accelerometer), 6 (with gyroscope)")] = "3,6",
    steps: Annotated[int, typer.Option(help="of pretraining an encoder", min=2)] = BroadConfig().loop.steps,
    seeds: Annotated[int, typer.Option(help="encoders of every group", min=1)] = 2,
    jobs: Annotated[int, typer.Option(help="processes", min=1)] = 2,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="folder of encoders, results and tables; an earlier run is resumed")
    ] = Path("runs/transfer-sets"),
) -> None:
    """For each group of data sets: pretrain an encoder on all others, freeze it, and test it with few labels,
    compared with hand features and the same network from random init."""
    every = read_protocol().targets
    wanted = trials(
        [method for method in METHODS if method in among("--methods", methods, METHODS)],
        among("--targets", targets, every) if targets else list(every),
        [int(width) for width in among("--channels", channels, "36")],
        seeds,
    )
    config = BroadConfig()
    evaluate(wanted, replace(config, loop=replace(config.loop, steps=steps)), jobs, out)
    typer.echo(write_report(read_results(out), out))


if __name__ == "__main__":
    run(main)
