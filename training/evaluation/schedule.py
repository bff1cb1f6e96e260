"""Scheduling: the trials that are not scored yet, run in worker processes."""

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

from training.evaluation.encoders import Encoder, Evaluation, encoder_of, pretrain_encoder
from training.evaluation.runs import run_trial, transfer, zero_shot
from training.evaluation.trials import Score, Trial, append_scores, read_scores
from training.support.workers import workers

Task = tuple[Trial, ...]
"""Trials that share one model."""


def grouped(trials: Iterable[Trial]) -> list[Task]:
    """Trials as tasks: without labels of the tested set, all folds share a model; every other trial is a task."""
    tasks: dict[Trial, list[Trial]] = {}
    for trial in trials:
        shared = trial.source or trial.fraction == 0
        tasks.setdefault(replace(trial, fold=0) if shared else trial, []).append(trial)
    return [tuple(task) for task in tasks.values()]


def work(task: Task, run: Evaluation) -> list[Score]:
    """The scores of a task; runs in a worker."""
    if task[0].source:
        return transfer(task, run)
    return zero_shot(task, run) if task[0].fraction == 0 else run_trial(task[0], run)


@contextmanager
def bars(encoders: int, tasks: int) -> Iterator[tuple[Progress, TaskID, TaskID]]:
    """Progress bars of pretraining and of the tasks, with the remaining time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), refresh_per_second=1) as bar:
        pretraining = bar.add_task("pretraining", total=encoders, visible=encoders > 0)
        yield bar, pretraining, bar.add_task("fine-tuning and test", total=tasks)


def evaluate(trials: Sequence[Trial], run: Evaluation, jobs: int) -> list[Score]:
    """Run the trials that have no scores in `run.trials_file` yet, `jobs` at a time, one thread each -> all scores.

    Encoders are pretrained first, each once for all trials that share it; a trial starts when its encoder is ready.

    Raises:
        UsageError: a method has nothing to pretrain on; raised before anything runs.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    scores = read_scores(run.trials_file)
    done = {score.trial for score in scores}
    missing: dict[Path, Encoder] = {}
    blocked: dict[Path, list[Task]] = {}
    ready: list[Task] = []
    for task in grouped(trial for trial in trials if trial not in done):
        encoder = encoder_of(task[0], run)
        if encoder is None or (path := encoder.path(run.out)).exists():
            ready.append(task)
        else:
            missing[path] = encoder
            blocked.setdefault(path, []).append(task)
    total = len(ready) + sum(map(len, blocked.values()))
    with workers(jobs) as pool, bars(len(missing), total) as (bar, pretraining, testing):
        waiting: dict[Future[Any], Path | None] = {}
        for path, encoder in missing.items():
            waiting[pool.submit(pretrain_encoder, encoder, run)] = path
        waiting |= {pool.submit(work, task, run): None for task in ready}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                made, result = waiting.pop(future), future.result()
                if made is None:
                    append_scores(run.trials_file, result)
                    scores += result
                else:
                    waiting |= {pool.submit(work, task, run): None for task in blocked[made]}
                bar.advance(testing if made is None else pretraining)
    wanted = set(trials)
    return [score for score in scores if score.trial in wanted]
