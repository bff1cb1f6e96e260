"""Which cells are left to run, and running them in worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.evaluation.cells import Cell, Score, append_scores, read_scores
from training.evaluation.encoders import Encoder, Evaluation, encoder_of, pretrain_encoder
from training.evaluation.train import run_cell
from training.evaluation.transfer import transfer
from training.evaluation.zero_shot import zero_shot
from training.support.workers import workers

Task = tuple[Cell, ...]
"""Cells that one model answers."""


def grouped(cells: Iterable[Cell]) -> list[Task]:
    """Cells as tasks: where the tested set gives no labels, its folds share a model; every other cell is alone."""
    tasks: dict[Cell, list[Cell]] = {}
    for cell in cells:
        shared = cell.source or cell.fraction == 0
        tasks.setdefault(replace(cell, fold=0) if shared else cell, []).append(cell)
    return [tuple(task) for task in tasks.values()]


def work(task: Task, run: Evaluation) -> list[Score]:
    """The scores of a task; runs in a worker."""
    if task[0].source:
        return transfer(task, run)
    return zero_shot(task, run) if task[0].fraction == 0 else run_cell(task[0], run)


@contextmanager
def bars(encoders: int, tasks: int) -> Iterator[tuple[Progress, TaskID, TaskID]]:
    """Progress of pretraining and of the tasks, with the time that remains."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), refresh_per_second=1) as bar:
        pretraining = bar.add_task("pretraining", total=encoders, visible=encoders > 0)
        yield bar, pretraining, bar.add_task("fine-tuning and test", total=tasks)


def evaluate(cells: Sequence[Cell], run: Evaluation, jobs: int) -> list[Score]:
    """Run the cells that `run.cells` does not hold yet, `jobs` at a time, one thread each; scores of all wanted ones.

    Encoders are pretrained first, one for all cells that may share it; a cell is begun when its encoder is there.

    Raises:
        UsageError: a row has nothing to pretrain on; before anything runs.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    scores = read_scores(run.cells)
    done = {score.cell for score in scores}
    missing: dict[Path, Encoder] = {}
    held_up: dict[Path, list[Task]] = {}
    ready: list[Task] = []
    for task in grouped(cell for cell in cells if cell not in done):
        encoder = encoder_of(task[0], run)
        if encoder is None or (path := encoder.path(run.out)).exists():
            ready.append(task)
        else:
            missing[path] = encoder
            held_up.setdefault(path, []).append(task)
    total = len(ready) + sum(map(len, held_up.values()))
    with workers(jobs) as pool, bars(len(missing), total) as (bar, pretraining, testing):
        waiting: dict[Future[Any], Path | None] = {}
        for path, encoder in missing.items():
            waiting[pool.submit(pretrain_encoder, encoder, run)] = path
        waiting |= {pool.submit(work, task, run): None for task in ready}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                made, result = waiting.pop(future), future.result()
                if made is None:
                    append_scores(run.cells, result)
                    scores += result
                else:
                    waiting |= {pool.submit(work, task, run): None for task in held_up[made]}
                bar.advance(testing if made is None else pretraining)
    wanted = set(cells)
    return [score for score in scores if score.cell in wanted]
