"""`python -m training.fimad`: list the sources of clips, build shards from them, count and draw the clips, and compare
the virtual IMU with a real one."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mujo_edge.cli.arguments import HELP
from mujo_edge.core import DataError, UsageError
from training.corpora.registry import data_root
from training.evaluation.virtual_imu_report import validate
from training.fimad import build as builder
from training.fimad import inspect as inspection
from training.fimad.clip import DEFAULT_TOWER, Source
from training.fimad.sources import sources
from training.fimad.video import Options
from training.support.command import step
from training.support.engine import engine
from training.support.provenance import describe

app = typer.Typer(
    context_settings=HELP, help=__doc__, no_args_is_help=True, rich_markup_mode=None, add_completion=False
)
console = Console(stderr=True)
OUT = Path("runs/fimad")
SHOWN = 5
"""Number of failures that are printed; all are in `failures.jsonl`."""
LOG_S = 60.0
"""Seconds between progress lines when the output is not a terminal."""

Data = Annotated[Path | None, typer.Option("--data", help="Folder of the data sets.  [default: $MUJO_DATA]")]
Manifests = Annotated[
    list[Path] | None, typer.Option("--manifest", help="A CSV or JSON list of clips of your own videos; repeatable.")
]
Shards = Annotated[Path, typer.Argument(help="Folder of the shards.")]


def located(every: dict[str, Source], root: Path) -> dict[str, Path | None]:
    """Path of each source under `root`, None for those that are absent."""
    return {name: source.find(root) for name, source in every.items()}


def notes(source: Source, path: Path) -> list[str]:
    """Lines for the user on a source: missing data, or why it cannot be read."""
    try:
        return [f"{source.name}: {note}" for note in source.notes(path)]
    except DataError as error:
        return [f"{source.name}: {error}"]


def count(source: Source, path: Path) -> str:
    """Number of tasks of a source, as text for a table."""
    try:
        return f"{len(list(source.tasks(path))):,}"
    except DataError:
        return "damaged"


@app.command("list")
@step
def list_sources(data: Data = None, manifest: Manifests = None) -> None:
    """List the sources: path, number of tasks, license, missing data."""
    root, every = data or data_root(), sources(manifests=manifest or ())
    table = Table("source", "clips from", "tasks", "license", "where", box=SIMPLE_HEAD)
    lines = []
    for name, path in located(every, root).items():
        source = every[name]
        tasks = "" if path is None else count(source, path)
        where = "not here" if path is None else str(path)
        table.add_row(name, *(escape(cell) for cell in (source.title, tasks, source.license, where)))
        lines += notes(source, path) if path else []
    Console().print(table)
    for line in lines:
        Console().print(escape(line), highlight=False)


@app.command()
@step
def build(
    out: Annotated[Path, typer.Argument(help="Folder for the shards.")] = OUT,
    source: Annotated[
        list[str] | None, typer.Option(help="A source; repeatable.  [default: all that are found]")
    ] = None,
    manifest: Manifests = None,
    data: Data = None,
    tower: Annotated[str, typer.Option(help="Image tower for videos and photos, or none.")] = DEFAULT_TOWER,
    weights: Annotated[Path | None, typer.Option(help="Weights of a timm or CLIP tower.")] = None,
    pose: Annotated[bool, typer.Option(help="Estimate the pose in videos.")] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Number of tasks at a time.")] = os.cpu_count() or 1,
    where: Annotated[str, typer.Option("--engine", help="processes, or ray ($RAY_ADDRESS, else local).")] = "processes",
    retry: Annotated[bool, typer.Option("--retry", help="Run tasks with failures again.")] = False,
    timings: Annotated[Path | None, typer.Option(help="Write clips per second to this JSON file.")] = None,
) -> None:
    """Build shards of clips from the sources; finished tasks are not repeated."""
    chosen_engine = engine(where)
    every = sources(Options(None if tower == "none" else tower, weights, pose), manifest or ())
    chosen = choose(every, data or data_root(), source)
    # Each worker has its share of the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    for one, path in chosen:
        for note in notes(one, path):
            console.print(escape(note), highlight=False)
    settings = {"tower": tower, "weights": weights and str(weights), "pose": pose, "jobs": jobs, "engine": where}
    about = {s.name: {"path": str(path), "license": s.license, "citation": s.citation} for s, path in chosen}
    builder.write_atomic(out / "build.json", as_json(describe({"settings": settings, "sources": about}, {})))
    start_s = time.perf_counter()
    with progress() as report:
        results = builder.build(chosen, out, jobs, chosen_engine, retry, report)
    seconds = time.perf_counter() - start_s
    if timings:
        builder.write_atomic(timings, as_json(speed(results, seconds, settings)))
    show(builder.stats(out))
    failures = [(r.source.name, *failure) for r in results for failure in r.failures]
    for name, id_, why in failures[:SHOWN]:
        console.print(f"left out: {escape(name)}: {escape(id_)}: {escape(why)}", highlight=False)
    if failures:
        console.print(f"{len(failures):,} left out, all in {escape(str(out / builder.FAILURES))}", highlight=False)


def choose(every: dict[str, Source], root: Path, names: list[str] | None) -> list[tuple[Source, Path]]:
    """The named sources and their paths, or all that are found under `root`.

    Raises `UsageError` for an unknown name, `DataError` for a source that is not found.
    """
    if unknown := set(names or ()) - set(every):
        raise UsageError(f"no source is called {sorted(unknown)[0]!r}. Choose from: {', '.join(every)}")
    places = located({name: every[name] for name in names or every}, root)
    if names and (missing := [name for name, path in places.items() if path is None]):
        raise DataError(f"{every[missing[0]].title} was not found under {root}. It is at {every[missing[0]].home}")
    chosen = [(every[name], path) for name, path in places.items() if path]
    if not chosen:
        raise DataError(f"no source of clips was found under {root}. Set MUJO_DATA, or give --manifest")
    return chosen


@contextmanager
def progress() -> Iterator[builder.Report]:
    """A progress bar for every source: tasks done, time left, clips and failures."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[clips]:,} clips, {task.fields[failures]:,} left out"),
    )
    with Progress(*columns, console=console) as bars:
        bar: dict[str, Any] = {}
        logged_s = time.monotonic()

        def report(state: builder.Progress) -> None:
            nonlocal logged_s
            name = state.source.name
            if name not in bar:
                bar[name] = bars.add_task(name, total=state.tasks, completed=state.done_before, clips=0, failures=0)
            done = state.done_before + state.done
            bars.update(bar[name], completed=done, clips=state.clips, failures=len(state.failures))
            if not console.is_terminal and time.monotonic() > logged_s + LOG_S:
                logged_s = time.monotonic()
                print(f"{name}: {done:,} of {state.tasks:,} tasks, {state.clips:,} clips", file=sys.stderr, flush=True)

        yield report


def speed(results: list[builder.Progress], seconds: float, settings: dict[str, Any]) -> dict[str, Any]:
    """New clips per second of wall time, and worker seconds by source."""
    clips = sum(r.new_clips for r in results)
    return {
        **settings,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "clips": clips,
        "wall_s": round(seconds, 2),
        "clips_per_s": round(clips / seconds, 3),
        "sources": {
            r.source.name: {"tasks": r.done, "clips": r.new_clips, "worker_s": round(r.seconds, 2)} for r in results
        },
    }


def as_json(content: dict[str, Any]) -> bytes:
    """Content of a JSON file."""
    return (json.dumps(content, indent=1) + "\n").encode()


@app.command()
@step
def stats(folder: Shards = OUT) -> None:
    """Count the clips, people, titles, hours and modalities of every corpus in the shards."""
    show(builder.stats(folder))


def show(numbers: dict[str, dict[str, Any]]) -> None:
    """Print the numbers of `build.stats` as a table, with sums of all but people and titles."""
    columns = ["clips", "train", "val", "people", "titles", "hours", "imu", "pose", "video", "text"]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("corpus", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for corpus, row in numbers.items():
        table.add_row(escape(corpus), *(cell(name, row[name]) for name in columns))
    sums = {name: sum(row[name] for row in numbers.values()) for name in columns}
    table.add_section()
    table.add_row("all", *("" if name in ("people", "titles") else cell(name, sums[name]) for name in columns))
    Console().print(table)


def cell(name: str, value: float) -> str:
    """A number of `build.stats` as text."""
    return f"{value:,.2f}" if name == "hours" else f"{value:,}"


@app.command()
@step
def inspect(
    clip: Annotated[str, typer.Argument(help="A clip's id, or a unique part of it.")],
    folder: Annotated[Path, typer.Option("--shards", help="Folder of the shards.")] = OUT,
    out: Annotated[Path | None, typer.Option(help="Image file to draw.  [default: CLIP.png]")] = None,
    data: Data = None,
    manifest: Manifests = None,
) -> None:
    """Draw one clip: texts, skeleton, IMU, and frames if its video is present."""
    chosen, task = inspection.find(folder, clip)
    source = sources(manifests=manifest or ()).get(chosen.corpus)
    path = source and source.find(data or data_root())
    images = inspection.pictures(source, path, task) if source and path else []
    target = out or Path(chosen.id.replace("/", "-")).with_suffix(".png")
    inspection.draw(chosen, images, target)
    console.print(f"Drew {escape(chosen.id)} to {escape(str(target))}", highlight=False)


app.command("validate")(step(validate))


if __name__ == "__main__":
    app()
