"""MEx: 30 people, 7 physiotherapy exercises for the back, Axivity AX3 on thigh and wrist (Wijekoon et al., 2019).

Layout: `{person}/{exercise}_{sensor}_{trial}.csv`, in the publisher's zip below one folder per sensor; sensors `act`
(thigh) and `acw` (wrist), rows of a timestamp in ms resolution and x, y, z in g with gravity, without header. The
nominal rate is 100 Hz, but the evenly spaced timestamps give 103 Hz: the rate of a recording is the number of its
samples divided by its time span. Exercise 4 has two trials, one per side. Depth camera and pressure mat (`dc`, `pm`)
are not read.

The orientation of the strap differs between people: x runs along the thigh, up for some and down for others, and y
points to the front for some and to the back for others. Axes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from mujo_edge.core import CHANNELS, STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Download, Recording, columns, constant
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
"""Upper bound of the time between samples, far above that of the published files."""


def marker(sensor: str) -> str:
    """Files of the thigh ("act") or the wrist ("acw")."""
    return rf"(?P<person>\d\d)/(?P<exercise>\d\d)_{sensor}_(?P<trial>\d)\.csv"


def read(tree: Tree, sensor: str) -> Iterator[Recording]:
    """One recording per exercise and trial."""
    for name, matched in tree.match(marker(sensor)):
        values = read_csv(tree, name, {"time": str, **dict.fromkeys("xyz", float)}, ROW, ended=True)
        try:
            t_ns = values["time"].astype("datetime64[ns]").astype(np.int64)
        except ValueError as error:
            raise DataError(f"{tree.where(name)} is cut off or malformed ({error}). Fetch the file again") from None
        step_s = np.diff(t_ns) / 1e9
        if not len(step_s) or (step_s <= 0).any() or (step_s > LONGEST_S).any():
            raise DataError(f"{tree.where(name)} has timestamps that do not increase evenly. Fetch the file again")
        number = int(matched["exercise"])
        if not 1 <= number <= len(EXERCISES):
            raise DataError(f"{tree.where(name)}: exercises are 1 to {len(EXERCISES)}. Move this file away")
        x = columns(stack(values, "xyz") * STANDARD_GRAVITY)
        yield Recording(
            corpus="mex_thigh" if sensor == "act" else "mex_wrist",
            subject=str(int(matched["person"])),
            session=f"{matched['person']}/{matched['exercise']}_{matched['trial']}",
            placement="thigh" if sensor == "act" else "wrist",
            rate_hz=len(step_s) / float(step_s.sum()),
            x=x,
            labels=constant(EXERCISES[number - 1], len(x)),
            channels=CHANNELS[:3],
        )


def corpus(sensor: str, name: str, title: str) -> Corpus:
    """One of the two data sets, thigh and wrist, recorded simultaneously; the publisher has one folder for each."""
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
