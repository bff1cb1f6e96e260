"""SPAR: seven shoulder exercises on a watch, 10 people x 2 sides, 50 Hz (Burns et al., 2018).

Layout: `watch_dataset.npy` of the seglearn package, a pickled dict of X (list of (n, 6) in g and rad/s, in the sign
convention of the Apple Watch's Core Motion), y, subject, side (1 = right). Each recording is one set of 20 repetitions
by the paper's protocol; the data set does not say whether anyone did another number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np

from mujo_edge.core import DataError
from training.corpora.base import CORE_MOTION_G, Corpus, Download, Recording, RepetitionSet, columns, constant
from training.corpora.files import Tree

EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "lower trapezius row",
    "bent-over row",
)
RATE_HZ = 50.0
REPETITIONS = 20
MARKER = r"watch_dataset\.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per exercise, person and side."""
    for name, _ in tree.match(MARKER):
        content = tree.read(name)
        # Reading a pickle can run code, so only the published file is read.
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise DataError(
                f"{tree.where(name)} is not the published file (SHA-256 differs). Install it with: pip install seglearn"
            )
        data = np.load(BytesIO(content), allow_pickle=True).item()
        for raw, exercise, subject, side in zip(data["X"], data["y"], data["subject"], data["side"], strict=True):
            x = columns(raw[:, :3] * CORE_MOTION_G, raw[:, 3:])
            hand = "right" if side else "left"
            yield Recording(
                corpus="spar",
                subject=str(int(subject)),
                session=f"{int(subject)}-{hand}-{data['y_labels'][exercise]}",
                placement="wrist",
                rate_hz=RATE_HZ,
                x=x,
                labels=constant(EXERCISES[exercise], len(x)),
                side=hand,
                sets=(RepetitionSet(0.0, len(x) / RATE_HZ, REPETITIONS, EXERCISES[exercise]),),
            )


def in_package() -> Path | None:
    """Path of the copy in an installed seglearn package, which is not imported."""
    spec = find_spec("seglearn")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "data" / "watch_dataset.npy"
    return path if path.is_file() else None


CORPUS = Corpus(
    name="spar",
    title="SPAR (Smart Physiotherapy Activity Recognition)",
    classes=EXERCISES,
    license="BSD-3-Clause",
    open_license=True,
    citation="D. M. Burns, N. Leung, M. Hardisty, C. M. Whyne, P. Henry, S. McLachlin. Shoulder physiotherapy exercise "
    "recognition: machine learning the inertial signals from a smartwatch. Physiological Measurement 39(7), 2018.",
    home="https://github.com/dmbee/seglearn",
    marker=MARKER,
    read=read,
    download=Download(
        "https://github.com/dmbee/seglearn/raw/master/seglearn/data/watch_dataset.npy", "watch_dataset.npy", SHA256
    ),
    files=1,
    locate=in_package,
)
