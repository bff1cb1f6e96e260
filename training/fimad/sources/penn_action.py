"""Penn Action: 13 joints in 2-D of 2,326 video sequences of 15 actions (Zhang, Zhu, Derpanis. From Actemes to Action:
A Strongly-Supervised Representation for Detailed Action Understanding. ICCV 2013).

Layouts: the publisher's `Penn_Action/labels/NNNN.mat` (x, y (n, 13) pixels, visibility, action, train, dimensions:
rows, columns, frames), or all of them in one `penn_action.npz`: X (N, 39) x, y, visibility with x relative to the
frame's width and y to its height, start (sequences + 1,), y, classes, train, rec. Hidden joints have the annotators'
estimate; joints that could not be annotated are at the frame's corner.

What its README calls left is the person's right, so sides are exchanged here. Evidence: that side's wrist is the faster
one in 74 to 79 % of serves, pitches and forehands and strums the guitar in 97 %; it is on the left of the image in 96 %
or more of sequences filmed from the front (jumping jacks, rope skipping, guitars), on the right in bowling filmed from
behind.

The distance to the camera is unknown: persons are scaled to 1.7 m by the ratios of segments to stature (Drillis and
Contini 1966, in Winter 2009, figure 4.1). The npz lacks the size of the frames: it is inferred from the grid on which
the coordinates lie (in 4 of 5 sequences), otherwise 16:9, the most common ratio, is assumed. The frame rate varies and
is not stated: 30 Hz is assumed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.files import Tree, locate, mat_variable, read_mat, usable
from training.fimad.clip import JOINTS, Motion, Source, Split, Take, Task

NPZ = r"penn_action\.npz"
LABELS = r"Penn_Action/labels/(\d{4})\.mat"
MARKER = rf"(?:{NPZ}|{LABELS})"
RATE_HZ = 30.0
HEIGHT_M = 1.7
WIDE = 16 / 9
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
ORDER = ("head", *(f"{side}_{joint}" for joint in LIMBS for side in ("right", "left")))
"""Joints in the files' order; each pair begins with the person's right."""
SEGMENTS = (("shoulder", "hip", 0.288), ("hip", "knee", 0.245), ("knee", "ankle", 0.246), ("shoulder", "elbow", 0.186))
"""Two joints and their distance as a fraction of the stature."""
CORNER = 0.01
"""Relative coordinates below which a joint is at the corner, that is, unknown."""
MIN_KNOWN = 0.5
"""Minimum fraction of known joints over all frames of a sequence."""
SIZES = np.arange(160, 1300)
"""Candidate widths and heights of frames, in pixels."""
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


def flat_motion(x: F64, aspect: float) -> Motion:
    """Joints (n, 13, 2) relative to the frame's width and height -> flat `Motion`; neck, pelvis, spine are midpoints.

    Raises `DataError` if most joints are unknown or no segment has a length.
    """
    x = np.where((x < CORNER).all(2, keepdims=True), np.nan, x)
    if len(x) < 2 or np.isfinite(x).mean() < MIN_KNOWN:
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
    """Midpoint (n, 2) of left and right; where one is unknown, as in side views, the other one."""
    left, right = at[f"left_{joint}"], at[f"right_{joint}"]
    left, right = np.where(np.isnan(left), right, left), np.where(np.isnan(right), left, right)
    return (left + right) / 2


def stature(at: dict[str, F64]) -> float:
    """Height of the person in frame heights: median over segments, each at its 95th percentile, for foreshortening."""
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
    """The smallest size (pixels) on whose grid all relative coordinates (n,) lie, None if there is none."""
    values = np.unique(values[values > CORNER])
    parts = values[:, None] * SIZES
    on_grid = (np.abs(parts - np.rint(parts)) < 2e-3).all(0)
    return int(SIZES[np.argmax(on_grid)]) if on_grid.any() and len(values) else None


def aspect_of(x: F64) -> float:
    """Aspect ratio (width / height) of the frame of joints (n, 13, 2) in relative coordinates."""
    width, height = frame_size(x[..., 0].ravel()), frame_size(x[..., 1].ravel())
    return width / height if width and height else WIDE


@lru_cache(1)
def load(path: Path, name: str) -> dict[str, np.ndarray]:
    """Arrays of the npz, cached for the next sequence. Raises `DataError` if it is damaged."""
    with Tree.open(path, (name,)) as tree:
        where = tree.where(name)
        try:
            with np.load(BytesIO(tree.read(name)), allow_pickle=False) as data:
                arrays = {key: data[key] for key in ("X", "start", "y", "classes", "train", "rec")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{where} is not a complete Penn Action archive ({error}). Fetch it again") from None
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
        raise DataError(f"{where}: its arrays are inconsistent. Fetch it again")
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
        ((_, matched),) = tree.match(LABELS)
        x = np.stack([read_mat(tree, name, axis) for axis in "xy"], -1)
        dimensions, train = (read_mat(tree, name, field).ravel() for field in ("dimensions", "train"))
        if x.ndim != 3 or x.shape[1] != len(ORDER) or len(dimensions) < 2 or not (dimensions[:2] > 0).all():
            raise DataError(f"{tree.where(name)} does not hold 13 joints and the frame's size. Fetch it again")
        action = str(mat_variable(tree, name, "action").squeeze())
    rows, columns = dimensions[:2]
    yield take(matched[1], action, "train" if train[0] == 1 else "val", x / [columns, rows], columns / rows)


def take(record: str, action: str, split: Split, x: F64, aspect: float) -> Take:
    """The take of a sequence with joints in relative coordinates. Raises `DataError` naming the sequence."""
    if action not in NAMES:
        raise DataError(f"Penn Action {record}: unknown action {action[:30]!r}")
    try:
        moved = flat_motion(x, aspect)
    except DataError as error:
        raise DataError(f"Penn Action {record}: {error}") from None
    return Take(f"penn_action/{record}", "penn_action", NAMES[action], record, split=split, motion=moved)


def tasks(path: Path) -> Iterator[Task]:
    """One task per sequence."""
    with Tree.open(path) as tree:
        for name, _ in tree.match(NPZ):
            for index, record in enumerate(load(path, name)["rec"]):
                yield Task(f"penn_action/{record}", read_npz, (path, name, index))
        for name, matched in tree.match(LABELS):
            yield Task(f"penn_action/{matched[1]}", read_labels, (path, name))


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
