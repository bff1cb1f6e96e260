"""Windows of 4 s cut from MHEALTH by a third party: accelerometers of right wrist, left ankle and chest, 50 Hz.

Layout: `mhealth_fragments_acc.npz` with X (N, 200, 9) m/s2, y, unique (bool, False for repeats), channels, classes.
People are not identified, and neighboring windows are of one person: never report it as MHEALTH.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO

import numpy as np

from mujo_edge.core import CHANNELS, DataError
from training.corpora.base import Corpus, Recording, columns, constant
from training.corpora.files import Tree, usable
from training.corpora.mhealth import ACTIVITIES

MARKER = r"mhealth_fragments_acc\.npz"
SITES = {"arm": ("wrist", "right"), "ankle": ("ankle", "left"), "chest": ("chest", None)}


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per window and body site."""
    for name, _ in tree.match(MARKER):
        where = tree.where(name)
        try:
            with np.load(BytesIO(tree.read(name))) as data:
                x, y, keep, channels, classes = (data[k] for k in ("X", "y", "unique", "channels", "classes"))
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError) as error:
            raise DataError(f"{where} is cut off or not this data set ({error}). Fetch the file again") from None
        if x.ndim != 3 or x.shape[2] != len(channels) or not len(x) == len(y) == len(keep):
            raise DataError(
                f"{where}: X {x.shape}, y {y.shape} and channels {channels.shape} are inconsistent. Fetch it again"
            )
        if not usable(x).all():
            raise DataError(f"{where}: X holds values that are not finite numbers. Fetch the file again")
        for site, (placement, side) in SITES.items():
            axes = [channels.tolist().index(f"{site}_{axis}") for axis in "xyz"]
            for i in np.flatnonzero(keep):
                yield Recording(
                    corpus="mhealth_fragments",
                    subject="unknown",
                    session=f"window {i}",
                    placement=placement,
                    rate_hz=50.0,
                    x=columns(x[i][:, axes]),
                    labels=constant(str(classes[y[i]]), x.shape[1]),
                    side=side,
                    channels=CHANNELS[:3],
                )


CORPUS = Corpus(
    name="mhealth_fragments",
    title="MHEALTH fragments (4-s windows, accelerometers)",
    classes=ACTIVITIES,
    license="CC BY 4.0",
    open_license=True,
    citation="O. Banos et al. mHealthDroid: A Novel Framework for Agile Development of Mobile Health Applications. "
    "IWAAL 2014.",
    home="https://archive.ics.uci.edu/dataset/319/mhealth+dataset",
    marker=MARKER,
    read=read,
    files=1,
    subjects=False,
)
