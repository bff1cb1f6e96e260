"""Penn Action: 13 joints in 2-D of 2,326 video sequences of 15 actions (Zhang, Zhu, Derpanis. From Actemes to Action:
A Strongly-Supervised Representation for Detailed Action Understanding. ICCV 2013).

Layouts: the publisher's `Penn_Action/labels/NNNN.mat` (x, y (n, 13) pixels, visibility, action, train, dimensions:
rows, columns, frames), or all of them in one `penn_action.npz`: X (N, 39) x, y, visibility with x by the frame's width
and y by its height, start (sequences + 1,), y, classes, train, rec. Hidden joints carry the annotators' guess; those
that nobody could place lie in the frame's corner.

What its README calls left is the person's right, and is turned here: that side's wrist is the faster one in 74 to 79 %
of serves, pitches and forehands and strums the guitar in 97 %, and it is at the left of the picture in 96 % or more of
what is filmed from the front (jumping jacks, rope skipping, guitars), at the right in the bowling filmed from behind.

The camera's distance is not known: a person is made 1.7 m tall by the segments' shares of the stature (Drillis and
Contini 1966, in Winter 2009, figure 4.1). The npz lacks the frames' size: it shows in the grid on which coordinates
lie (in 4 of 5 sequences); else it is taken as 16:9, the size of most. The frame rate varies and is not stated: 30 Hz.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.files import Tree, locate, mat_variable, read_mat, usable
from training.fimad.clip import JOINTS, Motion, Source, Take, Task

NPZ = r"penn_action\.npz"
LABELS = r"Penn_Action/labels/(\d{4})\.mat"
MARKER = rf"(?:{NPZ}|{LABELS})"
RATE_HZ = 30.0
HEIGHT_M = 1.7
WIDE = 16 / 9
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
ORDER = ("head", *(f"{side}_{joint}" for joint in LIMBS for side in ("right", "left")))
"""The files' order, in which every pair begins with the person's right."""
SEGMENTS = (("shoulder", "hip", 0.288), ("hip", "knee", 0.245), ("knee", "ankle", 0.246), ("shoulder", "elbow", 0.186))
"""Two joints and their distance as a share of the stature."""
CORNER = 0.01
LEAST_KNOWN = 0.5
"""A sequence where fewer of the joints are known, over its frames, is left out."""
SIZES = np.arange(160, 1300)
"""Widths and heights of frames, in pixels or parts of them, that are tried on the coordinates."""
NAMES = {
    "baseball_pitch": "baseball pitch",
    "baseball_swing": "baseball swing",
    "bench_press": "bench press",
    "bowl": "bowling",
    "clean_and_jerk": "clean and jerk",
    "golf_swing": "golf swing",
    "jump_rope": "rope skipping",
    "jumping_jacks": "jumping jack",
    "pullup": "pull-up",
    "pushup": "push-up",
    "situp": "sit-up",
    "squat": "squat",
    "strum_guitar": "strum a guitar",
    "tennis_forehand": "tennis forehand",
    "tennis_serve": "tennis serve",
}
Split = Literal["train", "val"]


def flat_motion(x: F64, aspect: float) -> Motion:
    """Joints (n, 13, 2) by the frame's width and height -> `Motion` with y unknown; neck and spine are made up.

    Raises `DataError` where most joints are not known or nothing of the body has a length.
    """
    x = np.where((x < CORNER).all(2, keepdims=True), np.nan, x)
    if len(x) < 2 or np.isfinite(x).mean() < LEAST_KNOWN:
        raise DataError("fewer than half of the joints are known. Leave this sequence out")
    x = x * [aspect, -1.0]
    at = dict(zip(ORDER, x.transpose(1, 0, 2), strict=True))
    scale = HEIGHT_M / stature(at)
    out = np.full((len(x), len(JOINTS), 3), np.nan, np.float32)
    at |= {"neck": middle(at, "shoulder"), "pelvis": middle(at, "hip")}
    at["spine"] = (at["neck"] + at["pelvis"]) / 2
    for joint, place in at.items():
        out[:, JOINTS.index(joint), ::2] = place * scale
    return Motion(out, RATE_HZ, flat=True)


def middle(at: dict[str, F64], joint: str) -> F64:
    """Between left and right (n, 2); where one is not known, as from the side, the other one."""
    left, right = at[f"left_{joint}"], at[f"right_{joint}"]
    left, right = np.where(np.isnan(left), right, left), np.where(np.isnan(right), left, right)
    return (left + right) / 2


def stature(at: dict[str, F64]) -> float:
    """Height of the person in units of the frame's height: the median over segments that are seen at full length."""
    heights = []
    for side in ("left", "right"):
        for one, other, share in SEGMENTS:
            length = np.linalg.norm(at[f"{side}_{one}"] - at[f"{side}_{other}"], axis=1)
            if np.isfinite(length).sum() > 1:
                heights.append(np.nanpercentile(length, 95) / share)
    if not heights or not np.median(heights) > 0:
        raise DataError("no part of the body has a length. Leave this sequence out")
    return float(np.median(heights))


def frame_size(values: F64) -> int | None:
    """The smallest size on whose grid all values (n,) lie, None if there is none."""
    values = np.unique(values[values > CORNER])
    parts = values[:, None] * SIZES
    on_grid = (np.abs(parts - np.rint(parts)) < 2e-3).all(0)
    return int(SIZES[np.argmax(on_grid)]) if on_grid.any() and len(values) else None


def aspect_of(x: F64) -> float:
    """Width over height of the frame of joints (n, 13, 2) by its width and height."""
    width, height = frame_size(x[..., 0].ravel()), frame_size(x[..., 1].ravel())
    return width / height if width and height else WIDE


@lru_cache(1)
def load(path: Path, name: str) -> dict[str, np.ndarray]:
    """Arrays of the npz, kept for the next sequence. Raises `DataError` for a damaged one."""
    with Tree.open(path, (name,)) as tree:
        where = tree.where(name)
        try:
            with np.load(BytesIO(tree.read(name)), allow_pickle=False) as data:
                arrays = {key: data[key] for key in ("X", "start", "y", "classes", "train", "rec")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{where} is no whole Penn Action archive ({error}). Fetch it again") from None
    n, start = len(arrays["y"]), arrays["start"]
    sound = (
        start.shape == (n + 1,)
        and start[0] == 0
        and (np.diff(start) > 0).all()
        and arrays["X"].shape == (start[-1], 3 * len(ORDER))
        and len(arrays["train"]) == len(arrays["rec"]) == n
        and arrays["y"].min(initial=0) >= 0
        and arrays["y"].max(initial=-1) < len(arrays["classes"])
        and usable(arrays["X"]).all()
    )
    if not sound:
        raise DataError(f"{where}: its arrays do not fit together. Fetch it again")
    return arrays


def read_npz(path: Path, name: str, index: int) -> Iterator[Take]:
    """The take of one sequence of the npz. Raises `DataError`."""
    data = load(path, name)
    x = data["X"][data["start"][index] : data["start"][index + 1], : 2 * len(ORDER)].astype(np.float64)
    x = x.reshape(len(x), 2, len(ORDER)).transpose(0, 2, 1)
    action, record = str(data["classes"][data["y"][index]]), str(data["rec"][index])
    yield take(record, action, "train" if data["train"][index] == 1 else "val", x, aspect_of(x))


def read_labels(path: Path, name: str) -> Iterator[Take]:
    """The take of one of the publisher's files. Raises `DataError` naming it."""
    with Tree.open(path, (name,)) as tree:
        ((_, found),) = tree.match(LABELS)
        x = np.stack([read_mat(tree, name, axis) for axis in "xy"], -1)
        dimensions, train = (read_mat(tree, name, field).ravel() for field in ("dimensions", "train"))
        if x.ndim != 3 or x.shape[1] != len(ORDER) or len(dimensions) < 2 or not (dimensions[:2] > 0).all():
            raise DataError(f"{tree.where(name)} does not hold 13 joints and the frame's size. Fetch it again")
        action = str(mat_variable(tree, name, "action").squeeze())
    rows, columns = dimensions[:2]
    yield take(found[1], action, "train" if train[0] == 1 else "val", x / [columns, rows], columns / rows)


def take(record: str, action: str, split: Split, x: F64, aspect: float) -> Take:
    """A take of joints by the frame's width and height. Raises `DataError` naming the sequence."""
    if action not in NAMES:
        raise DataError(f"Penn Action {record}: unknown action {action[:30]!r}")
    try:
        moved = flat_motion(x, aspect)
    except DataError as error:
        raise DataError(f"Penn Action {record}: {error}") from None
    return Take(f"penn_action/{record}", "penn_action", NAMES[action], record, split=split, motion=moved)


def tasks(path: Path) -> Iterator[Task]:
    """One a sequence."""
    with Tree.open(path) as tree:
        for name, _ in tree.match(NPZ):
            for index, record in enumerate(load(path, name)["rec"]):
                yield Task(f"penn_action/{record}", read_npz, (path, name, index))
        for name, found in tree.match(LABELS):
            yield Task(f"penn_action/{found[1]}", read_labels, (path, name))


def find(root: Path) -> Path | None:
    """The archive or folder of joints under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="penn_action",
    title="Penn Action, 2-D joints",
    license="research use",
    open_license=False,
    citation="W. Zhang, M. Zhu, K. Derpanis. From Actemes to Action: A Strongly-Supervised Representation for Detailed "
    "Action Understanding. ICCV 2013.",
    home="http://dreamdragon.github.io/PennAction/",
    find=find,
    tasks=tasks,
)
