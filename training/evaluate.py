"""Accuracy on people and data sets that training did not see: `python -m training.evaluate`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.core import UsageError
from training.corpora import PROTOCOL_V1
from training.evaluation.cells import ROWS, Cell, Row, read_scores
from training.evaluation.encoders import PRETRAINED, Evaluation, Shards
from training.evaluation.protocol_v1 import (
    ABLATED,
    WITH_CLIPS,
    among,
    go_on,
    parts_of,
    rows_of,
    shares,
    transfer_cells,
    zero_shot_cells,
)
from training.evaluation.report import write_report
from training.evaluation.schedule import evaluate
from training.evaluation.transfer import TARGETS
from training.recipes.recipe import read_recipe
from training.support.command import run


def main(
    protocol: Annotated[str, typer.Option(help="the rules; there is one set so far")] = "v1",
    sets: Annotated[str, typer.Option(help="data sets, comma-separated  [default: those of the protocol]")] = "",
    rows: Annotated[str, typer.Option(help=f"{', '.join(ROWS)}  [default: all that the options allow]")] = "",
    channels: Annotated[str, typer.Option(help="3 (accelerometer), 6 (with gyroscope)")] = "3",
    fractions: Annotated[
        str, typer.Option(help='shares of the train labels; "one": all of one person')
    ] = "0.02,0.1,1,one",
    fold: Annotated[str, typer.Option(help="folds to run")] = "0,1,2,3,4",
    seeds: Annotated[int, typer.Option(help="seeds of every cell", min=1)] = 3,
    recipe: Annotated[str, typer.Option(help="tiny, base or a .toml file")] = "base",
    shards: Annotated[
        Path | None, typer.Option(file_okay=False, help="clips that python -m training.fimad build made")
    ] = None,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="no labels: by the words of the classes")] = False,
    transfer: Annotated[bool, typer.Option("--transfer", help="labels of another data set with like classes")] = False,
    semi: Annotated[
        bool, typer.Option("--semi", help="few labels, and the train people's other windows without theirs")
    ] = False,
    ablation: Annotated[
        str, typer.Option(help='what to leave out of pretraining, one at a time: pose,hdm05,... or "all"')
    ] = "",
    jobs: Annotated[int, typer.Option(help="processes", min=1)] = 2,
    out: Annotated[
        Path,
        typer.Option(
            file_okay=False, help="folder of scores, tables and pictures; runs go on here, and its tables have them all"
        ),
    ] = Path("runs/evaluate"),
) -> None:
    """Accuracy by protocol v1: tables and pictures, subject-disjoint, mean and spread."""
    if protocol != "v1":
        raise UsageError(f"there is no protocol {protocol!r}; choose v1")
    if zero_shot + transfer + semi > 1 or (ablation and (transfer or semi)):
        raise UsageError(
            "--zero-shot, --transfer, --ablation and --semi are runs of their own; give one at a time, or --ablation "
            "with --zero-shot"
        )
    allowed = TARGETS if transfer else PROTOCOL_V1
    corpora = among("--sets", sets, allowed) if sets else list(allowed)
    numbers = [int(number) for number in among("--fold", fold, "01234")]
    widths = [int(channel) for channel in among("--channels", channels, "36")]
    wanted = shares(fractions)
    if semi and wanted == [1.0]:
        raise UsageError("--semi needs a share of the labels below 1: all labels leave no window without one")
    chosen = read_recipe(recipe)
    networks: tuple[Row, ...] = ("random", "mujo", "mujo_plus", "student")
    if ablation:
        models = rows_of(rows, ABLATED, PRETRAINED, shards)
    elif zero_shot:
        models = rows_of(rows, (*WITH_CLIPS, "student", "prompts"), (*WITH_CLIPS, "student", "prompts"), shards)
    else:
        trained = networks if semi else (*networks, "forest")
        models = rows_of(rows, trained, trained, shards)
    this = Evaluation(out, chosen, Shards.of(shards) if shards and set(models) & set(WITH_CLIPS) else None)
    left_out = ["", *parts_of(ablation, this, models, zero_shot)] if ablation else [""]
    if zero_shot:
        cells = list(zero_shot_cells(models, numbers, seeds, corpora, left_out))
    elif transfer:
        cells = list(transfer_cells(models, numbers, seeds, corpora))
    else:
        grid = product(widths, corpora, wanted, numbers, models, left_out)
        cells = [
            Cell(row, width, corpus, number, share, seed, without, semi=semi)
            for width, corpus, share, number, row, without in grid
            for seed in range(1 if row == "forest" else seeds)
            if not semi or share != 1
        ]
    learned = chosen.allowed() if set(models) - {"random", "forest", "mujo"} else ()
    sources = (cell.source for cell in cells if cell.source)
    go_on(this, seeds, models, {*corpora, *learned, *sources})
    evaluate(cells, this, jobs)
    typer.echo(write_report(read_scores(this.cells), out))


if __name__ == "__main__":
    run(main)
