"""Biovision's BVH: parsing and forward kinematics.

Format: M. Meredith, S. Maddock, Motion Capture File Formats Explained (University of Sheffield, CS-01-11, 2001). A
joint's position is its OFFSET in its parent's frame plus its position channels; its rotation channels, in degrees, turn
about its own axes in the order listed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from mujo_edge.core import F64, DataError
from training.corpora.files import usable


@dataclass(frozen=True, slots=True)
class Joint:
    """`offset` (3,) in the file's unit; `moves` and `turns` are (column of the motion, axis "XYZ") in file order."""

    name: str
    parent: int
    offset: F64
    moves: tuple[tuple[int, str], ...]
    turns: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """Joints, parents first, and their channel values (n, channels) at `rate_hz`."""

    joints: tuple[Joint, ...]
    values: F64
    rate_hz: float


def parse(text: str) -> Capture:
    """Parse a BVH file. Raises `DataError` (without the file's name) if it is cut off or malformed."""
    head, _, motion = text.partition("MOTION")
    try:
        joints = hierarchy(head.split())
        frames, time, numbers = motion.strip().split("\n", 2)
        n, frame_s = int(frames.split(":")[1]), float(time.split(":")[1])
        values = np.array(numbers.split(), np.float64).reshape(n, -1)
    except (ValueError, IndexError) as error:
        raise DataError(f"not a complete BVH file ({str(error)[:80]}). Fetch it again") from None
    channels = sum(len(joint.moves) + len(joint.turns) for joint in joints)
    if values.shape[1] != channels or not n or not frame_s > 0 or not usable(values).all():
        raise DataError(f"its motion is not {channels} finite numbers per frame: the file is damaged. Fetch it again")
    return Capture(joints, values, 1 / frame_s)


def hierarchy(words: list[str]) -> tuple[Joint, ...]:
    """The joints in the words before MOTION, without end sites. Raises `ValueError` or `IndexError`."""
    joints: list[Joint] = []
    open_joints: list[int] = []
    at, column = 0, 0
    while at < len(words):
        match words[at]:
            case "ROOT" | "JOINT":
                name, parent, offset = words[at + 1], open_joints[-1] if open_joints else -1, words[at + 4 : at + 7]
                if words[at + 2] != "{" or words[at + 3] != "OFFSET" or words[at + 7] != "CHANNELS":
                    raise ValueError(f"joint {name[:30]} has no offset and channels")
                count = int(words[at + 8])
                listed = [(column + i, word) for i, word in enumerate(words[at + 9 : at + 9 + count])]
                moves, turns = (
                    tuple((i, word[0].upper()) for i, word in listed if word[1:] == kind)
                    for kind in ("position", "rotation")
                )
                if len(moves) + len(turns) != count or not {axis for _, axis in (*moves, *turns)} <= set("XYZ"):
                    raise ValueError(f"joint {name[:30]} has unknown channels")
                open_joints.append(len(joints))
                joints.append(Joint(name, parent, np.array(offset, np.float64), moves, turns))
                at, column = at + 9 + count, column + count
            case "End":
                at = words.index("}", at) + 1
            case "}":
                open_joints.pop()
                at += 1
            case "HIERARCHY":
                at += 1
            case other:
                raise ValueError(f"unexpected {other[:30]!r}")
    if open_joints or not joints:
        raise ValueError("the hierarchy is not closed")
    return tuple(joints)


def positions(capture: Capture, names: Collection[str]) -> dict[str, F64]:
    """Name -> position (n, 3) of the named joints in world axes and the file's unit.

    Raises `DataError` for a name that the skeleton lacks.
    """
    if missing := sorted(set(names) - {joint.name for joint in capture.joints}):
        raise DataError(f"the skeleton lacks {', '.join(missing)}: it is another body model")
    needed: set[int] = set()
    for index, joint in reversed(list(enumerate(capture.joints))):
        if joint.name in names or index in needed:
            needed |= {index, joint.parent}
    turns: dict[int, Rotation] = {}
    places: dict[int, F64] = {-1: np.zeros((len(capture.values), 3))}
    for index in sorted(needed - {-1}):
        joint = capture.joints[index]
        local = np.tile(joint.offset, (len(capture.values), 1))
        for column, axis in joint.moves:
            local[:, "XYZ".index(axis)] += capture.values[:, column]
        above = turns.get(joint.parent)
        places[index] = places[joint.parent] + (above.apply(local) if above else local)
        if joint.turns:
            columns, axes = zip(*joint.turns, strict=True)
            own = Rotation.from_euler("".join(axes), capture.values[:, columns], degrees=True)
            turns[index] = above * own if above else own
        elif above:
            turns[index] = above
    return {joint.name: places[i] for i, joint in enumerate(capture.joints) if joint.name in names}
