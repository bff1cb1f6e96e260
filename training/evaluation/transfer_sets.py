"""Protocol v2: encoders pretrained without a group of data sets, frozen, and tested on it.

A run that was stopped goes on: pretraining from its checkpoint, and a trial that is in `results.jsonl` is not repeated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from mujo_edge.core import UsageError
from mujo_edge.signal import DEFAULT_INPUT
from training.corpora import load_windows
from training.corpora.registry import data_sha256
from training.evaluation.frozen import Method, Result, Trial, encoder_path, run_trial
from training.evaluation.schedule import bars
from training.evaluation.set_groups import pretraining_sets, read_protocol, target_windows
from training.learn.broad import BroadConfig, broad_pool, pretrain_broad
from training.support.provenance import describe
from training.support.tensors import save_tensors
from training.support.workers import workers

PRETRAINED: tuple[Method, ...] = ("broad", "broad_int8")
"""Methods whose encoder is pretrained; the two share it."""


def trials(methods: Sequence[Method], targets: Sequence[str], channels: Sequence[int], seeds: int) -> list[Trial]:
    """All trials: six channels only where all windows have them, hand features with one seed."""
    every = []
    for target, width, method in product(targets, channels, methods):
        if width == 6 and not target_windows(target).has_gyro.all():
            continue
        every += [Trial(method, target, width, seed) for seed in range(1 if method == "hand" else seeds)]
    return every


def evaluate(wanted: Sequence[Trial], config: BroadConfig, jobs: int, out: Path) -> list[Result]:
    """Run what `out` does not hold yet, `jobs` processes of one thread each; the results of all `wanted` trials.

    Raises:
        UsageError: `out` holds results of another configuration or other data.
        DataError: a data set of the protocol is missing or damaged.
    """
    protocol = read_protocol()
    start(out, config, {name for i in range(len(protocol.groups)) for name in pretraining_sets(i)})
    done = {result.trial for result in read_results(out)}
    left = [trial for trial in wanted if trial not in done]
    missing: dict[tuple[int, int], list[Trial]] = defaultdict(list)
    ready = []
    for trial in left:
        key = protocol.group_of(trial.target), trial.seed
        if trial.method in PRETRAINED and not encoder_path(out, *key).exists():
            missing[key].append(trial)
        else:
            ready.append(trial)
    with workers(jobs) as pool, bars(len(missing), len(left)) as (bar, pretraining, testing):
        running: dict[Future[Any], tuple[int, int] | None] = {
            pool.submit(pretrain, group, replace(config, loop=replace(config.loop, seed=seed)), out): (group, seed)
            for group, seed in missing
        }
        running |= {pool.submit(run_trial, trial, out): None for trial in ready}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key, made = running.pop(future), future.result()
                if key is None:
                    append(out, made)
                else:
                    running |= {pool.submit(run_trial, trial, out): None for trial in missing[key]}
                bar.advance(testing if key is None else pretraining)
    return [result for result in read_results(out) if result.trial in set(wanted)]


def pretrain(group: int, config: BroadConfig, out: Path) -> None:
    """Train and save the encoder of a group, with a JSON file that lists its data sets."""
    torch.set_num_threads(1)
    path = encoder_path(out, group, config.loop.seed)
    sets = pretraining_sets(group)
    pool = broad_pool([load_windows(name) for name in sets], DEFAULT_INPUT)
    path.with_suffix(".json").write_text(json.dumps({"sets": sets, "windows": len(pool.y)}) + "\n")
    checkpoint = path.with_suffix(".checkpoint")
    student = pretrain_broad(pool, config, checkpoint=checkpoint)
    save_tensors(path, student.state_dict())
    checkpoint.unlink()


def start(out: Path, config: BroadConfig, names: Iterable[str]) -> None:
    """Write `run.json`, or compare the settings with an existing one."""
    path = out / "run.json"
    now = describe({"broad": config}, data_sha256(sorted(names)))
    if path.exists():
        before = json.loads(path.read_text())
        current = json.loads(json.dumps(now))
        if changed := [key for key in ("config", "data_sha256") if before.get(key) != current[key]]:
            raise UsageError(f"{out} was made with another {' and '.join(changed)}; choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=1) + "\n")


def append(out: Path, results: Iterable[Result]) -> None:
    """Add the results of one trial as one line; a line that an earlier kill truncated is ended first."""
    path = out / "results.jsonl"
    truncated = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * truncated + json.dumps([asdict(result) for result in results]) + "\n")


def read_results(out: Path) -> list[Result]:
    """Results of the trials that earlier runs finished; a truncated line is skipped."""
    results = []
    path = out / "results.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entries = json.loads(line)
        except json.JSONDecodeError:
            continue
        for entry in entries:
            results.append(Result(Trial(**entry["trial"]), entry["head"], entry["labels"], tuple(entry["scores"])))
    return results
