"""Barbell exercises with a MetaMotion on the wrist (Ebbelaar, Vrije Universiteit Amsterdam, 2019).

Layout: one CSV a sensor and recording, `{person}-{lift}-{load}..._MetaWear_{time}_{device}_{sensor}_{rate}Hz_{version}
.csv`; columns epoch (ms), time, elapsed (s), then x, y, z in g at 12.5 Hz or deg/s at 25 Hz. The two sensors of one
recording are joined on time at 25 Hz. Equal samples count once: every file of person E, and some others, repeat a
recording of A, C or D with the clock moved by whole days, which leaves 61 recordings of four people.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Recording, whole
from training.corpora.files import Tree, read_csv, stack

LIFTS = {
    "bench": "bench press",
    "squat": "squat",
    "dead": "deadlift",
    "ohp": "overhead press",
    "row": "barbell row",
    "rest": "rest",
}
MARKER = (
    r"((?P<person>[A-Z])-(?P<lift>bench|squat|dead|ohp|row|rest)[^/]*?) ?_MetaWear_(?P<time>[\dT.-]+)_[0-9A-F]+"
    r"_(?P<sensor>Accelerometer|Gyroscope)_[\d.]+Hz_(?P<version>[\d.]+)\.csv"
)
AXES = {
    "Accelerometer": [f"{axis}-axis (g)" for axis in "xyz"],
    "Gyroscope": [f"{axis}-axis (deg/s)" for axis in "xyz"],
}
RATE_HZ = 25.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording a set."""
    pairs: dict[tuple[str, str, str], dict[str, str]] = {}
    people: dict[tuple[str, str, str], tuple[str, str]] = {}
    for name, found in tree.match(MARKER):
        key = (found[1], found["time"], found["version"])
        pairs.setdefault(key, {})[found["sensor"]] = name
        people[key] = (found["person"], LIFTS[found["lift"]])
    complete = {key[1] for key, names in pairs.items() if len(names) == 2}
    for key, names in pairs.items():
        if len(names) < 2 and key[1] in complete:
            continue  # half of a copy
        if len(names) < 2:
            raise DataError(
                f"{tree.where(*names.values())} has no matching file of the other sensor. "
                "Unpack the data set again, or move this file out of the folder"
            )
        (t_acc, acc), (t_gyr, gyr) = (samples(tree, names[sensor], AXES[sensor]) for sensor in AXES)
        start = max(t_acc[0], t_gyr[0])
        t = np.arange(start, min(t_acc[-1], t_gyr[-1]), 1000 / RATE_HZ)
        if not len(t):
            raise DataError(f"{tree.where(names['Gyroscope'])} does not overlap its accelerometer file in time")
        columns = [np.interp(t, t_acc, c) * STANDARD_GRAVITY for c in acc.T]
        columns += [np.deg2rad(np.interp(t, t_gyr, c)) for c in gyr.T]
        person, lift = people[key]
        yield Recording(
            corpus="metamotion",
            subject=person,
            session=f"{key[0]} {key[1]}",
            placement="wrist",
            rate_hz=RATE_HZ,
            x=np.stack(columns, 1).astype(np.float32),
            labels=whole(lift, len(t)),
        )


def samples(tree: Tree, name: str, axes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds (n,) and values (n, 3) of one sensor's file."""
    values = read_csv(tree, name, dict.fromkeys(["epoch (ms)", *axes], float))
    t = values["epoch (ms)"]
    if (np.diff(t) <= 0).any():
        raise DataError(f"{tree.where(name)} has timestamps that do not grow. Fetch the file again")
    return t, stack(values, axes)


CORPUS = Corpus(
    name="metamotion",
    title="MetaMotion barbell exercises",
    classes=tuple(LIFTS.values()),
    licence="none stated",
    open_licence=False,
    citation="D. Ebbelaar. Exploring the Possibilities of Context-Aware Applications for Strength Training. "
    "Vrije Universiteit Amsterdam, 2019.",
    home="https://github.com/daveebbelaar/tracking-barbell-exercises",
    marker=MARKER,
    read=read,
)
