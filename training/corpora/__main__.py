"""`python -m training.corpora`: list, check and download data sets; count their windows and repetitions."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mujo_edge.cli.arguments import HELP
from mujo_edge.core import DataError, MujoError, UsageError
from training.corpora import mm_fit, registry
from training.corpora.base import TRAIN_HOP, Corpus, RepetitionSet
from training.corpora.download import fetch
from training.corpora.files import locate
from training.corpora.inspection import Inspection, count_windows, inspect, plot

app = typer.Typer(
    context_settings=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
console = Console()
COLUMNS = ("recordings", "people", "classes", "hours", "rate (Hz)")
LABELS_ALONE = "mm_fit_labels"
"""Name, in place of a data set's, for MM-Fit's label files without the signals."""
SHOWN = 20
"""Number of problems that are listed; further ones are only counted."""

Root = Annotated[Path | None, typer.Option("--data", help="Folder of the data sets.  [default: $MUJO_DATA]")]


@app.command("list")
def list_(data: Root = None) -> None:
    """List the data sets: recordings, people, classes, hours, rate and license."""
    root = data or registry.data_root()
    table = Table(*(Column(name, no_wrap=True) for name in ("name", *COLUMNS, "license")), box=SIMPLE_HEAD, padding=0)
    paths, damaged = registry.present(root)
    for name, corpus in registry.CORPORA.items():
        cells = ["not here", "", str(len(corpus.classes)), "", ""]
        if path := paths.get(name):
            with console.status(f"Reading {name}"):
                cells = numbers(inspect(corpus, path))
        table.add_row(name, *cells, escape(corpus.license))
    console.print(f"Data sets in {escape(str(root))}:")
    console.print(table)
    for message in damaged:
        console.print(escape(message), style="red")


def numbers(inspection: Inspection) -> list[str]:
    """Texts for the columns `COLUMNS`."""
    if not inspection.recordings:
        return ["0", "", "0", "0", ""]
    classes = {label for r in inspection.recordings for label, *_ in r.segments()} - {""}
    people = str(len(inspection.subjects)) if inspection.corpus.subjects else "not named"
    return [str(len(inspection.recordings)), people, str(len(classes)), f"{inspection.hours:.2f}", inspection.rates_hz]


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A data set's zip file or folder.")],
    draw: Annotated[Path | None, typer.Option("--plot", help="Draw a recording to this image file.")] = None,
    session: Annotated[str | None, typer.Option(help="Recording to draw.  [default: the first]")] = None,
) -> None:
    """Check the data sets at a path: list recordings, and problems of layout, units and labels."""
    if not path.exists():
        raise UsageError(f"{path} does not exist. Give a data set's zip file or folder")
    present = [(corpus, where) for corpus in registry.CORPORA.values() if (where := corpus.find(path))]
    if not present:
        known = ", ".join(registry.CORPORA)
        raise DataError(f"{path} holds none of the known data sets ({known}). Give the publisher's own zip or folder")
    inspections = []
    for corpus, where in present:
        with console.status(f"Reading {escape(str(where))}"):
            inspections.append(inspect(corpus, where))
        report(inspections[-1])
    if draw:
        recordings = [r for i in inspections for r in i.recordings if session in (None, r.session)]
        if not recordings:
            raise UsageError(f"no recording called {session!r} could be read. Leave --session out to draw the first")
        plot(recordings[0], draw)
        console.print(f"Drew {escape(recordings[0].session)} to {escape(str(draw))}")
    if count := sum(len(i.problems) for i in inspections):
        raise DataError(f"{path}: {count} problem{'s' * (count > 1)}, listed above")


def report(inspection: Inspection) -> None:
    """Print the recordings and the problems of one data set."""
    console.print(f"[bold]{escape(inspection.corpus.title)}[/] in {escape(str(inspection.path))}")
    if inspection.recordings:
        table = Table(*COLUMNS, "|a| at rest (m/s²)", "repeats left out", box=SIMPLE_HEAD)
        table.add_row(*numbers(inspection), f"{inspection.rest:.2f}", str(inspection.repeats))
        console.print(table)
        sessions = [r.session for r in inspection.recordings]
        console.print(f"Recordings: {escape(', '.join(sessions[:3]))}{' ...' * (len(sessions) > 3)}")
    count = len(inspection.problems)
    if not count:
        console.print("No problems.", style="green")
        return
    console.print(f"{count} problem{'s' * (count > 1)}:", style="red")
    table = Table("where", "problem", box=SIMPLE_HEAD)
    for where, problem in inspection.problems[:SHOWN]:
        table.add_row(escape(where or "the whole set"), escape(problem))
    if count > SHOWN:
        table.add_row("...", f"and {count - SHOWN} more")
    console.print(table)


@app.command()
def windows(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets.  [default: all that are here]")] = None,
    data: Root = None,
    hop: Annotated[int, typer.Option(min=1, help="Samples between windows of 150 at 50 Hz.")] = TRAIN_HOP,
    out: Annotated[Path | None, typer.Option("--csv", help="Write windows per data set, class and person.")] = None,
) -> None:
    """Count the windows of protocol v1 per class and person."""
    root = data or registry.data_root()
    rows: list[tuple[str, str, str, int]] = []
    for corpus in map(registry.get, names or registry.present(root)[0]):
        with console.status(f"Cutting {corpus.name}"):
            people, counts = count_windows(registry.load_windows(corpus.name, root, hop))
        show_windows(corpus, counts)
        for label, row in zip(corpus.classes, counts.tolist(), strict=True):
            rows += [(corpus.name, label, person, n) for person, n in zip(people, row, strict=True)]
    if out:
        with out.open("w", newline="") as file:
            csv.writer(file).writerows([("data_set", "class", "person", "windows"), *rows])
        console.print(f"Wrote {escape(str(out))}")


def show_windows(corpus: Corpus, counts: np.ndarray) -> None:
    """Print the totals of (classes, people) window counts by class, and their spread over people."""
    total = counts.sum()
    people = counts.shape[1] if corpus.subjects else "unnamed"
    console.print(f"[bold]{escape(corpus.title)}[/]: {total} windows of 3 s, {people} people")
    table = Table("class", "windows", "share", "people", "per person (min, median, max)", box=SIMPLE_HEAD)
    for label, row in zip(corpus.classes, counts, strict=True):
        spread = [str((row > 0).sum()), f"{row.min()}, {np.median(row):g}, {row.max()}"] if corpus.subjects else []
        table.add_row(label, str(row.sum()), f"{row.sum() / max(total, 1):.1%}", *spread)
    console.print(table)


@app.command()
def sets(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets.  [default: all that are here]")] = None,
    data: Root = None,
    out: Annotated[Path | None, typer.Option("--csv", help="Write every set with its times and repetitions.")] = None,
) -> None:
    """List the exercise sets with known numbers of repetitions."""
    root = data or registry.data_root()
    here = [*registry.present(root)[0], *([LABELS_ALONE] if locate(root, mm_fit.LABELS) else [])]
    rows: list[tuple[str, str, str, str, RepetitionSet]] = []
    for name in names or here:
        with console.status(f"Reading {escape(name)}"):
            rows += counted(name, root)
    table = Table("data set", "sets", "exercises", "repetitions", "per set (min, median, max)", box=SIMPLE_HEAD)
    for name in dict.fromkeys(row[0] for row in rows):
        own = [one for corpus, *_, one in rows if corpus == name]
        counts = [one.repetitions for one in own]
        spread = f"{min(counts)}, {np.median(counts):g}, {max(counts)}"
        table.add_row(name, str(len(own)), str(len({one.exercise for one in own})), str(sum(counts)), spread)
    console.print(table)
    if out:
        head = ("data_set", "person", "session", "placement", "start_s", "end_s", "repetitions", "exercise")
        with out.open("w", newline="") as file:
            csv.writer(file).writerows([head, *((*row, *astuple(one)) for *row, one in rows)])
        console.print(f"Wrote {escape(str(out))}")


def counted(name: str, root: Path) -> Iterator[tuple[str, str, str, str, RepetitionSet]]:
    """(data set, person, session, placement, set) of every counted set; `LABELS_ALONE` reads MM-Fit's label files."""
    if name != LABELS_ALONE:
        yield from ((name, r.subject, r.session, r.placement, one) for r in registry.load(name, root) for one in r.sets)
        return
    if (path := locate(root, mm_fit.LABELS)) is None:
        raise DataError(
            f"MM-Fit's label files were not found under {root}. Set MUJO_DATA to the folder that holds them"
        )
    for workout, workout_sets in mm_fit.label_sets(path).items():
        person = str(mm_fit.PARTICIPANTS[int(workout[1:])])
        yield from ((name, person, workout, "", one) for one in workout_sets)


@app.command()
def download(name: Annotated[str, typer.Argument(help="A data set.")], data: Root = None) -> None:
    """Fetch a data set from its publisher; prints its license and citation first."""
    corpus = registry.get(name)
    print(
        f"{corpus.title}\nLicense:  {corpus.license}\nCite:     {corpus.citation}\nPage:     {corpus.home}", flush=True
    )
    path = fetch(corpus, (data or registry.data_root()) / corpus.name)
    print(f"Saved {path}\nLook at it with: python -m training.corpora check {path}")


def main() -> None:
    """Run the command; errors are printed to stderr and end with their exit code."""
    try:
        app()
    except MujoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
