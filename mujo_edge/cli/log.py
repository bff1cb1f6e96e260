"""`mujo-edge log`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mujo_edge.cli.arguments import BundleOption, Json, Verbose, print_json
from mujo_edge.cli.streams import say

if TYPE_CHECKING:
    from rich.table import Table

    from mujo_edge.workouts import Workout


def log(
    sessions: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SESSION...",
            help="Session folders, or folders of them.  [default: the current folder]",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|A,B,...",
            envvar="MUJO_EDGE_LABELS",
            help="As for `stream`; by default the set that suits each session.",
        ),
    ] = None,
    bundle: BundleOption = None,
    runtime: Annotated[
        str, typer.Option(envvar="MUJO_EDGE_RUNTIME", help="auto, litert, tflite-runtime, executorch or onnx.")
    ] = "auto",
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the sets as CSV.")] = None,
    json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """List the counted sets of stored sessions: when, what, how many repetitions, how fast.

    A session that cannot be read is named on stderr, and the others are listed.
    """
    from mujo_edge.bundle import ModelBundle
    from mujo_edge.core import DataError
    from mujo_edge.workouts import find_sessions, in_order, read_workout

    paths = find_sessions(sessions or [Path()])
    model = ModelBundle.load(bundle, runtime)
    workouts: list[Workout] = []
    failed = 0
    for path in paths:
        try:
            workouts.append(read_workout(path, model, labels))
        except DataError as error:
            failed += 1
            say(str(error))
    workouts = in_order(workouts)
    if csv is not None:
        _write(csv, workouts)
    if json:
        print_json([row for workout in workouts for row in workout.rows()])
    else:
        _show(workouts)
    if failed:
        raise DataError(f"{failed} of {len(paths)} sessions could not be read, named above")


def _write(path: Path, workouts: list[Workout]) -> None:
    from csv import DictWriter

    from mujo_edge.core import UsageError
    from mujo_edge.workouts import FIELDS

    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for workout in workouts for row in workout.rows())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _show(workouts: list[Workout]) -> None:
    """A table of the sets in the time zone of this computer, and each session's totals."""
    from rich.console import Console
    from rich.markup import escape

    from mujo_edge.sinks.screen import workout_lines

    console = Console(emoji=False, highlight=False)
    for workout in workouts:
        began = workout.began.astimezone()
        console.print(f"[bold]{began:%Y-%m-%d %H:%M}[/] {escape(str(workout.path))}, {escape(workout.label_set)}")
        if workout.bouts:
            console.print(_table(workout))
            if len({bout.label for bout in workout.bouts}) < len(workout.bouts):
                console.print(*(escape(line) for line in workout_lines(workout.bouts)), sep="\n")
        else:
            console.print("  no sets: nothing was repeated three times, or nothing that is counted")
        console.print()


def _table(workout: Workout) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Column, Table

    from mujo_edge.printable import printable

    right = [Column(name, justify="right") for name in ("repetitions", "s per repetition", "s of rest before")]
    table = Table("start", "end", "exercise", *right, box=SIMPLE_HEAD)
    before_s = None
    for bout in workout.bouts:
        start, end = (workout.at(at_s).astimezone() for at_s in (bout.start_s, bout.end_s))
        rest = "" if before_s is None else f"{max(0.0, bout.start_s - before_s):.0f}"
        tempo = f"{bout.tempo_s:.1f} ± {bout.tempo_sd_s:.1f}"
        name = escape(printable(bout.label))
        table.add_row(f"{start:%H:%M:%S}", f"{end:%H:%M:%S}", name, str(bout.repetitions), tempo, rest)
        before_s = bout.end_s
    return table
