"""MEx: 30 people, 7 physiotherapy exercises for the back, Axivity AX3 on thigh and wrist (Wijekoon et al., 2019).

Layout: `{person}/{exercise}_{sensor}_{trial}.csv`, in the publisher's zip below a folder a sensor; sensors `act`
(thigh) and `acw` (wrist), rows of a timestamp to the millisecond and x, y, z in g with gravity, without a header. The
nominal rate is 100 Hz, the timestamps say 103 Hz, evenly: the rate of a recording is its samples over its time span.
Exercise 4 has two trials, one on each side. Depth camera and pressure mat (`dc`, `pm`) are not read.

Straps were put on in several orientations: x runs along the thigh, up for some people and down for others, and y points
to the front for some and to the back for others. The axes are not turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from mujo_edge.core import CHANNELS, STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Download, Recording, columns, whole
from training.corpora.files import Tree, read_csv, stack

EXERCISES = (
    "knee rolling",
    "glute bridge",
    "pelvic tilt",
    "clamshell",
    "repeated extension in lying",
    "prone punches",
    "bird dog",
)
ROW = ("time", "x", "y", "z")
LONGEST_S = 0.5
"""No step between samples is longer in the published files, by far."""


def marker(sensor: str) -> str:
    """Files of the thigh ("act") or the wrist ("acw")."""
    return rf"(?P<person>\d\d)/(?P<exercise>\d\d)_{sensor}_(?P<trial>\d)\.csv"


def read(tree: Tree, sensor: str) -> Iterator[Recording]:
    """One recording an exercise and trial."""
    for name, found in tree.match(marker(sensor)):
        values = read_csv(tree, name, {"time": str, **dict.fromkeys("xyz", float)}, ROW, ended=True)
        try:
            t_ns = values["time"].astype("datetime64[ns]").astype(np.int64)
        except ValueError as error:
            raise DataError(f"{tree.where(name)} is cut off or malformed ({error}). Fetch the file again") from None
        step_s = np.diff(t_ns) / 1e9
        if not len(step_s) or (step_s <= 0).any() or (step_s > LONGEST_S).any():
            raise DataError(f"{tree.where(name)} has timestamps that do not grow evenly. Fetch the file again")
        number = int(found["exercise"])
        if not 1 <= number <= len(EXERCISES):
            raise DataError(f"{tree.where(name)}: exercises are 1 to {len(EXERCISES)}. Move this file away")
        x = columns(stack(values, "xyz") * STANDARD_GRAVITY)
        yield Recording(
            corpus="mex_thigh" if sensor == "act" else "mex_wrist",
            subject=str(int(found["person"])),
            session=f"{found['person']}/{found['exercise']}_{found['trial']}",
            placement="thigh" if sensor == "act" else "wrist",
            rate_hz=len(step_s) / float(step_s.sum()),
            x=x,
            labels=whole(EXERCISES[number - 1], len(x)),
            channels=CHANNELS[:3],
        )


def corpus(sensor: str, name: str, title: str) -> Corpus:
    """Thigh and wrist are two data sets of the same people at the same time; the publisher has a folder for each."""
    return Corpus(
        name=name,
        title=title,
        classes=EXERCISES,
        license="CC BY 4.0",
        open_license=True,
        citation="A. Wijekoon, N. Wiratunga, K. Cooper. MEx: Multi-modal Exercises Dataset for Human Activity "
        "Recognition. arXiv 1908.08992, 2019.",
        home="https://archive.ics.uci.edu/dataset/500/mex",
        marker=marker(sensor),
        read=partial(read, sensor=sensor),
        download=Download("https://archive.ics.uci.edu/static/public/500/mex.zip", "mex.zip"),
    )


THIGH = corpus("act", "mex_thigh", "MEx, thigh")
WRIST = corpus("acw", "mex_wrist", "MEx, wrist")
