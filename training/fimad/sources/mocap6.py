"""mocap6: six exercise sequences of CMU's subjects 13 and 14 with labels (Fox, Hughes, Sudderth, Jordan, Annals of
Applied Statistics 8(3), 2014; github.com/michaelchughes/mocap6dataset).

Layout: `amc/{subject}_{trial}.amc` at 120 Hz; `truelabels/{subject}_{trial}.txt`, numbers 1 to 12, one per block of 12
frames (its README: averaged over blocks to 10 Hz) and one for the remainder. Skeletons are not included: CMU's
`{subject}.asf` (mocap.cs.cmu.edu) is used if it is in the folder, otherwise a nominal person's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mujo_edge.core import DataError
from training.corpora.base import runs
from training.corpora.files import Tree, locate
from training.fimad import skeletons
from training.fimad.clip import Source, Take, Task
from training.fimad.skeletons.asf_amc import RATE_HZ, amc_motion

MARKER = r"truelabels/((\d+)_\d+)\.txt"
NOMINAL = Path(skeletons.__file__).with_name("nominal.asf")
BLOCK = 12
"""Frames per label."""
ACTIONS = (
    "jumping jack",
    "jog in place",
    "squat",
    "knee raise",
    "arm circles",
    "torso twist",
    "side reach",
    "boxing",
    "bend down and reach up",
    "toe touch with one hand",
    "side bend",
    "toe touch with both hands",
)
"""Titles of labels 1 to 12 (the README's `ActionNames`); "UpDown" moves the hands from the floor to above the head."""


def read(path: Path, labels: str, amc: str, asf: str | None) -> Iterator[Take]:
    """One take for each run of equal labels. Raises `DataError` naming the file."""
    with Tree.open(path, tuple(name for name in (labels, amc, asf) if name)) as tree:
        ((_, matched),) = tree.match(MARKER)
        number = parse_labels(tree.read(labels).decode("latin-1"), tree.where(labels))
        skeleton = tree.read(asf).decode("latin-1") if asf else NOMINAL.read_text()
        try:
            whole = amc_motion(skeleton, tree.read(amc).decode("latin-1"))
        except DataError as error:
            raise DataError(f"{tree.where(amc)}: {error}") from None
        if len(number) != len(whole.x) // BLOCK + 1:
            raise DataError(
                f"{tree.where(labels)} does not have one label per {BLOCK} frames. Fetch it and {amc} again"
            )
    for label, start, stop in runs(number):
        x = whole.x[start * BLOCK : stop * BLOCK]
        yield Take(
            id=f"mocap6/{matched[1]}_{start:03d}",
            corpus="mocap6",
            name=ACTIONS[int(label) - 1],
            subject=matched[2],
            motion=replace(whole, x=x, rate_hz=RATE_HZ),
        )


def parse_labels(text: str, where: str) -> np.ndarray:
    """Label numbers (blocks,) as text, "1" to "12". Raises `DataError` for any other content."""
    number = np.array(text.split())
    if not len(number) or not set(number.tolist()) <= {str(i + 1) for i in range(len(ACTIONS))}:
        raise DataError(f"{where} does not hold labels from 1 to {len(ACTIONS)}. Fetch the file again")
    return number


def tasks(path: Path) -> Iterator[Task]:
    """One task per sequence with both labels and motion."""
    with Tree.open(path) as tree:
        files = {name.rpartition("/")[2]: name for name in tree.names}
        for name, matched in tree.match(MARKER):
            if amc := files.get(f"{matched[1]}.amc"):
                yield Task(f"mocap6/{matched[1]}", read, (path, name, amc, files.get(f"{matched[2]}.asf")))


def find(root: Path) -> Path | None:
    """The archive or folder of sequences under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="mocap6",
    title="mocap6: CMU exercise sequences with labels",
    license="CMU motion capture: free use, no resale",
    open_license=False,
    citation="E. Fox, M. Hughes, E. Sudderth, M. Jordan. Joint modeling of multiple time series via the beta process "
    "with application to motion capture segmentation. Annals of Applied Statistics 8(3), 2014.",
    home="https://github.com/michaelchughes/mocap6dataset",
    find=find,
    tasks=tasks,
)
