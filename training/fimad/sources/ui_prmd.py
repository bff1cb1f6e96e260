"""UI-PRMD's Kinect v2 recordings: ten rehabilitation exercises, ten people, ten repetitions each at 30 Hz (Vakanski,
Jun, Paul, Baker. A Data Set of Human Body Movements for Physical Rehabilitation Exercises. Data 3(1), 2018).

Layout: `Kinect/Positions/mMM_sSS_eEE_positions.txt[.gz]` and `Kinect/Angles/..._angles.txt[.gz]`, one row per frame,
22 x 3 comma-separated numbers: centimeters and degrees. Each joint is in its parent's frame, the waist in the sensor's:
x to the person's left, y up, z forward to the sensor. The paper calls the angles a "YXZ triplet": rotations about fixed
axes in that order. Only in this order do feet stand still: ankles move by 3 cm (standard deviation) in deep squats, by
17 cm or more in any other order, including that of the publisher's MATLAB example (X, Y, Z).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mujo_edge.core import F64, DataError
from training.corpora.files import Tree, locate, usable
from training.fimad.clip import Motion, Source, Take, Task
from training.fimad.skeletons.canonical import motion, sided, z_up

MARKER = r"Kinect/Positions/(m(\d+)_s(\d+)_e\d+)_positions\.txt(\.gz)?"
RATE_HZ = 30.0
CENTIMETER_M = 0.01
ORDER = "yxz"
ARM, LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot")
NAMES = (
    *("waist", "spine", "chest", "neck", "skull", "head"),
    *(f"{side}_{joint}" for limb in (ARM, LEG) for side in ("left", "right") for joint in limb),
)
"""Joints in the files' order: each is the start of the segment named there (upper arm, forearm). The "head tip" is
21 cm above the neck: the middle of the head, as in Kinect's own skeleton."""
PARENTS = (-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)
LIMB_JOINTS = sided("left", "right", {joint: f"{{}}_{joint}" for joint in (*ARM[1:], *LEG)})
EXERCISES = (
    ("deep squat", "A person squats deeply with both arms raised."),
    ("hurdle step", "A person steps over a hurdle and back while standing on one leg."),
    ("inline lunge", "A person lunges with both feet on one line."),
    ("side lunge", "A person lunges to the side."),
    ("sit to stand", "A person stands up from a chair and sits down again."),
    ("standing straight leg raise", "A person stands and raises one straight leg."),
    ("shoulder abduction", "A person stands and raises one straight arm sideways."),
    ("shoulder extension", "A person stands and moves one straight arm backwards."),
    ("shoulder rotation", "A person stands and turns one bent arm in and out at the shoulder."),
    ("shoulder scaption", "A person stands and raises one straight arm between front and side."),
)
"""Title and sentence of m01 to m10, after table 1 of the paper."""


def read(path: Path, positions: str, angles: str) -> Iterator[Take]:
    """The take of one repetition. Raises `DataError` naming the file."""
    with Tree.open(path, (positions, angles)) as tree:
        ((_, matched),) = tree.match(MARKER)
        episode, exercise, subject = matched[1], int(matched[2]), int(matched[3])
        if not 1 <= exercise <= len(EXERCISES):
            raise DataError(f"{tree.where(positions)}: UI-PRMD has movements m01 to m10. Move this file out")
        tables = [table(tree, name) for name in (positions, angles)]
        if len(tables[0]) != len(tables[1]):
            raise DataError(f"{tree.where(angles)} does not have as many frames as the positions. Fetch both again")
        try:
            moved = kinect_motion(*tables)
        except DataError as error:
            raise DataError(f"{tree.where(positions)}: {error}") from None
    title, sentence = EXERCISES[exercise - 1]
    yield Take(f"ui_prmd/{episode}", "ui_prmd", title, str(subject), (sentence,), motion=moved)


def table(tree: Tree, name: str) -> F64:
    """(n, 22, 3) of one file. Raises `DataError` naming it."""
    where, content = tree.where(name), tree.read(name)
    try:
        text = gzip.decompress(content) if name.endswith(".gz") else content
        rows = np.array([line.split(b",") for line in text.split(b"\n") if line.strip()], np.float64)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{where} is cut off or malformed ({str(error)[:80]}). Fetch the file again") from None
    if rows.ndim != 2 or rows.shape[1] != 3 * len(NAMES) or not usable(rows).all():
        raise DataError(f"{where} does not hold {3 * len(NAMES)} finite numbers per row. Fetch the file again")
    return rows.reshape(-1, len(NAMES), 3)


def kinect_motion(positions: F64, angles: F64) -> Motion:
    """Positions (n, 22, 3) cm and angles (n, 22, 3) degrees in the parents' frames -> `Motion` without hands."""
    world = np.empty_like(positions)
    turns: list[Rotation] = []
    for joint, parent in enumerate(PARENTS):
        own = Rotation.from_euler(ORDER, angles[:, joint, [1, 0, 2]], degrees=True)
        turns.append(turns[parent] * own if parent >= 0 else own)
        here = positions[:, joint]
        world[:, joint] = world[:, parent] + turns[parent].apply(here) if parent >= 0 else here
    at = dict(zip(NAMES, z_up(world * CENTIMETER_M).transpose(1, 0, 2), strict=True))
    joints = {joint: at[name] for joint, name in LIMB_JOINTS.items()} | {name: at[name] for name in ("neck", "head")}
    return motion(joints, RATE_HZ, trunk=(at["spine"],))


def tasks(path: Path) -> Iterator[Task]:
    """One task per repetition; it fails when read if the angles are missing."""
    with Tree.open(path) as tree:
        for name, matched in tree.match(MARKER):
            angles = name.replace("Kinect/Positions/", "Kinect/Angles/").replace("_positions.", "_angles.")
            yield Task(f"ui_prmd/{matched[1]}", read, (path, name, angles))


def find(root: Path) -> Path | None:
    """The archive or folder of the Kinect files under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="ui_prmd",
    title="UI-PRMD rehabilitation exercises (Kinect)",
    license="public domain (ODC PDDL)",
    open_license=True,
    citation="A. Vakanski, H. Jun, D. Paul, R. Baker. A Data Set of Human Body Movements for Physical Rehabilitation "
    "Exercises. Data 3(1), 2018.",
    home="https://webpages.uidaho.edu/ui-prmd/",
    find=find,
    tasks=tasks,
)
