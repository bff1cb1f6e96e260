"""Clips of three synthetic exercises with matching pose, IMU, video and text."""

from __future__ import annotations

import numpy as np

from training.fimad.clip import IMU_RATE_HZ, JOINTS, POSE_RATE_HZ, VIDEO_RATE_HZ, Clip

TITLES = {
    "arm swing": ("arm swing", "a person swings the straight right arm back and forth"),
    "squat": ("squat", "bending the knees and standing up again"),
    "rest": ("rest", "standing still, nothing moves"),
}
FEATURES = 16
SKELETON = np.random.default_rng(0).normal((0, 0, 1), 0.4, (len(JOINTS), 3))


def made_clip(title: str, number: int, seconds: float = 6.0, corpus: str = "made", **changes) -> Clip:
    """One clip with all four modalities; `number` is its person and seed."""
    rng = np.random.default_rng(number)
    kind = list(TITLES).index(title)
    rate, phase, size = rng.uniform(0.8, 1.2), rng.uniform(0, 6.28), rng.uniform(0.8, 1.2)

    def wave(rate_hz: float) -> np.ndarray:
        t = np.arange(round(seconds * rate_hz)) / rate_hz
        return size * np.sin(2 * np.pi * rate * t + phase)

    pose = np.repeat(SKELETON[None], round(seconds * POSE_RATE_HZ), 0).astype(np.float32)
    if title == "arm swing":
        pose[:, JOINTS.index("right_wrist"), 0] += 0.5 * wave(POSE_RATE_HZ)
    elif title == "squat":
        pose[..., 2] += 0.3 * wave(POSE_RATE_HZ)[:, None]
    imu = {}
    for placement in ("left_wrist", "right_wrist"):
        x = np.tile(np.array([0, 0, 9.81, 0, 0, 0]), (round(seconds * IMU_RATE_HZ), 1))
        if title == "squat":
            x[:, 2] += 6 * wave(IMU_RATE_HZ)
        elif title == "arm swing":
            x[:, (0, 4)] += 5 * wave(IMU_RATE_HZ)[:, None]
        imu[placement] = x.astype(np.float32)
    video = rng.normal(scale=0.3, size=(round(seconds * VIDEO_RATE_HZ), FEATURES))
    video[:, kind] += 3 * size
    whole = {"pose": pose, "imu": imu, "video": video.astype(np.float32), "tower": "made", "texts": TITLES[title]}
    return Clip(f"{corpus}/{title}-{number}", corpus, title, f"p{number}", "train", **whole | changes)


def made_clips(each: int = 12, first: int = 0) -> list[Clip]:
    """`each` clips of every title, of people from `first` on."""
    return [made_clip(title, number) for title in TITLES for number in range(first, first + each)]
