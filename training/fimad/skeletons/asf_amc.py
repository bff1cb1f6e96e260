"""Acclaim's ASF (skeleton) and AMC (motion): parsing, forward kinematics, and the joints of Vicon's body model.

Format: "Acclaim ASF/AMC" (M. Schafer, 1994; J. Lander, Working with Motion Capture File Formats, Game Developer,
January 1998). A bone has a rest direction in world axes, a length, and a frame `axis` for its angles: with C the
rotation of `axis` and M that of the angles, the bone's world rotation is its parent's times C M C^-1, and the bone ends
at its parent's end + rotation . direction . length. Angles turn about fixed axes in the order named in `axis`. Lengths
and root positions are in units of 1 / `length` inches (mocap.cs.cmu.edu, FAQ: 2.54 / 0.45 cm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mujo_edge.core import F64, DataError
from training.corpora.files import usable
from training.fimad.clip import Motion
from training.fimad.skeletons.canonical import motion, sided, z_up

INCH_M = 0.0254
ROOT = "root"
TURNS = ("rx", "ry", "rz")
RATE_HZ = 120.0
"""Vicon's rate in HDM05 and in most of CMU's files; the format has no field for it."""
JOINTS_AT_END = {
    "neck": "thorax",
    **sided(
        "l",
        "r",
        {
            "shoulder": "{}clavicle",
            "elbow": "{}humerus",
            "wrist": "{}wrist",
            "hand": "{}hand",
            "hip": "{}hipjoint",
            "knee": "{}femur",
            "ankle": "{}tibia",
            "foot": "{}foot",
        },
    ),
}
"""Canonical joint -> the bone that ends there, in the model of Vicon's BodyBuilder (HDM05, CMU)."""
TRUNK = (ROOT, "lowerback", "upperback")


@dataclass(frozen=True, slots=True)
class Bone:
    """`rest` (3,) is direction times length in m, `axis` the rotation C, `order` the order of its angles ("xyz")."""

    parent: str
    rest: F64
    axis: Rotation
    order: str
    dof: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """`bones` by name, parents before children; `meters` per unit of length; root with its degrees of freedom."""

    bones: Mapping[str, Bone]
    meters: float
    root_dof: tuple[str, ...]
    root: Bone


def parse_asf(text: str) -> Skeleton:
    """Parse an ASF file. Raises `DataError` (without the file's name) if anything is missing or malformed."""
    try:
        sections = split_sections(text)
        units = dict(line.split()[:2] for line in sections["units"])
        meters = INCH_M / float(units["length"])
        degrees = units.get("angle", "deg").lower().startswith("deg")
        head = {line.split()[0].lower(): line.split()[1:] for line in sections["root"]}
        blocks = [fields(block) for block in "\n".join(sections["bonedata"]).split("begin")[1:]]
        by_name = {block["name"][0]: block for block in blocks}
        lines = [line.split() for line in sections["hierarchy"]]
        parents = [(child, words[0]) for words in lines for child in words[1:]]
        root_dof = tuple(word.lower() for word in head["order"])
        root = Bone("", np.zeros(3), turned(head["orientation"], head["axis"][0], degrees), head["axis"][0].lower(), ())
        bones = {name: bone(by_name[name], parent, meters, degrees) for name, parent in parents}
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(f"not a complete ASF skeleton ({error!r}). Fetch the file again") from None
    if set(root_dof) != {"tx", "ty", "tz", *TURNS} or not all(set(b.dof) <= set(TURNS) for b in bones.values()):
        raise DataError("an ASF skeleton with sliding bones: only rotating joints are supported")
    seen = {ROOT}
    for name, part in bones.items():
        if part.parent not in seen or name in seen or not usable(part.rest).all():
            raise DataError(f"bone {name} of the ASF skeleton has no parent, occurs twice or is not finite")
        seen.add(name)
    return Skeleton(bones, meters, root_dof, root)


def split_sections(text: str) -> dict[str, list[str]]:
    """Keyword after ":" -> lines of its section, stripped, without comments."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith(":"):
            lines = sections.setdefault(line[1:].split()[0], [])
        elif line and line != "end":
            lines.append(line)
    return sections


def fields(block: str) -> dict[str, list[str]]:
    """First word of each line of a bone -> the other words."""
    return {words[0]: words[1:] for line in block.splitlines() if (words := line.split())}


def bone(block: Mapping[str, list[str]], parent: str, meters: float, degrees: bool) -> Bone:
    """A bone of `:bonedata`."""
    *angles, order = block["axis"]
    rest = np.array(block["direction"], float) * float(block["length"][0]) * meters
    if rest.shape != (3,):
        raise ValueError("direction")
    return Bone(parent, rest, turned(angles, order, degrees), order.lower(), tuple(block.get("dof", ())))


def turned(angles: list[str], order: str, degrees: bool) -> Rotation:
    """Rotation by angles about fixed axes, in the order named."""
    return Rotation.from_euler(order.lower(), np.array(angles, float), degrees=degrees)


def parse_amc(text: str, skeleton: Skeleton) -> dict[str, F64]:
    """Parse an AMC file: bone (or root) -> values (n, dof); lengths in the file's unit, angles in radians.

    Raises `DataError` for a file that is cut off, names bones of another skeleton or holds no numbers.
    """
    body = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#:"]
    words = np.array(" ".join(body).split())
    dof = {ROOT: skeleton.root_dof} | {name: part.dof for name, part in skeleton.bones.items()}
    frames = np.flatnonzero(words == "2")
    head = words[: next((int(i) for i in frames if i + 1 < len(words) and words[i + 1] == ROOT), len(words))]
    columns, at = {}, 1
    while at < len(head):
        name = str(head[at])
        if name not in dof or name in columns:
            raise DataError(
                f"bone {name[:30]!r} is not of this skeleton or occurs twice. Is the file another person's or cut off?"
            )
        columns[name] = slice(at + 1, at + 1 + len(dof[name]))
        at = columns[name].stop
    expected = {name for name, values in dof.items() if values}
    if not len(head) or len(words) % len(head) or at != len(head) or set(columns) != expected:
        raise DataError("the motion is cut off or malformed. Fetch the file again")
    table = words.reshape(-1, len(head))
    names = [columns[name].start - 1 for name in columns]
    if (table[:, names] != head[names]).any():
        raise DataError("not all frames name the same bones: the file is damaged. Fetch it again")
    turn = np.pi / 180 if ":DEGREES" in text[:2000].upper() else 1.0
    try:
        values = {name: table[:, column].astype(np.float64) for name, column in columns.items()}
    except ValueError as error:
        raise DataError(f"the motion holds no number where one is expected ({error}). Fetch the file again") from None
    if not all(usable(x).all() for x in values.values()):
        raise DataError("the motion holds values that are not finite. Fetch the file again")
    unit = {name: np.array([turn if d in TURNS else 1.0 for d in dof[name]]) for name in values}
    return {name: x * unit[name] for name, x in values.items()}


def forward(skeleton: Skeleton, values: Mapping[str, F64]) -> dict[str, F64]:
    """Name -> end (n, 3) of each bone, and the root's position, in m and the file's world axes."""
    order = [skeleton.root_dof.index(axis) for axis in ("tx", "ty", "tz")]
    ends = {ROOT: values[ROOT][:, order] * skeleton.meters}
    turns = {ROOT: own_turn(skeleton.root, skeleton.root_dof, values[ROOT])}
    for name, part in skeleton.bones.items():
        world = turns[part.parent]
        if name in values and part.dof:
            world = world * own_turn(part, part.dof, values[name])
        turns[name] = world
        ends[name] = ends[part.parent] + world.apply(part.rest)
    return ends


def own_turn(part: Bone, dof: tuple[str, ...], values: F64) -> Rotation:
    """C M C^-1 of each frame."""
    angles = np.zeros((len(values), 3))
    for column, axis in enumerate(part.order):
        if f"r{axis}" in dof:
            angles[:, column] = values[:, dof.index(f"r{axis}")]
    return part.axis * Rotation.from_euler(part.order, angles) * part.axis.inv()


def amc_motion(asf: str, amc: str, rate_hz: float = RATE_HZ) -> Motion:
    """Contents of an ASF and an AMC file with Vicon's body model -> `Motion`. Raises `DataError` as the parsers do."""
    skeleton = parse_asf(asf)
    ends = forward(skeleton, parse_amc(amc, skeleton))
    if missing := sorted({*JOINTS_AT_END.values(), *TRUNK, "head"} - set(ends)):
        raise DataError(f"the skeleton lacks {', '.join(missing)}: it is not of Vicon's body model")
    joints = {joint: z_up(ends[name]) for joint, name in JOINTS_AT_END.items()}
    joints["head"] = z_up((ends["head"] + ends[skeleton.bones["head"].parent]) / 2)
    return motion(joints, rate_hz, trunk=[z_up(ends[name]) for name in TRUNK])
