"""CMU motion capture as BVH on one avatar at 60 Hz, with written captions (mocap.cs.cmu.edu).

Layout: `{subject}_{trial}.bvh`, three and two digits, in centimeters; `captions.csv` with columns bvh,
start_frame_20hz, end_frame_20hz, caption_start_s, caption_end_s, caption. The frames (20 Hz) are the part of a file
that a caption describes; where the times are not both 0, it describes only that section of the part, in seconds from
its start. The avatar is Character Creator's (joints `CC_Base_...`). In some files its root lies on the floor and z is
up, in others y is up: the axis along which heads are above ankles decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mujo_edge.core import F64, DataError
from training.corpora.files import Tree, locate, read_csv
from training.fimad.clip import Motion, Source, Take, Task
from training.fimad.skeletons.bvh import Capture, parse, positions
from training.fimad.skeletons.canonical import motion, sided, z_up

MARKER = r"((\d{3})_(\d{2}))\.bvh"
CAPTIONS = r"captions\.csv"
COLUMNS = {
    "bvh": str,
    "start_frame_20hz": float,
    "end_frame_20hz": float,
    "caption_start_s": float,
    "caption_end_s": float,
    "caption": str,
}
CAPTION_HZ = 20.0
CENTIMETER_M = 0.01
AVATAR = sided(
    "L",
    "R",
    {
        "shoulder": "CC_Base_{}_Upperarm",
        "elbow": "CC_Base_{}_Forearm",
        "wrist": "CC_Base_{}_Hand",
        "hand": "CC_Base_{}_Mid1",
        "hip": "CC_Base_{}_Thigh",
        "knee": "CC_Base_{}_Calf",
        "ankle": "CC_Base_{}_Foot",
        "foot": "CC_Base_{}_ToeBase",
    },
)
"""Canonical joint -> joint of the avatar."""
TRUNK = ("CC_Base_Waist", "CC_Base_Spine01", "CC_Base_Spine02")
COLLAR = ("CC_Base_L_Clavicle", "CC_Base_R_Clavicle")
"""Joints whose midpoint is the base of the neck; the avatar's own neck joint is 6 cm higher."""
SKULL = ("CC_Base_Head", "CC_Base_L_Eye", "CC_Base_R_Eye")
TITLES = (
    (r"001_01", "jump forward and turn around"),
    (r"001_\d+", "climb on playground equipment"),
    (r"002_0[12]|005_01|006_01|007_\d+", "walk"),
    (r"002_03", "jog"),
    (r"002_04", "jump and balance"),
    (r"002_05", "punch"),
    (r"002_06", "bend over, scoop up and lift the arm"),
    (r"002_0[789]", "swordplay"),
    (r"002_10", "wash oneself"),
    (r"003_\d+", "walk on uneven terrain"),
    (r"005_\d+", "modern dance"),
    (r"006_(?:0[2-9]|1[0-2])", "dribble a basketball"),
    (r"006_1[3-5]", "dribble and shoot a basketball"),
)
"""(pattern of file names, title), after the index of mocap.cs.cmu.edu; all dances have one title."""
Part = tuple[float, float]
"""Start and stop of a part of a file, in seconds."""


def read(path: Path, name: str, parts: tuple[tuple[Part, tuple[str, ...]], ...]) -> Iterator[Take]:
    """One take for each captioned part of a file; `parts` are (part, captions). Raises `DataError` naming the file."""
    with Tree.open(path, (name,)) as tree:
        ((_, matched),) = tree.match(MARKER)
        try:
            capture = parse(tree.read(name).decode("latin-1"))
            whole = avatar_motion(capture)
        except DataError as error:
            raise DataError(f"{tree.where(name)}: {error}") from None
    for (start_s, stop_s), captions in parts:
        x = whole.x[round(start_s * whole.rate_hz) : round(min(stop_s, 1e6) * whole.rate_hz)]
        if len(x) < whole.rate_hz / 2:
            raise DataError(f"{tree.where(name)}: captions.csv has a part at {start_s:g} s, after the end of the file")
        yield Take(
            id=f"cmu_mocap/{matched[1]}_{round(start_s * CAPTION_HZ):04d}_{len(x)}",
            corpus="cmu_mocap",
            name=title(matched[1]) or captions[0].rstrip("."),
            subject=matched[2],
            descriptions=captions,
            motion=Motion(x, whole.rate_hz),
        )


def avatar_motion(capture: Capture) -> Motion:
    """Joints of a BVH file -> `Motion`. Raises `DataError` for another body model."""
    at = positions(capture, {*AVATAR.values(), *TRUNK, *COLLAR, *SKULL})
    at = {name: x * CENTIMETER_M for name, x in at.items()}
    feet = (at[AVATAR["left_ankle"]] + at[AVATAR["right_ankle"]]) / 2
    if np.argmax(np.median(at[SKULL[0]] - feet, axis=0)) == 1:
        at = {name: z_up(x) for name, x in at.items()}
    joints = {joint: at[name] for joint, name in AVATAR.items()}
    joints["neck"] = (at[COLLAR[0]] + at[COLLAR[1]]) / 2
    joints["head"] = middle_of_skull(at)
    return motion(joints, capture.rate_hz, trunk=[at[name] for name in TRUNK])


def middle_of_skull(at: Mapping[str, F64]) -> F64:
    """Halfway between the base of the skull and the middle of the eyes."""
    base, left, right = (at[name] for name in SKULL)
    return base / 2 + (left + right) / 4


def title(clip: str) -> str | None:
    """Title of a file such as "001_01"; None if it is not in `TITLES`."""
    return next((words for pattern, words in TITLES if re.fullmatch(pattern, clip)), None)


def captions_of(path: Path) -> dict[str, dict[Part, list[str]]]:
    """File name -> part -> sentences. Raises `DataError` for a damaged table."""
    captions: dict[str, dict[Part, list[str]]] = {}
    with Tree.open(path) as tree:
        for name, _ in tree.match(CAPTIONS):
            table = read_csv(tree, name, COLUMNS)
            for bvh, start, stop, from_s, to_s, caption in zip(*(table[column] for column in COLUMNS), strict=True):
                part = (start / CAPTION_HZ, stop / CAPTION_HZ)
                if to_s > from_s >= 0:
                    part = (part[0] + from_s, min(part[1], part[0] + to_s))
                sentence = str(caption).strip().rstrip(".")
                captions.setdefault(str(bvh), {}).setdefault(part, []).append(f"{sentence[:1].upper()}{sentence[1:]}.")
    return captions


def tasks(path: Path) -> Iterator[Task]:
    """One task per file: its captioned parts, or the whole file if it has a title but no caption."""
    where = locate(path.parent, CAPTIONS)
    captions = captions_of(where) if where else {}
    with Tree.open(path) as tree:
        for name, matched in tree.match(MARKER):
            parts = captions.get(f"{matched[1]}.bvh") or ({(0.0, np.inf): []} if title(matched[1]) else {})
            listed = tuple((part, tuple(sentences)) for part, sentences in parts.items())
            if listed:
                yield Task(f"cmu_mocap/{matched[1]}", read, (path, name, listed))


def find(root: Path) -> Path | None:
    """The archive or folder of BVH files under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="cmu_mocap",
    title="CMU motion capture with captions",
    license="CMU motion capture: free use, no resale; captions MIT",
    open_license=False,
    citation="Carnegie Mellon University Graphics Lab Motion Capture Database, funded by NSF EIA-0196217.",
    home="http://mocap.cs.cmu.edu",
    find=find,
    tasks=tasks,
)
