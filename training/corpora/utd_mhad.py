"""UTD-MHAD, inertial part: 27 actions, 8 people, about 4 trials, 50 Hz (Chen, Jafari, Kehtarnavaz, 2015).

Layout: `Inertial/aA_sS_tT_inertial.mat`, variable `d_iner` (n, 6): accelerometer g, gyroscope deg/s. The sensor is
on the right wrist for actions 1-21 and on the right thigh for 22-27.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Download, Recording, columns, constant
from training.corpora.files import Tree, read_mat

ACTIONS = (
    "swipe left",
    "swipe right",
    "wave",
    "clap",
    "throw",
    "cross arms",
    "basketball shoot",
    "draw x",
    "draw circle clockwise",
    "draw circle counter-clockwise",
    "draw triangle",
    "bowling",
    "boxing",
    "baseball swing",
    "tennis swing",
    "arm curl",
    "tennis serve",
    "two-hand push",
    "knock on door",
    "catch an object",
    "pick up and throw",
    "jogging in place",
    "walking in place",
    "sit to stand",
    "stand to sit",
    "forward lunge",
    "squat",
)
MARKER = r"a(\d+)_s(\d+)_t(\d+)_inertial\.mat"
WRIST_ACTIONS = ACTIONS[:21]
"""Actions recorded at the right wrist; the others at the right thigh."""


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per trial."""
    for name, matched in tree.match(MARKER):
        raw = read_mat(tree, name, "d_iner")
        if raw.ndim != 2 or raw.shape[1] != 6:
            raise DataError(f"{tree.where(name)}: d_iner has shape {raw.shape}, expected (n, 6). Fetch it again")
        x = columns(raw[:, :3] * STANDARD_GRAVITY, np.deg2rad(raw[:, 3:]))
        action, subject, trial = map(int, matched.groups())
        if not 1 <= action <= len(ACTIONS):
            raise DataError(f"{tree.where(name)}: UTD-MHAD has actions 1 to 27. Move this file out of the folder")
        yield Recording(
            corpus="utd_mhad",
            subject=str(subject),
            session=f"a{action}_s{subject}_t{trial}",
            placement="wrist" if action <= len(WRIST_ACTIONS) else "thigh",
            rate_hz=50.0,
            x=x,
            labels=constant(ACTIONS[action - 1], len(x)),
            side="right",
        )


CORPUS = Corpus(
    name="utd_mhad",
    title="UTD-MHAD (inertial)",
    classes=ACTIONS,
    license="research only",
    open_license=False,
    citation="C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A Multimodal Dataset for Human Action Recognition "
    "Utilizing a Depth Camera and a Wearable Inertial Sensor. ICIP 2015.",
    home="https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
    marker=MARKER,
    read=read,
    download=Download("https://personal.utdallas.edu/~kehtar/UTD-MAD/Inertial.zip", "Inertial.zip"),
    files=861,
)
