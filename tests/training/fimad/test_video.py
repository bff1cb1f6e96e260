"""Cuts, decimation and rotation of videos; features synchronized with the pose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from made_videos import time_of, write_sound, write_video

from mujo_edge.core import F32, DataError
from training.fimad import pose, video
from training.fimad.clip import JOINTS, Motion, Take
from training.fimad.video import Cut, Options, chapters, frames, takes, with_features

BARE = Take("made/v", "made", "squat", "v", ("a man bends his knees",))


class GrayTower:
    """An image tower with one feature: the time encoded in a frame."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, images: list[np.ndarray]) -> F32:
        self.batches.append(len(images))
        return np.array([[time_of(image)] for image in images], np.float32)


@pytest.fixture
def tower(monkeypatch: pytest.MonkeyPatch) -> GrayTower:
    made = GrayTower()
    monkeypatch.setattr("training.fimad.towers.load", lambda name, weights: made)
    return made


@pytest.mark.parametrize(("start_s", "stop_s"), [(0.0, None), (1.25, 2.5), (2.0, None), (0.0, 0.5)])
def test_cut_contains_the_frames_of_its_time_span(tmp_path: Path, start_s: float, stop_s: float | None) -> None:
    path = write_video(tmp_path / "v.mp4", 4, 24)
    got = list(frames(Cut(path, start_s, stop_s)))
    expected = [t for t in np.arange(96) / 24 if start_s <= t < (stop_s or 9)]
    assert np.allclose([t for t, _ in got], np.array(expected) - start_s, atol=1e-3)
    assert np.allclose([time_of(rgb) - start_s for _, rgb in got], [t for t, _ in got], atol=0.11)  # 2 gray levels
    assert all(rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8 for _, rgb in got)


@pytest.mark.parametrize(("rate_hz", "kept_hz"), [(60, 30), (50, 25), (30, 30), (25, 25)])
def test_fast_videos_are_decimated(tmp_path: Path, rate_hz: int, kept_hz: int) -> None:
    path = write_video(tmp_path / "v.mp4", 2, rate_hz)
    times = [t for t, _ in frames(Cut(path))]
    assert len(times) == 2 * kept_hz
    assert np.allclose(np.diff(times), 1 / kept_hz, atol=2e-3)


def test_large_frames_are_made_smaller(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 0.2, 10, size=(1280, 720))
    assert {rgb.shape for _, rgb in frames(Cut(path))} == {(360, 640, 3)}


def test_frames_are_rotated_by_the_display_matrix(tmp_path: Path) -> None:
    """The display matrix in the track header (ISO 14496-12, 8.3.2) is replaced by a rotation of 90 degrees."""
    path = write_video(tmp_path / "v.mp4", 0.5, 10, size=(64, 32))
    content = path.read_bytes()
    matrix = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    packed, new = (np.array(m, ">i4").tobytes() for m in (matrix, turned))
    at = content.index(packed, content.index(b"tkhd"))
    path.write_bytes(content[:at] + new + content[at + len(new) :])
    assert {rgb.shape for _, rgb in frames(Cut(path))} == {(64, 32, 3)}


def test_file_that_is_not_a_video_is_an_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.mp4").read_bytes()
    for name, content in (("empty", b""), ("words", b"not a video" * 100), ("cut", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be decoded"):
            list(frames(Cut(tmp_path / name)))
        with pytest.raises(DataError, match=f"{name} cannot be opened"):
            chapters(tmp_path / name)
    with pytest.raises(DataError, match="cannot be decoded"):
        list(frames(Cut(tmp_path)))
    with pytest.raises(DataError, match="no video"):
        list(frames(Cut(write_sound(tmp_path / "sound.wav"))))


def test_damaged_bytes_are_frames_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    valid = [
        write_video(path, 0.5, 8, size=(32, 32)).read_bytes(),
        write_video(tmp_path / "v.mkv", 0.5, 8).read_bytes(),
    ]

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(valid))
    def try_one(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(DataError):
            assert all(rgb.ndim == 3 and t >= 0 for t, rgb in frames(Cut(path)))
        with suppress(DataError):
            assert all(cut.path == path for _, cut in chapters(path))

    try_one()


def test_cut_after_the_end_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 2)
    with pytest.raises(DataError, match="no frame from 5 s on"):
        list(frames(Cut(path, 5, 9)))


def test_chapters_of_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", chapters=[("Intro", 0, 1.5), ("Squats", 1.5, 4)])
    assert chapters(path) == [("Intro", Cut(path, 0, 1.5)), ("Squats", Cut(path, 1.5, 4))]
    assert chapters(write_video(tmp_path / "plain.mp4")) == []


def test_features_are_of_the_displayed_frame(tower: GrayTower) -> None:
    """Including late frames and one displayed for seconds."""
    times = [0.1, 0.2, 0.26, 0.5, 2.1, 2.2]
    stream = [(t, np.full((2, 2, 3), round(20 + 20 * t), np.uint8)) for t in times]
    features: list[F32] = []
    assert [t for t, _ in with_features(stream, tower, features)] == times
    shown = [0.1, 0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert np.allclose(np.concatenate(features)[:, 0], shown, atol=0.03)


@pytest.mark.parametrize("rate_hz", [24, 25, 30, 50])
def test_features_have_four_rows_per_second(tmp_path: Path, tower: GrayTower, rate_hz: int) -> None:
    path = write_video(tmp_path / "v.mp4", 6, rate_hz)
    (take,) = takes(BARE, Cut(path, 1.0, 6.0), Options(pose=False))
    assert take.video is not None
    assert np.allclose(take.video[:, 0], 1 + np.arange(20) / 4, atol=0.2)
    assert take.tower == "efficientnet-lite0"
    assert max(tower.batches) <= video.BATCH
    assert (take.id, take.subject, take.descriptions, take.motion) == (BARE.id, "v", BARE.descriptions, None)


def fake_pose(*pieces: tuple[float, float]) -> Callable[..., list[tuple[float, Motion]]]:
    """A `pose_of_video` that reads all frames and finds a person in each (start, stop); joints encode the time."""

    def of_video(stream: Iterable[tuple[float, np.ndarray]]) -> list[tuple[float, Motion]]:
        assert all(t >= 0 for t, _ in stream)
        motions = []
        for start_s, stop_s in pieces:
            t_s = np.arange(round((stop_s - start_s) * 24)) / 24 + start_s
            motions.append(
                (start_s, Motion(np.broadcast_to(t_s[:, None, None], (len(t_s), len(JOINTS), 3)).copy(), 24))
            )
        return motions

    return of_video


def test_pose_and_features_begin_together(tmp_path: Path, tower: GrayTower, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", 8)
    monkeypatch.setattr(pose, "pose_of_video", fake_pose((0.55, 3.05), (3.5, 4.0), (5.0, 7.5)))
    first, second = takes(BARE, Cut(path), Options())
    assert (first.id, second.id) == ("made/v.0", "made/v.1")
    for take in (first, second):
        assert take.motion is not None
        assert take.video is not None
        assert abs(take.motion.x[0, 0, 0] - take.video[0, 0]) < 0.12
        assert len(take.video) == np.ceil(len(take.motion.x) / 24 * 4)
        assert abs(take.motion.x[-1, 0, 0] - take.video[-1, 0]) < 0.3


def test_one_stretch_keeps_the_clips_id(tmp_path: Path, tower: GrayTower, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", 3)
    monkeypatch.setattr(pose, "pose_of_video", fake_pose((0, 3)))
    (take,) = takes(BARE, Cut(path), Options())
    assert take.id == BARE.id
    assert take.video is not None
    assert len(take.video) == 12


def test_without_a_person_the_take_has_only_video(
    tmp_path: Path, tower: GrayTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "v.mp4", 3)
    monkeypatch.setattr(pose, "pose_of_video", fake_pose())
    (take,) = takes(BARE, Cut(path), Options())
    assert take.motion is None
    assert take.video is not None
    assert len(take.video) == 12


def test_pose_is_extracted_without_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", 3)
    monkeypatch.setattr(pose, "pose_of_video", fake_pose((0, 3)))
    (take,) = takes(BARE, Cut(path), Options(tower=None))
    assert (take.video, take.tower) == (None, "")
    assert take.motion is not None
