"""Clips and takes of a generated squat in every combination of modalities."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mujo_edge.core import F32, DataError
from training.fimad.clip import IMU_RATE_HZ, PLACEMENTS, POSE_RATE_HZ, Clip, Motion, Source, Take, Task

STANDING = np.array(
    [
        (0, 0, 0.95),
        (0, 0, 1.2),
        (0, 0, 1.45),
        (0, 0.02, 1.65),
        *((0.2, 0, 1.4), (0.25, 0, 1.12), (0.27, 0.03, 0.87), (0.27, 0.05, 0.79)),
        *((-0.2, 0, 1.4), (-0.25, 0, 1.12), (-0.27, 0.03, 0.87), (-0.27, 0.05, 0.79)),
        *((0.1, 0, 0.92), (0.1, 0.03, 0.5), (0.1, 0, 0.08), (0.1, 0.18, 0.02)),
        *((-0.1, 0, 0.92), (-0.1, 0.03, 0.5), (-0.1, 0, 0.08), (-0.1, 0.18, 0.02)),
    ]
)
"""Joints of a standing person facing along y, meters."""


def squats(seconds: float, rate_hz: float, seed: int = 0) -> F32:
    """(n, 20, 3) meters: squats, in which higher joints move more; they differ by `seed`."""
    rng = np.random.default_rng(seed)
    t_s = np.arange(round(seconds * rate_hz)) / rate_hz
    depth = rng.uniform(0.25, 0.4) * (1 - np.cos(2 * np.pi * t_s / rng.uniform(1.5, 3))) / 2
    x = np.repeat(STANDING[None], len(t_s), 0)
    x[..., 2] -= depth[:, None] * np.clip(STANDING[:, 2] - 0.1, 0, 0.9)
    x[..., 1] += depth[:, None] * np.sin(np.pi * np.clip(STANDING[:, 2] / 1.0, 0, 1)) * 0.8
    return x.astype(np.float32)


def made_clip(number: int, corpus: str = "made") -> Clip:
    """Clip `number`, which determines its modalities; every tenth clip is in val."""
    rng = np.random.default_rng(number)
    seconds = 2 + number % 4
    pose = squats(seconds, POSE_RATE_HZ, number)
    if number % 3 == 0:
        pose[: number % 7, 6] = np.nan
    imu = rng.normal(0, 5, (round(seconds * IMU_RATE_HZ), 6)).astype(np.float32)
    return Clip(
        id=f"{corpus}/clip {number}",
        corpus=corpus,
        title=("squat", "öffne die Tür")[number % 2],
        subject=f"person {number // 4}",
        split="val" if number % 10 == 9 else "train",
        texts=("squat", "a man bends his knees")[: number % 3],
        pose=pose if number % 4 != 1 else None,
        flat=number % 8 == 0,
        imu={placement: imu + i for i, placement in enumerate(PLACEMENTS[: number % 9])},
        real_imu={"right_wrist": imu[: number + 1]} if number % 5 == 0 else {},
        video=rng.random((8, 16), np.float32) if number % 4 == 1 else None,
        tower="made tower" if number % 4 == 1 else "",
        license="CC0",
    )


@dataclass(frozen=True, slots=True)
class PathArgument:
    """A task argument with a path inside a dataclass, like a cut of a video."""

    path: Path


def read_person(argument: PathArgument, person: int) -> Iterator[Take]:
    """Four takes of one person; a file with "broken" cannot be read after the first of them, one with
    "odd" has a take without known joints, "bug" raises an unexpected exception, "die" ends the process."""
    words = argument.path.read_text().split()
    record = argument.path.with_name("calls.log")
    with record.open("a") as file:
        file.write(f"{person}\n")
    for number in range(4):
        if number == 1 and "broken" in words:
            raise DataError(f"{argument.path} is cut off\nfetch it again")
        if number == 1 and "bug" in words:
            raise IndexError("list index out of range")
        if number == 1 and "die" in words:
            os._exit(9)
        time.sleep(float(os.environ.get("MADE_TAKE_S", "0")))
        x = squats(3, 30, 10 * person + number)
        if number == 2 and "odd" in words:
            x[:] = np.nan
        yield Take(
            id=f"made/p{person} t{number}",
            corpus="made",
            name=("Squats", "Deep_Squat")[number % 2],
            subject=f"p{person}",
            descriptions=("A person bends both knees. Then they stand up.",),
            motion=Motion(x, 30.0),
        )


def made_tasks(folder: Path) -> Iterator[Task]:
    for path in sorted(folder.glob("*.txt"), key=lambda p: int(p.stem)):
        yield Task(f"person {path.stem}", read_person, (PathArgument(path), int(path.stem)))


def made_source(folder: Path, people: int = 6, **words: str) -> Source:
    """A source of `people` text files; `words` (p0=..., p1=...) replace their content, "fine"."""
    folder.mkdir(exist_ok=True)
    for person in range(people):
        (folder / f"{person}.txt").write_text(words.get(f"p{person}", "fine"))
    return Source("made", "Made squats", "CC0", True, "nobody 2026", "tests", lambda root: folder, made_tasks)


def in_turn(function: Callable[[Any], Any], items: Iterable[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
    """Engine of the builder within this process."""
    return ((item, function(item)) for item in items)
