"""The types that sources of clips and the builder share: canonical skeleton, `Clip`, `Take`, `Task` and `Source`."""

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
"""The canonical joints: those of Kinect v1 (Microsoft, `NUI_SKELETON_POSITION_INDEX`), which can be derived from every
other source. `pelvis` is the middle of the hips, `spine` halfway from it to `neck` (between the collar bones), `head`
the middle of the skull, `hand` the knuckles, `foot` the base of the toes."""

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

Split = Literal["train", "val"]
Modality = Literal["imu", "pose", "video", "text"]
MODALITIES: tuple[Modality, ...] = ("imu", "pose", "video", "text")

POSE_RATE_HZ, IMU_RATE_HZ, VIDEO_RATE_HZ = 25.0, 50.0, 4.0
"""Rates of a clip's arrays in a shard."""

DEFAULT_TOWER = "efficientnet-lite0"
"""Image tower that comes with its weights (`training.fimad.towers`)."""


@dataclass(frozen=True, slots=True)
class Motion:
    """A person's joints over time. `x` (n, 20, 3) float32, meters, world frame: right-handed, z up (gravity along -z).

    Unknown joints are NaN. `flat` marks 2-D joints: x to the right, z up, y NaN, scaled to a person 1.7 m tall.
    """

    x: F32
    rate_hz: float
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of one activity by one person; every modality may be absent (None, or no texts).

    `id` is unique ("hdm05/HDM_bd_kickRFront1Reps_001"); `title` is the normalized name of the activity: clips of one
    title are not each other's negatives. `subject` is the person, or the video's id; no subject is in both train and
    val. `split` is None between reading and `build.splits`, if the publisher has none. `texts` are sentences that
    describe the activity, the first one is the title. `pose` (n, 20, 3) float32 at POSE_RATE_HZ and `flat` are as in
    `Motion`; `imu` maps placement to (m, 6) float32 at IMU_RATE_HZ, m/s2 with gravity (specific force, +9.81 on the
    axis that points up at rest) and rad/s, virtual and ideal (no noise, mounted along the segment); `real_imu` is the
    same from a device that the person wore; `video` (k, F) float32 are frame features at VIDEO_RATE_HZ (two photos:
    k = 2) by the image tower `tower`. All arrays of a clip begin at the same time.
    """

    id: str
    corpus: str
    title: str
    subject: str
    split: Split | None = None
    texts: tuple[str, ...] = ()
    pose: F32 | None = None
    flat: bool = False
    imu: Mapping[str, F32] = field(default_factory=dict)
    real_imu: Mapping[str, F32] = field(default_factory=dict)
    video: F32 | None = None
    tower: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        """Raises `DataError` for an array of a wrong shape, or with non-finite IMU or video values."""
        if self.pose is not None and self.pose.shape[1:] != (len(JOINTS), 3):
            raise DataError(f"{self.id}: pose has shape {self.pose.shape}, expected (n, {len(JOINTS)}, 3)")
        for placement, x in (*self.imu.items(), *self.real_imu.items()):
            if x.ndim != 2 or x.shape[1] != 6 or not np.isfinite(x).all():
                raise DataError(f"{self.id}: the IMU at {placement} is not (n, 6) finite numbers")
        if self.video is not None and (self.video.ndim != 2 or not np.isfinite(self.video).all()):
            raise DataError(f"{self.id}: video features are not (n, F) finite numbers")

    @property
    def duration_s(self) -> float:
        """Duration of the longest modality; 0 for text alone."""
        spans = [0.0]
        if self.pose is not None:
            spans.append(len(self.pose) / POSE_RATE_HZ)
        spans += [len(x) / IMU_RATE_HZ for x in (*self.imu.values(), *self.real_imu.values())]
        if self.video is not None:
            spans.append(len(self.video) / VIDEO_RATE_HZ)
        return max(spans)

    def has(self, modality: Modality) -> bool:
        """Whether the clip has a modality; `imu` is virtual or real."""
        present = {
            "imu": bool(self.imu or self.real_imu),
            "pose": self.pose is not None,
            "video": self.video is not None,
            "text": bool(self.texts),
        }
        return present[modality]


@dataclass(frozen=True, slots=True)
class Take:
    """One clip as read from a source, before resampling, virtual IMU, texts and split: fields as in `Clip`.

    `name` is the activity in the source's own words, `descriptions` are whole sentences if the source has any. `split`
    is the publisher's, None if there is none.
    """

    id: str
    corpus: str
    name: str
    subject: str
    descriptions: tuple[str, ...] = ()
    split: Split | None = None
    motion: Motion | None = None
    real_imu: Mapping[str, F32] = field(default_factory=dict)
    video: F32 | None = None
    tower: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work, read independently in another process: `read(*arguments)` yields its takes.

    `read` is a module-level function, `arguments` are plain values and paths, so that both can be pickled. It raises
    `DataError` for unreadable data, which is logged as one line and does not end the build.
    """

    id: str
    read: Callable[..., Iterable[Take]]
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of clips. `find(root)` is its path under the data folder or None; `tasks(path)` are its tasks.

    `open_license` is whether the publisher states an open license (`licenses = "permissive"` keeps those).
    `shares_people_with` names evaluation corpora whose data it holds: it is left out of pretraining for their scores.
    `notes(path)` are lines for the user on data that is missing or cannot be used.
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
