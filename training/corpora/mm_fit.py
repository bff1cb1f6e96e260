"""MM-Fit: 10 people, 21 full-body workouts, watches on both wrists and phones in the pockets (Stromback et al., 2020).

Layout: `wNN/wNN_{sw_l,sw_r,sp_l,sp_r}_{acc,gyr}.npy`, rows of camera frame, timestamp (ms), x, y, z at 100 Hz (watch)
and 210 or 500 Hz (phone), m/s2 with gravity and rad/s as Android gives them; `wNN/wNN_labels.csv`, rows of first
frame, last frame, repetitions, exercise, and no header. The two sensors of a device are joined on time at 50 Hz,
the rate that MM-Fit's own evaluation uses. The publisher's notebook maps workouts to people. The ear bud
(eb_l), whose unit is not documented, and the poses are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.base import Corpus, Download, Recording, columns, join
from training.corpora.files import Tree, read_csv, read_npy

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
PLACEMENTS = {"sw": "wrist", "sp": "pocket"}
RATE_HZ = 50.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording a workout and device."""
    workouts: dict[str, dict[tuple[str, ...] | None, str]] = {}
    for name, found in tree.match(MARKER):
        key = found.group("device", "side", "sensor") if found["device"] else None
        workouts.setdefault(found["workout"], {})[key] = name
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
                    raise DataError(f"{where} has timestamps that do not grow. Fetch the file again")
            t_s, x = join([(rows[:, 1] / 1000, rows[:, 2:]) for rows in streams], RATE_HZ)
            if not len(t_s):
                raise DataError(
                    f"{tree.where(files[device, side, 'acc'])} and its gyroscope file do not overlap in time"
                )
            frame = np.interp(t_s, streams[0][:, 1] / 1000, streams[0][:, 0])
            yield Recording(
                corpus="mm_fit",
                subject=str(PARTICIPANTS[int(workout)]),
                session=f"w{workout} {device}_{side}",
                placement=PLACEMENTS[device],
                rate_hz=RATE_HZ,
                x=columns(x),
                labels=labels_at(frame, sets),
                side="left" if side == "l" else "right",
            )


def exercise_sets(tree: Tree, name: str) -> list[tuple[float, float, str]]:
    """(first frame, last frame, exercise) of a workout's sets."""
    header = ("first", "last", "repetitions", "exercise")
    values = read_csv(tree, name, {"first": float, "last": float, "exercise": str}, header)
    names = [exercise.replace("_", " ") for exercise in values["exercise"]]
    return list(zip(values["first"].tolist(), values["last"].tolist(), names, strict=True))


def labels_at(frame: F64, sets: list[tuple[float, float, str]]) -> np.ndarray:
    """Exercise at every (fractional) camera frame (n,); between sets, "non activity"."""
    labels = np.full(len(frame), EXERCISES[-1], f"<U{max(map(len, EXERCISES))}")
    for first, last, exercise in sets:
        labels[(frame >= first) & (frame <= last)] = exercise
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
    download=Download("https://s3.eu-west-2.amazonaws.com/vradu.uk/mm-fit.zip", "mm-fit.zip"),
)
