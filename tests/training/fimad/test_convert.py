"""Conversion of takes to clips: motion at the shards' rate, virtual IMU, texts, and errors of bad takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_takes import squats

from mujo_edge.core import DataError, MissingExtraError
from training.fimad import convert
from training.fimad.clip import JOINTS, PLACEMENTS, POSE_RATE_HZ, Motion, Take, Task
from training.fimad.convert import read_task, resample_motion, to_clip
from training.fimad.shards import KEY, decode

TAKE = Take("made/1", "made", "Squats (30 sec)", "p1", ("She bends both knees.",), motion=Motion(squats(3, 30), 30.0))


def moving(rate_hz: float, seconds: float = 4.0, wave_hz: float = 1.0) -> tuple[np.ndarray, Motion]:
    """Joint j oscillates at `wave_hz` with amplitude 0.1 m while it moves at (j, 1, 0.1) m/s."""
    t_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return t_s, Motion(course(t_s, wave_hz).astype(np.float32), rate_hz)


def course(t_s: np.ndarray, wave_hz: float) -> np.ndarray:
    speed = np.stack([np.arange(20), np.ones(20), np.full(20, 0.1)], 1)
    return t_s[:, None, None] * speed + 0.1 * np.sin(2 * np.pi * wave_hz * t_s)[:, None, None]


@pytest.mark.parametrize("rate_hz", [120.0, 60.0, 30.0, 25.0, 19.17, 10.0])
def test_motion_is_resampled_to_the_rate_of_shards(rate_hz):
    _, motion = moving(rate_hz)
    x = resample_motion(motion)
    seconds = (len(motion.x) - 1) / rate_hz
    assert x.dtype == np.float32
    assert x.shape == (int(seconds * POSE_RATE_HZ + 1e-9) + 1, 20, 3)
    at = np.arange(len(x)) / POSE_RATE_HZ
    inner = (at > 0.5) & (at < seconds - 0.5)
    # Linear interpolation of a swing of amplitude a is off by at most a (pi f / rate)^2 / 2.
    bound = 0.1 * (np.pi / min(rate_hz, 25)) ** 2 / 2 + 5e-4
    assert np.abs(x - course(at, 1))[inner].max() < bound
    assert np.abs(x - course(at, 1)).max() < 0.02


def test_ends_of_a_steady_movement_stay():
    """A filter that holds the last value would bend them by centimeters."""
    motion = replace(moving(120.0)[1], x=course(np.arange(480) / 120, 0).astype(np.float32))
    x = resample_motion(motion)
    np.testing.assert_allclose(x, course(np.arange(len(x)) / POSE_RATE_HZ, 0), atol=1e-5)


def test_movement_above_the_nyquist_rate_is_filtered_out():
    _, motion = moving(120.0, wave_hz=20.0)  # would alias to 5 Hz
    x = resample_motion(motion) - course(np.arange(100) / POSE_RATE_HZ, 0)
    assert np.abs(x[15:-15]).max() < 0.005


def test_same_rate_changes_nothing():
    x = squats(2, POSE_RATE_HZ)
    x[3:7, 5] = np.nan
    np.testing.assert_allclose(resample_motion(Motion(x, POSE_RATE_HZ)), x, atol=1e-6)


def test_unknown_joints_stay_unknown_and_do_not_affect_others():
    _, motion = moving(30.0)
    holes = motion.x.copy()
    holes[30:33, 7] = np.nan
    holes[:, 11, 1] = np.nan
    x, sound = resample_motion(Motion(holes, 30.0)), resample_motion(motion)
    others = [j for j in range(20) if j not in (7, 11)]
    np.testing.assert_array_equal(x[:, others], sound[:, others])
    assert np.isnan(x[:, 11, 1]).all()
    assert np.isfinite(x[:, 11, [0, 2]]).all()
    source = np.arange(len(x)) * 30 / 25
    gone = np.isin(np.floor(source), (30, 31, 32)) | np.isin(np.ceil(source), (30, 31, 32))
    np.testing.assert_array_equal(np.isnan(x[:, 7, 0]), gone)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_are_resampled_without_imu(frames):
    motion = Motion(squats(1, 60)[:frames], 60.0)
    assert resample_motion(motion).shape == (1 + (frames - 1) * 25 // 60, 20, 3)
    assert to_clip(replace(TAKE, motion=motion)).imu == {}


def test_clip_of_a_take():
    clip = to_clip(TAKE, "CC0")
    assert (clip.id, clip.corpus, clip.subject, clip.license) == ("made/1", "made", "p1", "CC0")
    assert clip.title == clip.texts[0] == "squat"
    assert "She bends both knees." in clip.texts
    assert clip.pose.shape == (75, 20, 3)
    assert set(clip.imu) == set(PLACEMENTS)
    assert all(x.shape == (149, 6) for x in clip.imu.values())


def test_standing_person_has_an_imu_with_gravity():
    still = to_clip(replace(TAKE, motion=Motion(np.repeat(TAKE.motion.x[:1], 60, 0), 30.0)))
    for placement in ("left_ankle", "right_ankle", "chest", "hip"):
        assert (still.imu[placement][:, 1] > 9.7).all(), "y points up there"
    for x in still.imu.values():
        np.testing.assert_allclose(np.linalg.norm(x[:, :3], axis=1), 9.80665, atol=1e-3)
        np.testing.assert_allclose(x[:, 3:], 0, atol=1e-3)


def test_unknown_wrist_has_no_imu():
    x = TAKE.motion.x.copy()
    x[10, JOINTS.index("left_wrist")] = np.nan
    assert set(to_clip(replace(TAKE, motion=Motion(x, 30.0))).imu) == set(PLACEMENTS) - {"left_wrist"}


def test_flat_joints_have_no_imu():
    x = TAKE.motion.x.copy()
    x[..., 1] = np.nan
    clip = to_clip(replace(TAKE, motion=Motion(x, 30.0, flat=True)))
    assert clip.flat
    assert clip.pose.shape == (75, 20, 3)
    assert not clip.imu


def test_texts_alone_are_a_clip():
    clip = to_clip(replace(TAKE, motion=None))
    assert clip.pose is None
    assert clip.texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": Motion(np.full((30, 20, 3), np.nan, np.float32), 30.0)}, "no known joint"),
        ({"motion": Motion(squats(1, 30), 0.0)}, "or no rate"),
        ({"motion": Motion(squats(1, 30), float("nan"))}, "or no rate"),
        ({"name": "12:30"}, "no words"),
        ({"video": np.full((4, 8), np.nan, np.float32)}, "not .* finite numbers"),
        ({"real_imu": {"chest": np.zeros((9, 3), np.float32)}}, "the IMU at chest"),
    ],
)
def test_unusable_takes_are_errors(change, message):
    with pytest.raises(DataError, match=message):
        to_clip(replace(TAKE, **change))


def some_bad(*wrong: object):
    for number, what in enumerate(wrong):
        if isinstance(what, Exception):
            raise what
        yield replace(TAKE, id=f"made/{number}", **what)


def test_task_keeps_good_takes_and_lists_the_others(tmp_path):
    task = Task("task 7", some_bad, ({}, {"name": "?"}, {}, ValueError("two\nlines")))
    part = read_task(task, "CC0")
    assert part.clips == 2
    assert [where for where, _ in part.failures] == ["made/1", "task 7"]
    assert part.failures[1][1] == "unexpected ValueError: two lines"
    path = tmp_path / "part.parquet"
    path.write_bytes(part.rows)
    table = pq.read_table(path)
    assert [clip.id for clip in decode(table)] == ["made/0", "made/2"]
    assert table.column("split").to_pylist() == [None, None]
    assert json.loads(table.schema.metadata[KEY])["failures"] == [list(failure) for failure in part.failures]


def test_error_common_to_all_tasks_ends_the_build():
    with pytest.raises(MissingExtraError):
        read_task(Task("task", some_bad, (MissingExtraError("PyAV is not installed"),)))


def test_bug_in_the_conversion_affects_only_its_take(monkeypatch):
    def broken(motion: Motion) -> dict:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(convert, "virtual_imus", broken)
    part = read_task(Task("task", some_bad, ({}, {"motion": None})))
    assert part.clips == 1
    assert part.failures == (("made/0", "unexpected ZeroDivisionError: division by zero"),)
