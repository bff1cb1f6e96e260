"""A pool of clips from which windows of 3 s are drawn, of the same stretch of time in every modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi

import numpy as np
import torch
from torch import Tensor

from mujo_edge.core import CHANNELS, DataError
from mujo_edge.signal import DEFAULT_INPUT, SHORTEST, InputSpec, channels_first, prepare
from training.fimad.clip import IMU_RATE_HZ, JOINTS, POSE_RATE_HZ, VIDEO_RATE_HZ, Clip
from training.learn.augment import AugmentConfig, augment
from training.learn.sensor_noise import SensorConfig, along_limb, sense
from training.models.sentence_embedding import embed_once

SHORTEST_S = SHORTEST / DEFAULT_INPUT.rate_hz
"""A shorter motion or IMU stream gives no window."""

IMU_PER_POSE = int(IMU_RATE_HZ / POSE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class DrawConfig:
    """Drawing and augmentation of windows from clips.

    A fraction `imu_share` of the draws has an IMU, if any clip has one. `sensor` adds sensor errors to a virtual IMU,
    then `imu` augments it; clips are never mirrored, since their other modalities are not. A skeleton is rotated about
    the vertical, scaled, and loses joints; 3-D skeletons lose their depth with `flatten_probability`.
    """

    imu_share: float = 0.75
    sensor: SensorConfig = field(default_factory=SensorConfig)
    imu: AugmentConfig = field(default_factory=lambda: AugmentConfig(mirror_probability=0.0))
    size: float = 0.1
    joint_noise_m: float = 0.01
    joint_drop_probability: float = 0.05
    flatten_probability: float = 0.1


@dataclass(frozen=True, slots=True)
class Bank:
    """Concatenated arrays of many owners: `x` (sum of n, ...), that of owner i in rows `start[i]:start[i + 1]`."""

    x: Tensor
    start: Tensor

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], empty: tuple[int, ...], dtype: type = np.float32) -> Bank:
        """Concatenate (n, ...) arrays; `empty` is the shape of one row."""
        joined = np.concatenate([np.zeros((0, *empty), dtype), *arrays])
        return cls(torch.from_numpy(joined), torch.tensor([0, *map(len, arrays)]).cumsum(0))

    @property
    def lengths(self) -> Tensor:
        """(owners,) number of rows of each owner."""
        return self.start.diff()

    def cut(self, owner: Tensor, begin: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Rows `begin` (N,) to `begin + length` of each owner (N,): values (N, length, ...), and (N, length) bool,
        False outside the array, where the nearest value is repeated. Every owner needs at least one row."""
        at = begin[:, None] + torch.arange(length)
        n = self.lengths[owner][:, None]
        return self.x[self.start[owner][:, None] + at.clamp(min=0).minimum(n - 1)], (at >= 0) & (at < n)

    def pick(self, owner: Tensor, generator: torch.Generator) -> Tensor:
        """(N,) index of a random row of each owner. Every owner needs at least one row."""
        return self.start[owner] + (torch.rand(len(owner), generator=generator) * self.lengths[owner]).long()


@dataclass(frozen=True, slots=True)
class Windows:
    """N windows. `inputs` holds, for each modality, the rows that have it, in order; `present` (N,) bool marks them.

    imu (n, 6, 1, 150) prepared; pose (n, 75, 20, 3) in m, NaN if unknown; video (n, 12, F), NaN for missing frames;
    text (n, 384).
    """

    inputs: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ClipPool:
    """N clips in memory.

    `y` (N,) indexes their `titles`, embedded as `title_vectors` (V, 384); `corpus` (N,) indexes `corpora`; `allowed`
    (corpora, V) bool marks the titles of each corpus; `weight` (N,) is the sampling weight.

    `streams.x[streams.start[i]:streams.start[i + 1]]` are the indices of clip i's IMU streams in `imu`, at
    `placements`, `virtual` (M,) bool or real, `along` (M, 3) the axis along the limb; `sentences` likewise its texts in
    `vectors` (S, 384).
    """

    spec: InputSpec
    ids: tuple[str, ...]
    corpora: tuple[str, ...]
    titles: tuple[str, ...]
    title_vectors: Tensor
    y: Tensor
    corpus: Tensor
    allowed: Tensor
    weight: Tensor
    pose: Bank
    imu: Bank
    streams: Bank
    placements: tuple[str, ...]
    virtual: Tensor
    along: Tensor
    video: Bank
    vectors: Tensor
    sentences: Bank

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, modality: str) -> Tensor:
        """(N,) bool: the clips that have the modality."""
        bank = {"imu": self.streams, "pose": self.pose, "video": self.video, "text": self.sentences}[modality]
        return bank.lengths > 0

    @property
    def shared(self) -> Tensor:
        """(N,) common length of IMU and pose of each clip, or else length of its video, in frames at the pose rate; 0
        for text only. The frame rate of the video is too coarse to cut the others by."""
        longest = torch.iinfo(torch.int64).max
        owner = torch.repeat_interleave(torch.arange(len(self)), self.streams.lengths)
        frames = torch.where(self.pose.lengths > 0, self.pose.lengths, longest)
        frames = frames.scatter_reduce(0, owner, self.imu.lengths[self.streams.x] // IMU_PER_POSE, "amin")
        return torch.where(frames < longest, frames, (self.video.lengths * (POSE_RATE_HZ / VIDEO_RATE_HZ)).long())

    def draw(self, n: int, config: DrawConfig, generator: torch.Generator) -> tuple[Tensor, Windows]:
        """(n,) clips by weight, and an augmented window of each, at a random time, placement and sentence."""
        weight = self.weight * imu_factor(self.weight, self.has("imu"), config.imu_share)
        clips = torch.multinomial(weight, n, replacement=n > len(weight), generator=generator)
        spare = self.shared[clips] - round(self.spec.window / self.spec.rate_hz * POSE_RATE_HZ)
        begin = torch.where(spare > 0, (torch.rand(n, generator=generator) * (spare + 1)).long(), spare // 2)
        streams = self.streams.x[self.streams.pick(clips[self.has("imu")[clips]], generator)]
        sentences = self.sentences.x[self.sentences.pick(clips[self.has("text")[clips]], generator)]
        drawn = self.windows(clips, begin, streams, sentences)
        inputs = dict(drawn.inputs)
        if len(streams):
            worn = sense(inputs["imu"], self.along[streams], config.sensor, generator)
            worn = torch.where(self.virtual[streams][:, None, None, None], worn, inputs["imu"])
            inputs["imu"] = augment(worn, config.imu, generator)
        inputs["pose"] = change_pose(inputs["pose"], config, generator)
        return clips, Windows(inputs, drawn.present)

    def center(self, clips: Tensor) -> Windows:
        """The middle of each clip, with its first IMU stream and first sentence, without augmentation."""
        begin = (self.shared[clips] - round(self.spec.window / self.spec.rate_hz * POSE_RATE_HZ)) // 2
        streams, sentences = (
            bank.x[bank.start[clips[self.has(name)[clips]]]]
            for name, bank in (("imu", self.streams), ("text", self.sentences))
        )
        return self.windows(clips, begin, streams, sentences)

    def windows(self, clips: Tensor, begin: Tensor, streams: Tensor, sentences: Tensor) -> Windows:
        """Windows of `clips` (N,) from frame `begin` (N,) at the pose rate, negative if a clip is shorter.

        `streams` and `sentences` hold one index for each clip that has any.
        """
        seconds = self.spec.window / self.spec.rate_hz
        present = {name: self.has(name)[clips] for name in ("imu", "pose", "video", "text")}
        imu, _ = self.imu.cut(streams, begin[present["imu"]] * IMU_PER_POSE, self.spec.window)
        pose, known = self.pose.cut(clips[present["pose"]], begin[present["pose"]], round(seconds * POSE_RATE_HZ))
        at = (begin[present["video"]] * (VIDEO_RATE_HZ / POSE_RATE_HZ)).round().long()
        video, seen = self.video.cut(clips[present["video"]], at, round(seconds * VIDEO_RATE_HZ))
        nothing = float("nan")
        inputs = {
            "imu": torch.from_numpy(prepare(channels_first(imu.numpy()), self.spec)),
            "pose": pose.masked_fill(~known[..., None, None], nothing),
            "video": video.masked_fill(~seen[..., None], nothing),
            "text": self.vectors[sentences],
        }
        for name in ("pose", "video"):  # drop windows in which nobody is visible
            some = ~inputs[name].flatten(1).isnan().all(1)
            inputs[name] = inputs[name][some]
            present[name] = present[name].clone()
            present[name][present[name].clone()] = some
        return Windows(inputs, present)


def make_clip_pool(clips: Iterable[Clip], spec: InputSpec, real_imu: bool = False) -> ClipPool:
    """A pool of `clips`; with `real_imu`, of their recorded IMU signals as well as the virtual ones.

    A title is drawn with the square root of its number of windows, so that rare ones are seen and none dominates.

    Raises:
        DataError: no clips, or video features of two image towers.
    """
    clips = list(clips)
    if not clips:
        raise DataError("there are no clips to train on. Choose other corpora, or build them: python -m training.fimad")
    if len(towers := {clip.tower for clip in clips if clip.video is not None}) > 1:
        raise DataError(f"video features of several image towers do not mix: {', '.join(sorted(towers))}. Choose one")
    titles, corpora = sorted({clip.title for clip in clips}), sorted({clip.corpus for clip in clips})
    y = np.array([titles.index(clip.title) for clip in clips])
    corpus = np.array([corpora.index(clip.corpus) for clip in clips])
    allowed = torch.zeros(len(corpora), len(titles), dtype=torch.bool)
    allowed[torch.from_numpy(corpus), torch.from_numpy(y)] = True
    streams = [
        [
            (placement, x, mounted is clip.imu)
            for mounted in (clip.imu, *([clip.real_imu] if real_imu else []))
            for placement, x in sorted(mounted.items())
            if len(x) >= SHORTEST_S * IMU_RATE_HZ
        ]
        for clip in clips
    ]
    every = [stream for own in streams for stream in own]
    ends = np.cumsum([0, *map(len, streams)])
    features = next((clip.video.shape[1] for clip in clips if clip.video is not None), 0)
    sentences = list(dict.fromkeys([*titles, *(text for clip in clips for text in clip.texts)]))
    number = {sentence: i for i, sentence in enumerate(sentences)}
    vectors = embed_once(sentences)
    blank = np.zeros((0, len(JOINTS), 3), np.float32)
    poses = [blank if c.pose is None or len(c.pose) < SHORTEST_S * POSE_RATE_HZ else c.pose for c in clips]
    length = np.maximum(1.0, [clip.duration_s / (spec.window / spec.rate_hz) for clip in clips])
    return ClipPool(
        spec,
        tuple(clip.id for clip in clips),
        tuple(corpora),
        tuple(titles),
        vectors[: len(titles)],
        torch.from_numpy(y),
        torch.from_numpy(corpus),
        allowed,
        torch.from_numpy(length / np.sqrt(np.bincount(y, length)[y])),
        Bank.of(poses, (len(JOINTS), 3)),
        Bank.of([x for _, x, _ in every], (len(CHANNELS),)),
        Bank.of([np.arange(a, b) for a, b in pairwise(ends)], (), np.int64),
        tuple(placement for placement, *_ in every),
        torch.tensor([virtual for *_, virtual in every], dtype=torch.bool),
        along_limb([placement for placement, *_ in every]),
        Bank.of([np.zeros((0, features), np.float32) if c.video is None else c.video for c in clips], (features,)),
        vectors,
        Bank.of([np.array([number[t] for t in c.texts], np.int64) for c in clips], (), np.int64),
    )


def imu_factor(weight: Tensor, has_imu: Tensor, share: float) -> Tensor:
    """(N,) factors that give clips with an IMU the fraction `share` of the total weight, if both kinds exist."""
    total, own = weight.sum(), weight[has_imu].sum()
    if own in (0, total):
        return torch.ones(len(weight), dtype=weight.dtype)
    return torch.where(has_imu, share / own, (1 - share) / (total - own))


def change_pose(x: Tensor, config: DrawConfig, generator: torch.Generator) -> Tensor:
    """Augment skeletons (N, T, 20, 3): heading, size, noise, missing joints, missing depth."""
    n, _, joints, _ = x.shape

    def chance(probability: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) < probability

    flat = x[..., 1].flatten(1).isnan().all(1)
    angle = torch.rand(n, generator=generator) * 2 * pi
    # A flat skeleton can only be rotated by half a turn.
    c, s = torch.where(flat, angle.cos().sign(), angle.cos()), torch.where(flat, 0.0, angle.sin())
    c, s = c[:, None, None], s[:, None, None]
    depth = x[..., 1]
    swing = torch.where(flat[:, None, None], 0.0, s * depth)
    turned = torch.stack([c * x[..., 0] - swing, s * x[..., 0] + c * depth, x[..., 2]], 3)
    turned = turned * (1 + config.size * torch.randn(n, 1, 1, 1, generator=generator))
    turned = turned + config.joint_noise_m * torch.randn(turned.shape, generator=generator)
    lost = chance(config.joint_drop_probability, n, joints)
    known = ~turned[..., 0].isnan().all(1)
    lost &= (known & ~lost).any(1, keepdim=True)  # never all known joints
    turned = turned.masked_fill(lost[:, None, :, None], float("nan"))
    turned[..., 1] = turned[..., 1].masked_fill(chance(config.flatten_probability, n)[:, None, None], float("nan"))
    return turned
