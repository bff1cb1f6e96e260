"""MHEALTH: 10 people, 12 activities, chest, left ankle and right wrist at 50 Hz (Banos et al., 2014).

Layout (the data set's README.txt): `mHealth_subject{n}.log`, 24 tab-separated columns: chest acceleration (0-2), two
ECG leads (3-4), left ankle acceleration, gyroscope, magnetometer (5-13), right lower arm likewise (14-22), label (23;
0 = none of the twelve). Accelerations in m/s2, gyroscopes in deg/s.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import CHANNELS, DataError
from training.corpora.base import Corpus, Download, Recording, columns
from training.corpora.files import Tree, read_csv, stack

ACTIVITIES = (
    "standing still",
    "sitting and relaxing",
    "lying down",
    "walking",
    "climbing stairs",
    "waist bends forward",
    "frontal elevation of arms",
    "knees bending (crouching)",
    "cycling",
    "jogging",
    "running",
    "jump front and back",
)
MARKER = r"mHealth_subject(\d+)\.log"
COLUMNS = [str(i) for i in range(24)]
SITES = (("chest", None, 0, 3), ("ankle", "left", 5, 6), ("wrist", "right", 14, 6))
"""Placement, side, first column and number of channels of the three sensors."""


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per person and body site."""
    for name, matched in tree.match(MARKER):
        values = read_csv(tree, name, dict.fromkeys(COLUMNS, float), COLUMNS, delimiter="\t")
        number = values["23"].astype(np.int64)
        if not np.isin(values["23"], range(len(ACTIVITIES) + 1)).all():
            raise DataError(
                f"{tree.where(name)}: the last column holds other labels than 0 to 12. Fetch the file again"
            )
        labels = np.asarray(["", *ACTIVITIES])[number]
        for placement, side, first, channels in SITES:
            x = stack(values, COLUMNS[first : first + channels])
            yield Recording(
                corpus="mhealth",
                subject=matched[1],
                session=f"subject{matched[1]} {placement}",
                placement=placement,
                rate_hz=50.0,
                x=columns(x[:, :3], np.deg2rad(x[:, 3:])),
                labels=labels,
                side=side,
                channels=CHANNELS[:channels],
            )


CORPUS = Corpus(
    name="mhealth",
    title="MHEALTH",
    classes=ACTIVITIES,
    license="CC BY 4.0",
    open_license=True,
    citation="O. Banos et al. mHealthDroid: A Novel Framework for Agile Development of Mobile Health Applications. "
    "IWAAL 2014.",
    home="https://archive.ics.uci.edu/dataset/319/mhealth+dataset",
    marker=MARKER,
    read=read,
    download=Download("https://archive.ics.uci.edu/static/public/319/mhealth+dataset.zip", "mhealth.zip"),
    files=10,
)
