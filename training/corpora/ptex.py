"""Physical Therapy Exercises: 5 people, 8 exercises, five Xsens MTx units, 25 Hz (Yurtman, Barshan, 2014).

Layout: `s{person}/e{exercise}/u{unit}/{template_session,test}.txt`, columns time index, acc_x .. acc_z (m/s2 with
gravity), gyr_x .. gyr_z (rad/s), mag_x .. mag_z, separated by semicolons; `s{person}/e{exercise}/template_times.txt`,
one row per execution in the template session: type (1 correct, 2 fast, 3 low amplitude), first and last time index
(halves occur). A test is 10 correct executions, a rest, 10 fast ones, a rest and 10 of low amplitude; the blocks begin
at 0, 100 and 160 s, with a tolerance of 4 s. The rests are not annotated: here they are the stretches without movement
for longer than `STILL_S`; held positions are shorter. Units on parts of the body that an exercise does not move are
unlabeled.

Axes, checked against gravity in sitting, standing, lying and in curls and raises of the arm, are rotated to those of
`training.fimad.virtual_imu`: on the sensors x points to the foot or hand, z out of the leg to the right or out of the
palm's side of the wrist. Units that are not in `AXES` keep their axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.base import Corpus, Download, Recording, RepetitionSet, columns, runs, turned
from training.corpora.files import Tree, read_csv, stack

EXERCISES = (
    "seated knee extension",
    "seated trunk flexion",
    "straight leg raise",
    "side-lying hip abduction",
    "prone hip extension",
    "dumbbell biceps curl",
    "lateral raise",
    "prone shoulder extension",
)
MARKER = (
    r"(?P<unit>s(?P<person>\d)/e(?P<exercise>[1-8])/)(?:u(?P<place>[1-5])/(?P<kind>template_session|test)|template_times)"
    r"\.txt"
)
LEG = (("ankle", "left"), ("ankle", "right"), ("thigh", "right"), ("thigh", "left"), ("chest", None))
ARM = (("thigh", "right"), ("wrist", "right"), ("upper arm", "right"), ("shoulder", "right"), ("chest", None))
"""Placement and side of units 1 to 5 in exercises 1 to 5, and in 6 to 8 (the data set's figure of the sensors)."""
MOVED = {1: "23", 2: "35", 3: "23", 4: "23", 5: "23", 6: "2", 7: "23", 8: "23"}
"""Exercise -> units that it moves."""
AXES = {("wrist", "right"): "-x y -z", ("thigh", "right"): "-z -x y"}
SENSORS = [f"{sensor}_{axis}" for sensor in ("acc", "gyr") for axis in "xyz"]
TIMES = ("execution type", "start", "end")
RATE_HZ = 25.0
BLOCKS_S = (0.0, 100.0, 160.0)
"""Start times of a test's three blocks."""
BLOCK_REPETITIONS = 10
STILL_RADPS, STILL_S = 0.05, 8.0
"""A rest: the angular rate minus its median, averaged over 1 s, stays below this for longer than `STILL_S`."""


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per session and unit."""
    times = {str(PurePosixPath(name).parent): name for name, matched in tree.match(MARKER) if not matched["kind"]}
    for name, matched in tree.match(MARKER):
        if not matched["kind"]:
            continue
        number, place = int(matched["exercise"]), int(matched["place"])
        exercise, (placement, side) = EXERCISES[number - 1], (LEG if number <= len(LEG) else ARM)[place - 1]
        values = stack(read_csv(tree, name, dict.fromkeys(SENSORS, float), delimiter=";", ended=True), SENSORS)
        labels = np.full(len(values), "", f"<U{len(exercise)}")
        sets: tuple[RepetitionSet, ...] = ()
        if matched["place"] in MOVED[number]:
            labels[moving(values[:, 3:])] = exercise
            if matched["kind"] == "test":
                sets = blocks(labels, exercise)
            elif table := times.get(str(PurePosixPath(name).parent.parent)):
                sets = executions(tree, table, exercise, len(values))
        yield Recording(
            corpus="ptex",
            subject=matched["person"],
            session=f"s{matched['person']}/e{number} {matched['kind'].removesuffix('_session')}",
            placement=placement,
            rate_hz=RATE_HZ,
            x=columns(turned(values, AXES.get((placement, side), "x y z"))),
            labels=labels,
            side=side,
            sets=sets,
        )


def moving(rate_radps: F64) -> np.ndarray:
    """(n,) bool: the samples of angular rates (n, 3) that are not part of a rest."""
    speed = np.linalg.norm(rate_radps - np.median(rate_radps, axis=0), axis=1)
    second = np.ones(round(RATE_HZ))
    still = np.convolve(speed, second / len(second), "same") < STILL_RADPS
    moves = np.ones(len(speed), bool)
    for state, start, stop in runs(still):
        moves[start:stop] = state != "True" or stop - start <= STILL_S * RATE_HZ
    return moves


def blocks(labels: np.ndarray, exercise: str) -> tuple[RepetitionSet, ...]:
    """The three sets of a test, from the first to the last moving sample of each block."""
    sets = []
    edges = [*(round(start * RATE_HZ) for start in BLOCKS_S), len(labels)]
    for start, stop in pairwise(edges):
        if len(own := start + np.flatnonzero(labels[start:stop] != "")):
            sets.append(RepetitionSet(own[0] / RATE_HZ, (own[-1] + 1) / RATE_HZ, BLOCK_REPETITIONS, exercise))
    return tuple(sets)


def executions(tree: Tree, name: str, exercise: str, n: int) -> tuple[RepetitionSet, ...]:
    """The annotated executions of a template session of `n` samples, one repetition each."""
    rows = stack(read_csv(tree, name, dict.fromkeys(TIMES, float), delimiter=";"), TIMES)
    if not ((rows[:, 1] >= 1) & (rows[:, 1] < rows[:, 2]) & (rows[:, 2] <= n)).all():
        raise DataError(f"{tree.where(name)} has times outside its session's {n} samples. Fetch the file again")
    return tuple(RepetitionSet((a - 1) / RATE_HZ, b / RATE_HZ, 1, exercise) for _, a, b in rows.tolist())


CORPUS = Corpus(
    name="ptex",
    title="Physical Therapy Exercises",
    classes=EXERCISES,
    license="CC BY 4.0",
    open_license=True,
    citation="A. Yurtman, B. Barshan. Automated evaluation of physical therapy exercises using multi-template dynamic "
    "time warping on wearable sensor signals. Computer Methods and Programs in Biomedicine 117(2), 2014.",
    home="https://archive.ics.uci.edu/dataset/730/physical+therapy+exercises+dataset",
    marker=MARKER,
    read=read,
    download=Download(
        "https://archive.ics.uci.edu/static/public/730/physical+therapy+exercises+dataset.zip", "ptex.zip"
    ),
)
