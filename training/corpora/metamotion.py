"""Barbell exercises with a MetaMotion on the wrist (Ebbelaar, Vrije Universiteit Amsterdam, 2019).

Layout: one CSV per sensor and recording,
`{person}-{lift}-{load}..._MetaWear_{time}_{device}_{sensor}_{rate}Hz_{version}.csv`; columns epoch (ms), time, elapsed
(s), then x, y, z in g at 12.5 Hz or deg/s at 25 Hz. The two sensors of one recording are joined on time at 25 Hz.
A set is of 5 repetitions if its title says heavy and of 10 if it says medium (the thesis's protocol, not a count).
Duplicates are dropped: all files of person E, and some others, repeat a recording of A, C or D with the clock shifted
by whole days, which leaves 61 recordings of four people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from mujo_edge.core import F64, STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Recording, RepetitionSet, columns, constant, join
from training.corpora.files import Tree, read_csv, stack

LIFTS = {
    "bench": "bench press",
    "squat": "squat",
    "dead": "deadlift",
    "ohp": "overhead press",
    "row": "barbell row",
    "rest": "rest",
}
REPETITIONS = {"heavy": 5, "medium": 10}
MARKER = (
    r"(?P<title>(?P<person>[A-Z])-(?P<lift>bench|squat|dead|ohp|row|rest)[^/]*?) ?_MetaWear_(?P<unit>[\dT.-]+)"
    r"_[0-9A-F]+_(?P<sensor>Accelerometer|Gyroscope)_[\d.]+Hz_(?P<version>[\d.]+)\.csv"
)
AXES = {
    "Accelerometer": [f"{axis}-axis (g)" for axis in "xyz"],
    "Gyroscope": [f"{axis}-axis (deg/s)" for axis in "xyz"],
}
RATE_HZ = 25.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per set."""
    pairs: dict[tuple[str, ...], dict[str, tuple[str, re.Match[str]]]] = {}
    for name, matched in tree.match(MARKER):
        pairs.setdefault(matched.group("title", "unit", "version"), {})[matched["sensor"]] = name, matched
    complete = {key[1] for key, pair in pairs.items() if len(pair) == len(AXES)}
    for (title, time, _), pair in pairs.items():
        name, matched = next(iter(pair.values()))
        if len(pair) < len(AXES):
            if time in complete:
                continue  # one sensor of a duplicate, whose other sensor is missing
            raise DataError(
                f"{tree.where(name)} has no matching file of the other sensor. "
                "Unpack the data set again, or move this file out of the folder"
            )
        streams = [samples(tree, pair[sensor][0], AXES[sensor]) for sensor in AXES]
        # Integer milliseconds since the first sample, so that duplicates with a shifted clock are equal bit for bit.
        origin_ms = min(t_ms[0] for t_ms, _ in streams)
        t_s, x = join([((t_ms - origin_ms) / 1000, values) for t_ms, values in streams], RATE_HZ)
        if not len(t_s):
            raise DataError(
                f"{tree.where(name)} and the other sensor's file do not overlap in time. Move both out of the folder"
            )
        yield Recording(
            corpus="metamotion",
            subject=matched["person"],
            session=f"{title} {time}",
            placement="wrist",
            rate_hz=RATE_HZ,
            x=columns(x[:, :3] * STANDARD_GRAVITY, np.deg2rad(x[:, 3:])),
            labels=constant(lift := LIFTS[matched["lift"]], len(x)),
            sets=tuple(
                RepetitionSet(0.0, len(x) / RATE_HZ, n, lift) for load, n in REPETITIONS.items() if load in title
            ),
        )


def samples(tree: Tree, name: str, axes: list[str]) -> tuple[F64, F64]:
    """Milliseconds (n,) and values (n, 3) of one sensor's file."""
    values = read_csv(tree, name, dict.fromkeys(["epoch (ms)", *axes], float))
    t_ms = values["epoch (ms)"]
    if (np.diff(t_ms) <= 0).any():
        raise DataError(f"{tree.where(name)} has timestamps that do not increase. Fetch the file again")
    return t_ms, stack(values, axes)


CORPUS = Corpus(
    name="metamotion",
    title="MetaMotion barbell exercises",
    classes=tuple(LIFTS.values()),
    license="none stated",
    open_license=False,
    citation="D. Ebbelaar. Exploring the Possibilities of Context-Aware Applications for Strength Training. "
    "Vrije Universiteit Amsterdam, 2019.",
    home="https://github.com/daveebbelaar/tracking-barbell-exercises",
    marker=MARKER,
    files=191,
    read=read,
)
