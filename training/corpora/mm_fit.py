"""MM-Fit: 10 people, 21 full-body workouts, watches on both wrists and phones in the pockets (Stromback et al., 2020).

Layout: `wNN/wNN_{sw_l,sw_r,sp_l,sp_r}_{acc,gyr}.npy`, rows of camera frame, timestamp (ms), x, y, z at 100 Hz (watch)
and 210 or 500 Hz (phone), m/s2 with gravity and rad/s in Android's axes; `wNN/wNN_labels.csv` without header: first
frame, last frame, repetitions, exercise. The two sensors of a device are joined on time at 50 Hz, the rate of MM-Fit's
own evaluation. The publisher's notebook maps workouts to people. The ear bud (eb_l), whose unit is not documented, and
the poses are not read. The label files are also published separately; `label_sets` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.base import Corpus, Download, Recording, RepetitionSet, columns, join
from training.corpora.files import Tree, read_csv, read_npy, stack

EXERCISES = (
    "squats",
    "lunges",
    "bicep curls",
    "situps",
    "pushups",
    "tricep extensions",
    "dumbbell rows",
    "jumping jacks",
    "dumbbell shoulder press",
    "lateral shoulder raises",
    "non activity",
)
PARTICIPANTS = (2, 0, 1, 0, 1, 2, 0, 1, 0, 1, 0, 1, 3, 4, 0, 1, 5, 6, 7, 8, 9)
"""Person of workouts w00 to w20 (EDA.ipynb of the publisher's repository)."""

SPLIT = {
    "train": ("01", "02", "03", "04", "06", "07", "08", "16", "17", "18"),
    "val": ("14", "15", "19"),
    "test": ("09", "10", "11"),
    "unseen_test": ("00", "05", "12", "13", "20"),
}
"""The publisher's split by workout; only `unseen_test` shares no person with `train`."""

MARKER = (
    r"(?P<unit>w(?P<workout>[01]\d|20))/w\d\d_(?:(?P<device>s[wp])_(?P<side>[lr])_(?P<sensor>acc|gyr)\.npy|labels\.csv)"
)
SIGNALS = r"w(?:[01]\d|20)/w\d\d_s[wp]_[lr]_(?:acc|gyr)\.npy"
LABELS = r"(?P<workout>w[01]\d|w20)/w\d\d_labels\.csv"
CAMERA_HZ = 30.0
PLACEMENTS = {"sw": "wrist", "sp": "pocket"}
RATE_HZ = 50.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per workout and device."""
    workouts: dict[str, dict[tuple[str, ...] | None, str]] = {}
    for name, matched in tree.match(MARKER):
        key = matched.group("device", "side", "sensor") if matched["device"] else None
        workouts.setdefault(matched["workout"], {})[key] = name
    for workout, files in workouts.items():
        devices = sorted({key[:2] for key in files if key})
        missing = [
            f"{d}_{s}_{sensor}.npy" for d, s in devices for sensor in ("acc", "gyr") if (d, s, sensor) not in files
        ]
        if None not in files:
            missing.append("labels.csv")
        if missing:
            raise DataError(
                f"{tree.where(next(iter(files.values())))}: workout w{workout} lacks {', '.join(missing)}. "
                "Unpack the data set again"
            )
        sets = exercise_sets(tree, files[None])
        for device, side in devices:
            streams = [read_npy(tree, files[device, side, sensor], 5) for sensor in ("acc", "gyr")]
            for sensor, rows in zip(("acc", "gyr"), streams, strict=True):
                if len(rows) < 2 or (np.diff(rows[:, 1]) < 0).any() or rows[0, 1] == rows[-1, 1]:
                    where = tree.where(files[device, side, sensor])
                    raise DataError(f"{where} has timestamps that do not increase. Fetch the file again")
            t_s, x = join([(rows[:, 1] / 1000, rows[:, 2:]) for rows in streams], RATE_HZ)
            if not len(t_s):
                raise DataError(
                    f"{tree.where(files[device, side, 'acc'])} and its gyroscope file do not overlap in time"
                )
            camera_s = np.interp(t_s, streams[0][:, 1] / 1000, streams[0][:, 0] / CAMERA_HZ)
            yield Recording(
                corpus="mm_fit",
                subject=str(PARTICIPANTS[int(workout)]),
                session=f"w{workout} {device}_{side}",
                placement=PLACEMENTS[device],
                rate_hz=RATE_HZ,
                x=columns(x),
                labels=labels_at(camera_s, sets),
                side="left" if side == "l" else "right",
                sets=placed(sets, camera_s),
            )


def exercise_sets(tree: Tree, name: str) -> tuple[RepetitionSet, ...]:
    """The sets of a workout, in seconds from frame 0 of its camera."""
    header = ("first", "last", "repetitions", "exercise")
    values = read_csv(tree, name, {**dict.fromkeys(header[:3], float), "exercise": str}, header)
    rows = stack(values, header[:3])
    if (rows[:, 0] < 0).any() or (rows[:, 1] <= rows[:, 0]).any() or (rows[:, 2] < 1).any() or (rows % 1).any():
        raise DataError(f"{tree.where(name)} has sets without frames or repetitions. Fetch the file again")
    return tuple(
        RepetitionSet(first / CAMERA_HZ, last / CAMERA_HZ, int(repetitions), exercise.replace("_", " "))
        for (first, last, repetitions), exercise in zip(rows.tolist(), values["exercise"], strict=True)
    )


def label_sets(path: Path) -> dict[str, tuple[RepetitionSet, ...]]:
    """Workout ("w00") -> sets, from the label files in a zip or folder without signals; times on the camera's clock.

    Raises:
        DataError: there is no label file, or one is malformed.
    """
    with Tree.open(path) as tree:
        sets = {matched["workout"]: exercise_sets(tree, name) for name, matched in tree.match(LABELS)}
    if not sets:
        raise DataError(f"{path} holds no label file of MM-Fit (w00/w00_labels.csv). See {CORPUS.home}")
    return sets


def placed(sets: Iterable[RepetitionSet], camera_s: F64) -> tuple[RepetitionSet, ...]:
    """The sets that lie completely in a recording, on its own clock; `camera_s` (n,) are its samples' camera times."""
    own_s = np.arange(len(camera_s)) / RATE_HZ
    return tuple(
        replace(one, start_s=float(start_s), end_s=float(end_s))
        for one in sets
        if camera_s[0] <= one.start_s and one.end_s <= camera_s[-1]
        for start_s, end_s in [np.interp([one.start_s, one.end_s], camera_s, own_s)]
    )


def labels_at(t_s: F64, sets: Iterable[RepetitionSet]) -> np.ndarray:
    """Exercise at camera times (n,); "non activity" between sets."""
    labels = np.full(len(t_s), EXERCISES[-1], f"<U{max(map(len, EXERCISES))}")
    for one in sets:
        labels[(t_s >= one.start_s) & (t_s <= one.end_s)] = one.exercise
    return labels


CORPUS = Corpus(
    name="mm_fit",
    title="MM-Fit",
    classes=EXERCISES,
    license="none stated",
    open_license=False,
    citation="D. Stromback, S. Huang, V. Radu. MM-Fit: Multimodal Deep Learning for Automatic Exercise Logging across "
    "Sensing Devices. Proc. ACM IMWUT 4(4), 2020.",
    home="https://mmfit.github.io",
    marker=MARKER,
    read=read,
    signals=SIGNALS,
    download=Download("https://s3.eu-west-2.amazonaws.com/vradu.uk/mm-fit.zip", "mm-fit.zip"),
)
