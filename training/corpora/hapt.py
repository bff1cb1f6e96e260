"""HAPT: 30 people, 6 daily activities and 6 postural transitions, phone at the waist, 50 Hz (Reyes-Ortiz et al., 2016).

Layout (the data set's README.txt): `RawData/{acc,gyro}_exp{EE}_user{UU}.txt`, rows of x, y, z in g and rad/s;
`RawData/labels.txt`, rows of experiment, user, activity (1 to 12), first and last sample, counted from 1, inclusive.
Samples between annotations are unlabeled. The people are those of "Human Activity Recognition Using Smartphones" (UCI
HAR), which is cut from the same recordings. At rest the phones read 2 to 3 % more than gravity.

The phone (Galaxy S II) is worn in landscape, x up. Axes are rotated so that y points up and z out of the body, to the
front left as most people wore it; in the hip frame of `training.fimad.virtual_imu` z points straight ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from mujo_edge.core import STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Download, Recording, columns, turned
from training.corpora.files import Tree, read_csv, stack

ACTIVITIES = (
    "walking",
    "walking upstairs",
    "walking downstairs",
    "sitting",
    "standing",
    "lying down",
    "stand to sit",
    "sit to stand",
    "sit to lie",
    "lie to sit",
    "stand to lie",
    "lie to stand",
)
MARKER = r"RawData/(?:(?P<sensor>acc|gyro)_(?P<unit>exp(?P<experiment>\d+)_user(?P<user>\d+))|labels)\.txt"
ROW = ("experiment", "user", "activity", "first", "last")
AXES = "-y x z"


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per experiment; each person did two."""
    experiments: dict[tuple[str, str], dict[str, str]] = {}
    for name, matched in tree.match(MARKER):
        if matched["sensor"]:
            experiments.setdefault(matched.group("experiment", "user"), {})[matched["sensor"]] = name
    annotations: dict[str, np.ndarray] = {}
    for (experiment, user), pair in experiments.items():
        if len(pair) < 2:
            (name,) = pair.values()
            raise DataError(f"{tree.where(name)} has no matching file of the other sensor. Unpack the data set again")
        table = str(PurePosixPath(pair["acc"]).with_name("labels.txt"))
        if table not in annotations:
            values = read_csv(tree, table, dict.fromkeys(ROW, float), ROW, delimiter=" ", ended=True)
            annotations[table] = stack(values, ROW).astype(np.int64)
        acc, gyro = (
            stack(read_csv(tree, pair[sensor], dict.fromkeys("xyz", float), "xyz", delimiter=" ", ended=True), "xyz")
            for sensor in ("acc", "gyro")
        )
        if len(acc) != len(gyro):
            raise DataError(
                f"{tree.where(pair['acc'])} has {len(acc)} rows and {PurePosixPath(pair['gyro']).name} {len(gyro)}. "
                "Fetch both files again"
            )
        x = turned(np.concatenate([acc * STANDARD_GRAVITY, gyro], 1), AXES)
        yield Recording(
            corpus="hapt",
            subject=str(int(user)),
            session=f"exp{experiment}_user{user}",
            placement="waist",
            rate_hz=50.0,
            x=columns(x),
            labels=labeled(annotations[table], int(experiment), int(user), len(x), tree.where(table)),
        )


def labeled(annotations: np.ndarray, experiment: int, user: int, n: int, where: str) -> np.ndarray:
    """Activity of each of `n` samples. Raises `DataError` for annotations outside the recording."""
    labels = np.full(n, "", f"<U{max(map(len, ACTIVITIES))}")
    own = annotations[annotations[:, 0] == experiment]
    if not len(own):
        raise DataError(f"{where} has no row of experiment {experiment}. Fetch the file again")
    for _, person, activity, first, last in own.tolist():
        if person != user or not 1 <= activity <= len(ACTIVITIES) or not 1 <= first <= last <= n:
            raise DataError(
                f"{where} has a row {experiment} {person} {activity} {first} {last}, which does not fit user {user} "
                f"and {n} samples. Fetch the file again"
            )
        labels[first - 1 : last] = ACTIVITIES[activity - 1]
    return labels


CORPUS = Corpus(
    name="hapt",
    title="HAPT (smartphone activities and postural transitions)",
    classes=ACTIVITIES,
    license="no commercial use, please cite",
    open_license=False,
    citation="J.-L. Reyes-Ortiz, L. Oneto, A. Sama, X. Parra, D. Anguita. Transition-Aware Human Activity Recognition "
    "Using Smartphones. Neurocomputing 171, 2016.",
    home="https://archive.ics.uci.edu/dataset/341/smartphone+based+recognition+of+human+activities+and+postural+transitions",
    marker=MARKER,
    read=read,
    download=Download(
        "https://archive.ics.uci.edu/static/public/341/"
        "smartphone+based+recognition+of+human+activities+and+postural+transitions.zip",
        "hapt.zip",
    ),
    files=123,
)
