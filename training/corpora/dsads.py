"""Daily and Sports Activities: 8 people, 19 activities, five Xsens MTx units at once, 25 Hz (Altun, Barshan, 2010).

Layout: `a{AA}/p{P}/s{SS}.txt`, segments of 125 rows (5 s) of 45 numbers: for torso, right arm (wrist), left arm, right
leg (above the knee) and left leg in turn acceleration (m/s2 with gravity), angular rate (rad/s) and magnetometer, which
is not read. Segments of one activity and person with consecutive numbers are contiguous and are joined; a copy with
missing segments gives more and shorter recordings. Some segments of persons 1 and 6 end in a second of zeros, which is
cut off and ends the recording. The five placements of a recording share its session.

Axes, checked against gravity in standing, sitting and lying, are rotated to those of `training.fimad.virtual_imu`. On
the sensors, x points up at the torso and, on hanging arms, at the wrists, and down at the legs; z points out of the
body (to the front, right or left) at torso and legs. The rotation of the wrist units about the forearm is not
documented: of the four quarter turns, this is the one in which gravity in sitting and walking agrees with a watch
(sp-sw's).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.base import Corpus, Download, Recording, columns, constant, turned
from training.corpora.files import Tree, read_csv, stack

ACTIVITIES = (
    "sitting",
    "standing",
    "lying on back",
    "lying on right side",
    "walking upstairs",
    "walking downstairs",
    "standing in an elevator",
    "moving around in an elevator",
    "walking",
    "walking on a treadmill",
    "walking on an inclined treadmill",
    "running on a treadmill",
    "stair climber machine",
    "elliptical machine",
    "recumbent bike",
    "stationary bike",
    "rowing machine",
    "jumping",
    "basketball",
)
MARKER = r"(?P<unit>a(?P<activity>\d\d)/p(?P<person>\d)/)s(?P<segment>\d\d)\.txt"
PLACES = (
    ("chest", None, "-y x z"),
    ("wrist", "right", "x -z y"),
    ("wrist", "left", "-x -z -y"),
    ("thigh", "right", "-z -x y"),
    ("thigh", "left", "z -x -y"),
)
"""Placement, side and axes of the five units in the order of their columns."""
COLUMNS = [str(i) for i in range(9 * len(PLACES))]
SEGMENT = 125


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per placement and stretch of segments."""
    done: dict[tuple[str, str], dict[int, str]] = {}
    for name, matched in tree.match(MARKER):
        done.setdefault(matched.group("activity", "person"), {})[int(matched["segment"])] = name
    for (activity, person), segments in done.items():
        if not 1 <= int(activity) <= len(ACTIVITIES):
            where = tree.where(next(iter(segments.values())))
            raise DataError(f"{where}: activities are 1 to {len(ACTIVITIES)}. Move this folder out of the data set")
        for numbers, values in stretches(tree, segments):
            for i, (placement, side, axes) in enumerate(PLACES):
                yield Recording(
                    corpus="dsads",
                    subject=person,
                    session=f"a{activity}/p{person}/s{numbers[0]:02d}-s{numbers[-1]:02d}",
                    placement=placement,
                    rate_hz=25.0,
                    x=columns(turned(values[:, 9 * i : 9 * i + 6], axes)),
                    labels=constant(ACTIVITIES[int(activity) - 1], len(values)),
                    side=side,
                )


def stretches(tree: Tree, segments: Mapping[int, str]) -> Iterator[tuple[list[int], F64]]:
    """Numbers and rows (n, 45) of each stretch of contiguous segments."""
    numbers: list[int] = []
    rows: list[F64] = []
    for number, name in sorted(segments.items()):
        values = segment(tree, name)
        if numbers and (number != numbers[-1] + 1 or len(rows[-1]) < SEGMENT):
            yield numbers, np.concatenate(rows)
            numbers, rows = [], []
        numbers.append(number)
        rows.append(values)
    yield numbers, np.concatenate(rows)


def segment(tree: Tree, name: str) -> F64:
    """Rows (125, 45) of one file, without zeros at its end."""
    values = stack(read_csv(tree, name, dict.fromkeys(COLUMNS, float), COLUMNS, ended=True), COLUMNS)
    there = np.flatnonzero(values.any(1))
    if len(values) != SEGMENT or not len(there):
        raise DataError(f"{tree.where(name)} is cut off: {len(values)} of {SEGMENT} rows. Fetch the file again")
    return values[: there[-1] + 1]


CORPUS = Corpus(
    name="dsads",
    title="Daily and Sports Activities",
    classes=ACTIVITIES,
    license="CC BY 4.0",
    open_license=True,
    citation="K. Altun, B. Barshan, O. Tuncel. Comparative study on classifying human activities with miniature "
    "inertial and magnetic sensors. Pattern Recognition 43(10), 2010.",
    home="https://archive.ics.uci.edu/dataset/256/daily+and+sports+activities",
    marker=MARKER,
    read=read,
    download=Download(
        "https://archive.ics.uci.edu/static/public/256/daily+and+sports+activities.zip",
        "daily+and+sports+activities.zip",
    ),
    files=19 * 8 * 60,
)
