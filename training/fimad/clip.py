"""What every source of clips becomes: a canonical skeleton, and `Clip`s whose modalities may be absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mujo_edge.core import F32, DataError

JOINTS = (
    "pelvis",
    "spine",
    "neck",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_hand",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_foot",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_foot",
)
"""The canonical joints: those of Kinect v1 (Microsoft, `NUI_SKELETON_POSITION_INDEX`), which every other source can
give. `pelvis` is the middle of the hips, `spine` half way from it to `neck` (between the collar bones), `head` the
middle of the skull, `hand` the knuckles, `foot` where the toes begin."""

BONES = (
    ("pelvis", "spine"),
    ("spine", "neck"),
    ("neck", "head"),
    ("neck", "left_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_wrist", "left_hand"),
    ("neck", "right_shoulder"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("right_wrist", "right_hand"),
    ("pelvis", "left_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("left_ankle", "left_foot"),
    ("pelvis", "right_hip"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("right_ankle", "right_foot"),
)
"""Parent and child of every segment."""

PLACEMENTS = (
    "left_wrist",
    "right_wrist",
    "left_ankle",
    "right_ankle",
    "left_thigh",
    "right_thigh",
    "chest",
    "hip",
)
"""Where a virtual IMU may sit; the thigh is the trouser pocket."""

Modality = Literal["imu", "pose", "video", "text"]
MODALITIES: tuple[Modality, ...] = ("imu", "pose", "video", "text")

POSE_RATE_HZ, IMU_RATE_HZ, VIDEO_RATE_HZ = 25.0, 50.0, 4.0
"""Rates of a clip's arrays in a shard."""


@dataclass(frozen=True, slots=True)
class Motion:
    """A person's joints over time. `x` (n, 20, 3) float32, meters, world frame: right-handed, z up (gravity along -z).

    NaN where a joint is not known; `flat` says that only x and z were seen (2-D joints: x to the right, z up,
    y is NaN, length unit is the person's height = 1.7 m).
    """

    x: F32
    rate_hz: float
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of one activity by one person; every modality may be absent (None, or no texts).

    `id` is unique ("hdm05/HDM_bd_kickRFront1Reps_001"); `title` the normalized name of the activity: clips of one
    title are not each other's negatives. `subject` is who moves, or the video's id: never split between train and
    val. `texts` are sentences that say what is done, the first one the title. `pose` (n, 20, 3) float32 at
    POSE_RATE_HZ as `Motion.x`, `flat` as there; `imu` placement -> (m, 6) float32 at IMU_RATE_HZ, m/s2 with gravity
    (specific force, +9.81 on the axis that points up at rest) and rad/s, virtual and ideal (no noise, mounted along
    the segment); `real_imu` the same from a device that the person wore; `video` (k, F) float32 frame features at
    VIDEO_RATE_HZ (two photos: k = 2) by the image tower `tower`. All arrays of a clip begin at the same time.
    """

    id: str
    corpus: str
    title: str
    subject: str
    split: Literal["train", "val"]
    texts: tuple[str, ...] = ()
    pose: F32 | None = None
    flat: bool = False
    imu: Mapping[str, F32] = field(default_factory=dict)
    real_imu: Mapping[str, F32] = field(default_factory=dict)
    video: F32 | None = None
    tower: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        """Raises `DataError` for an array of a wrong shape, or with values that are not finite where they must be."""
        if self.pose is not None and self.pose.shape[1:] != (len(JOINTS), 3):
            raise DataError(f"{self.id}: pose has shape {self.pose.shape}, expected (n, {len(JOINTS)}, 3)")
        for placement, x in (*self.imu.items(), *self.real_imu.items()):
            if x.ndim != 2 or x.shape[1] != 6 or not np.isfinite(x).all():
                raise DataError(f"{self.id}: the IMU at {placement} is not (n, 6) finite numbers")
        if self.video is not None and (self.video.ndim != 2 or not np.isfinite(self.video).all()):
            raise DataError(f"{self.id}: video features are not (n, F) finite numbers")

    @property
    def duration_s(self) -> float:
        """The longest of its modalities; 0 for text alone."""
        spans = [0.0]
        if self.pose is not None:
            spans.append(len(self.pose) / POSE_RATE_HZ)
        spans += [len(x) / IMU_RATE_HZ for x in (*self.imu.values(), *self.real_imu.values())]
        if self.video is not None:
            spans.append(len(self.video) / VIDEO_RATE_HZ)
        return max(spans)

    def has(self, modality: Modality) -> bool:
        """Whether the clip has it; `imu` is virtual or real."""
        present = {
            "imu": bool(self.imu or self.real_imu),
            "pose": self.pose is not None,
            "video": self.video is not None,
            "text": bool(self.texts),
        }
        return present[modality]


@dataclass(frozen=True, slots=True)
class Take:
    """One clip as a source gives it, before resampling, virtual IMU, texts and split: fields as in `Clip`.

    `name` is the title in the source's own words, `descriptions` whole sentences if the source has any. `split` is
    None where the publisher gives none.
    """

    id: str
    corpus: str
    name: str
    subject: str
    descriptions: tuple[str, ...] = ()
    split: Literal["train", "val"] | None = None
    motion: Motion | None = None
    real_imu: Mapping[str, F32] = field(default_factory=dict)
    video: F32 | None = None
    tower: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A part of a source that is read on its own, in another process: `read(*arguments)` gives its takes.

    `read` is a function of a module, `arguments` plain values and paths, so that both travel between machines.
    It raises `DataError` for what cannot be read; that costs one logged line, not the build.
    """

    id: str
    read: Callable[..., Iterable[Take]]
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of clips. `find(root)` says where it lies under the data folder, or None; `tasks(path)` its parts.

    `open_license` is whether the publisher states an open license (`licenses = "permissive"` keeps those).
    `shares_people_with` names evaluation corpora whose data it holds: it is left out of pretraining for their scores.
    `notes(path)` are lines for the user: what the publisher names and is not there, or cannot be used.
    """

    name: str
    title: str
    license: str
    open_license: bool
    citation: str
    home: str
    find: Callable[[Path], Path | None]
    tasks: Callable[[Path], Iterable[Task]]
    shares_people_with: tuple[str, ...] = ()
    notes: Callable[[Path], Iterable[str]] = lambda path: ()


DEFAULT_TOWER = "efficientnet-lite0"
