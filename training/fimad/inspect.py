"""One clip of the shards as a picture: frames of its video, its skeleton, its IMU and its texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mujo_edge.core import F32, DataError, UsageError
from training.corpora.files import Tree
from training.fimad.clip import BONES, IMU_RATE_HZ, JOINTS, POSE_RATE_HZ, VIDEO_RATE_HZ, Clip, Source
from training.fimad.shards import read, read_light
from training.fimad.sources import free_exercise_db
from training.fimad.video import Cut, frames

MOMENTS, TEXTS = 6, 6
"""Numbers of frames or poses, and of texts, that are drawn."""
FORMATS = (".png", ".jpg", ".svg", ".pdf")
VIDEO_HZ = 2.0
"""Rate at which a video is decoded to pick frames from."""
VIEW_DEG = 30.0
"""Angle of view to the side of the person's front: the trunk hides nothing of a squat or a curl."""
AXIS_COLORS = ("tab:red", "tab:green", "tab:blue")
SIDE_COLORS = {"left": "tab:blue", "right": "tab:red"}


def find(folder: Path, name: str) -> tuple[Clip, str]:
    """The clip with the id `name`, or the only one whose id contains `name`, and the id of its task.

    Raises `UsageError` if there is none or more than one, and `DataError` as `shards.read` does.
    """
    light = read_light(folder)
    rows = list(zip(*(light.column(c).to_pylist() for c in ("id", "corpus", "task")), strict=True))
    matches = [row for row in rows if row[0] == name] or [row for row in rows if name.casefold() in row[0].casefold()]
    if not matches:
        raise UsageError(f"no clip in {folder} is called {name!r}. There are {examples([row[0] for row in rows])}")
    if len(matches) > 1:
        raise UsageError(f"{len(matches)} clips are called {name!r}: {examples([row[0] for row in matches])}. Name one")
    ((clip_id, corpus, task),) = matches
    return next(clip for clip in read(folder, corpora=[corpus]) if clip.id == clip_id), task


def examples(names: Sequence[str]) -> str:
    """The first four names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def pictures(source: Source, path: Path, task_id: str) -> list[tuple[str, np.ndarray]]:
    """(caption, (h, w, 3) uint8) of a task's input: photos, or frames spread over its cut of a video.

    Empty if the task is not among those of `source` at `path`, or reads no pictures.
    """
    task = next((task for task in source.tasks(path) if task.id == task_id), None)
    if task is None:
        return []
    if task.read is free_exercise_db.read:
        entry, photos, _ = task.arguments
        with Tree.open(photos) as tree:
            return [(name, free_exercise_db.photo(tree, name)) for name in entry.get("images") or ()]
    cut = next((argument for argument in task.arguments if isinstance(argument, Cut)), None)
    if cut is None:
        return []
    decoded = list(frames(cut, VIDEO_HZ))
    picked = sorted(set(moments(len(decoded))))
    return [(f"{cut.path.name}, {cut.start_s + decoded[i][0]:.1f} s", decoded[i][1]) for i in picked]


def draw(clip: Clip, images: Sequence[tuple[str, np.ndarray]], path: Path) -> None:
    """Draw `clip` and its `images` (as from `pictures`) to an image file; absent modalities take no room.

    Raises `DataError` for an unknown image format, or a file that cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path} is not an image format that can be drawn. Name a {', '.join(FORMATS)} file")
    imu = {**clip.imu, **{f"{placement}, real": x for placement, x in clip.real_imu.items()}}
    rows = [("texts", 1.6)]
    rows += [("images", 2.0)] * bool(images)
    rows += [("video", 1.2)] * (clip.video is not None)
    rows += [("pose", 2.6)] * (clip.pose is not None)
    rows += [("imu", 0.6 + 1.2 * ((len(imu) + 1) // 2))] * bool(imu)
    figure = Figure(figsize=(13, sum(height for _, height in rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=[height for _, height in rows], squeeze=False)[:, 0]
    for (row, _), part in zip(rows, parts, strict=True):
        if row == "texts":
            draw_texts(part, clip)
        elif row == "images":
            draw_images(part, images)
        elif row == "video" and clip.video is not None:
            draw_features(part, clip.video, clip.tower)
        elif row == "pose" and clip.pose is not None:
            draw_poses(part, clip.pose, clip.flat)
        else:
            draw_imu(part, imu)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}). Name another file with --out") from None


def draw_texts(part: SubFigure, clip: Clip) -> None:
    """Title, subject, license and texts."""
    about = f"{clip.id}: {clip.split}, subject {clip.subject}, {clip.duration_s:.1f} s, {clip.license}"
    texts = "\n".join(fill(text, 200, max_lines=1) for text in clip.texts[:TEXTS])
    more = f"\n... and {len(clip.texts) - TEXTS} more texts" if len(clip.texts) > TEXTS else ""
    part.text(0.01, 0.95, clip.title, weight="bold", size=13, va="top", parse_math=False)
    part.text(0.01, 0.78, about, size=9, va="top", color="dimgray", parse_math=False)
    part.text(0.01, 0.64, texts + more, size=8, va="top", parse_math=False)


def draw_images(part: SubFigure, images: Sequence[tuple[str, np.ndarray]]) -> None:
    """Images side by side."""
    for axes, (caption, image) in zip(part.subplots(1, len(images), squeeze=False)[0], images, strict=True):
        axes.imshow(image)
        axes.set_title(caption, size=8, parse_math=False)
        axes.set_axis_off()


def draw_features(part: SubFigure, video: F32, tower: str) -> None:
    """The tower's features over time, the 128 that vary most."""
    most = np.sort(np.argsort(-video.std(0), kind="stable")[:128])
    axes = part.subplots()
    span = (0, len(video) / VIDEO_RATE_HZ, 0, len(most))
    axes.imshow(video[:, most].T, aspect="auto", interpolation="nearest", extent=span)
    axes.set_title(
        f"video: {len(video)} x {video.shape[1]} features of {tower}, the {len(most)} that vary most", size=8
    )
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def draw_poses(part: SubFigure, pose: F32, flat: bool) -> None:
    """The skeleton at `MOMENTS` moments, all to one scale; left side blue, right side red."""
    points = project(pose, flat)
    center = np.nanmean(points.reshape(-1, 2), 0)
    reach = max(np.nanmax(np.abs(points - center)), 0.1) * 1.05
    panels = part.subplots(1, MOMENTS, sharex=True, sharey=True)
    for axes, frame in zip(panels, moments(len(pose)), strict=True):
        draw_skeleton(axes, points[frame])
        axes.set_title(f"{frame / POSE_RATE_HZ:.1f} s", size=8)
        axes.set(
            xlim=(center[0] - reach, center[0] + reach), ylim=(center[1] - reach, center[1] + reach), aspect="equal"
        )
        axes.tick_params(labelsize=6)
    part.suptitle(f"pose (m{', 2-D' if flat else ''}): left blue, right red", size=8)


def moments(count: int) -> list[int]:
    """`MOMENTS` frame numbers from the first to the last of `count`."""
    return [int(i) for i in np.linspace(0, count - 1, MOMENTS).round()]


def project(pose: F32, flat: bool) -> np.ndarray:
    """(n, 20, 3) -> (n, 20, 2), z up, viewed from `VIEW_DEG` to the side of the person's front."""
    if flat:
        return pose[..., [0, 2]]
    across = np.nanmean(pose[:, JOINTS.index("left_hip")] - pose[:, JOINTS.index("right_hip")], 0)
    across = across if np.isfinite(across).all() else np.array([1.0, 0, 0])
    # A person who faces the viewer has the left hip on the right of the picture.
    angle = np.arctan2(across[1], across[0]) + np.deg2rad(VIEW_DEG)
    return np.stack([pose[..., 0] * np.cos(angle) + pose[..., 1] * np.sin(angle), pose[..., 2]], -1)


def draw_skeleton(axes: Axes, joints: np.ndarray) -> None:
    """Every bone of `joints` (20, 2) whose ends are known."""
    for start, end in BONES:
        color = next((c for side, c in SIDE_COLORS.items() if end.startswith(side)), "black")
        axes.plot(*joints[[JOINTS.index(start), JOINTS.index(end)]].T, color=color, linewidth=1.5)


def draw_imu(part: SubFigure, imu: dict[str, F32]) -> None:
    """Acceleration and angular rate of every placement, two placements per row."""
    panels = part.subplots((len(imu) + 1) // 2, 4, sharex=True, squeeze=False)
    for axes in panels.flat[2 * len(imu) :]:
        axes.set_axis_off()
    for at, (placement, x) in enumerate(imu.items()):
        for half, unit in enumerate(("m/s²", "rad/s")):
            axes = panels.flat[2 * at + half]
            for axis in range(3):
                axes.plot(
                    np.arange(len(x)) / IMU_RATE_HZ, x[:, 3 * half + axis], color=AXIS_COLORS[axis], linewidth=0.8
                )
            axes.set_title(f"{placement.replace('_', ' ')} ({unit})", size=8)
            axes.tick_params(labelsize=6)
    part.suptitle("IMU over seconds: x red, y green, z blue", size=8)
