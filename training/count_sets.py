"""Repetition counting on data sets with counted sets: `python -m training.count_sets`; see docs/counting.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.core import DataError
from training.corpora import registry
from training.evaluation.counting import COUNTED, bout_scores, choose, counted_sets, evaluate, quiet, table, write_sets
from training.evaluation.events import describe
from training.support.command import run


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the data sets.  [default: $MUJO_DATA]")] = None,
    names: Annotated[str, typer.Option(help="data sets, comma-separated")] = ",".join(COUNTED),
    choose_seed: Annotated[
        int | None, typer.Option("--choose", help="choose the constants again, in an order drawn by this seed")
    ] = None,
    everyday: Annotated[bool, typer.Option("--everyday", help="also count in Stress-Predict: no exercise")] = False,
    out: Annotated[Path, typer.Option(file_okay=False, help="folder of the table and of the counts set by set")] = Path(
        "runs/counting"
    ),
) -> None:
    """Count the repetitions of every annotated set, streamed and with two baselines: within one, mean error."""
    root = data or registry.data_root()
    sets = list(counted_sets(root, names.split(",")))
    if not sets:
        raise DataError(f"none of {names} is here. Set MUJO_DATA to the folder of the data sets")
    if choose_seed is not None:
        typer.echo(choose([one for one in sets if one.part == "choose"], choose_seed, say=typer.echo))
        return
    errors = evaluate(sets)
    out.mkdir(parents=True, exist_ok=True)
    write_sets(errors, out / "sets.csv")
    tests = [one for one in sets if one.corpus == "ptex"]
    bouts = f"\nBouts in PTEx's tests: {describe(bout_scores(tests))}\n" if tests else ""
    text = table(errors) + bouts + ("\n" + quiet(root) + quiet(root, "gym-wrist") if everyday else "")
    (out / "table.md").write_text(text, "utf-8")
    typer.echo(text)


if __name__ == "__main__":
    run(main)
