"""Real skeletons, where present: counts, bone lengths, sides, and feet on the ground."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice

import numpy as np
import pytest
from made_skeletons import SOURCES

from mujo_edge.core import DataError
from training.corpora.registry import data_root
from training.fimad.clip import BONES, JOINTS, Take, Task

TASKS = {
    "utd_mhad_skeleton": 861,
    "hdm05": 287,
    "mocap6": 5,
    "cmu_mocap": 61,
    "ui_prmd": 1000,
    "penn_action": 2326,
}
SHARE = {"utd_mhad_skeleton": 40, "hdm05": 24, "mocap6": 1, "cmu_mocap": 12, "ui_prmd": 50, "penn_action": 15}
"""Every Nth task of a source is read."""
LENGTHS_M = {
    "neck": (0.18, 0.32),
    "head": (0.15, 0.27),
    "left_elbow": (0.22, 0.33),
    "left_wrist": (0.20, 0.31),
    "left_knee": (0.32, 0.50),
    "left_ankle": (0.32, 0.51),
}
"""Joint -> range of the median length of the bone that ends there; Kinect's segments may be off by 3 cm."""


@pytest.fixture(scope="module")
def tasks() -> Callable[[str], list[Task]]:
    """All tasks of a source; skips the test where its data is absent."""

    @cache
    def listed(name: str) -> list[Task]:
        path = SOURCES[name].find(data_root())
        if path is None:
            pytest.skip(f"{name} is not under {data_root()}: set MUJO_DATA")
        return list(SOURCES[name].tasks(path))

    return listed


@pytest.fixture(scope="module", params=SHARE)
def some(request: pytest.FixtureRequest, tasks: Callable[[str], list[Task]]) -> tuple[str, list[Take], int]:
    """(source, takes of every Nth task, number of all tasks)."""
    every = tasks(request.param)
    chosen = islice(every, 0, None, SHARE[request.param])
    return request.param, takes_of(chosen), len(every)


def at(take: Take, joint: str) -> np.ndarray:
    return take.motion.x[:, JOINTS.index(joint)].astype(np.float64)


def takes_of(tasks: Iterable[Task]) -> list[Take]:
    """All takes; a sequence of Penn Action may show too little of a person."""
    takes = []
    for task in tasks:
        try:
            takes += task.read(*task.arguments)
        except DataError as error:
            if "fewer than half of the joints" not in str(error):
                raise
    return takes


def named(tasks: list[Task], ending: str) -> list[Take]:
    """Takes of the tasks whose ids end in `ending`."""
    return takes_of(task for task in tasks if task.id.endswith(ending))


def lengths(take: Take) -> dict[str, float]:
    """Child joint -> median length of its bone, m; the 95th percentile for flat takes, which appear shortened."""
    measured = {}
    for parent, child in BONES:
        difference = at(take, child) - at(take, parent)
        length = np.linalg.norm(difference[:, ::2] if take.motion.flat else difference, axis=1)
        length = length[np.isfinite(length)]
        if len(length):
            measured[child] = float(np.percentile(length, 95 if take.motion.flat else 50))
    return measured


def test_counts_equal_the_published_ones(some):
    name, takes, tasks = some
    assert tasks == TASKS[name]
    assert all(take.motion.rate_hz > 12 and len(take.motion.x) >= 10 for take in takes)
    assert all(take.name == take.name.lower().strip() and take.subject for take in takes)
    assert len({take.id for take in takes}) == len(takes)
    if name == "mocap6":  # runs and exercises in the label files of the sequences whose motion is there
        assert (len(takes), len({take.name for take in takes})) == (30, 9)


def test_bones_have_human_lengths_on_both_sides(some):
    name, takes, _ = some
    measured = [lengths(take) for take in takes]
    for joint, (low, high) in LENGTHS_M.items():
        left = np.median([bones[joint] for bones in measured if joint in bones])
        assert low < left < high, (name, joint, left)
        if joint.startswith("left"):
            other = joint.replace("left", "right")
            right = np.median([bones[other] for bones in measured if other in bones])
            assert right == pytest.approx(left, rel=0.12), (name, joint)


def test_left_side_agrees_with_up_and_ahead(some):
    name, takes, _ = some
    if name == "penn_action":
        pytest.skip("flat joints have no depth")
    agreed = []
    for take in takes:
        left = (at(take, "left_hip") - at(take, "right_hip"))[:, :2]
        toes = sum(at(take, f"{side}_foot") - at(take, f"{side}_ankle") for side in ("left", "right"))[:, :2]
        agreed.append(np.median(left[:, 1] * toes[:, 0] - left[:, 0] * toes[:, 1]) > 0)
    assert np.mean(agreed) > 0.95, name


def test_people_stand_upright(some):
    """The trunk points up in the median of all first frames."""
    name, takes, _ = some
    heights = np.array([np.median(at(take, "neck")[:5, 2] - at(take, "pelvis")[:5, 2]) for take in takes])
    assert np.median(heights[np.isfinite(heights)]) > 0.35, name


def test_utd_mhad_right_hand_gestures_move_the_right_hand(tasks):
    every = tasks("utd_mhad_skeleton")
    for action in (1, 3, 8, 19):  # swipe, wave, draw x, knock: by the project page with the right hand
        (take,) = named(every, f"/a{action}_s3_t2")
        path = [np.abs(np.diff(at(take, f"{side}_wrist"), axis=0)).sum() for side in ("left", "right")]
        assert path[1] > 3 * path[0], take.name
        assert list(take.real_imu) == ["right_wrist"]
        assert len(take.motion.x) / take.motion.rate_hz == pytest.approx(
            len(take.real_imu["right_wrist"]) / 50, rel=0.1
        )


def test_hdm05_kicks_with_the_leg_of_its_name(tasks):
    for take in named(tasks("hdm05"), "bd_kickLFront1Reps_001"):
        assert take.name == "front kick with the left leg"
        assert np.ptp(at(take, "left_ankle")[:, 2]) > 0.5 > np.ptp(at(take, "right_ankle")[:, 2])


def test_ui_prmd_ankles_stand_still_in_deep_squats(tasks):
    """Evidence for the order of the angles: any other order moves the ankles by 17 cm."""
    every = tasks("ui_prmd")
    spread = [
        np.std(at(take, f"{side}_ankle"), axis=0).max()
        for subject in (1, 4, 8)
        for take in named(every, f"m01_s{subject:02d}_e05")
        for side in ("left", "right")
    ]
    assert np.median(spread) < 0.05


def test_mocap6_feet_reach_the_floor_while_arms_circle(tasks):
    for take in (take for take in named(tasks("mocap6"), "14_14") if take.name == "arm circles"):
        heights = np.stack([at(take, f"{side}_foot")[:, 2] for side in ("left", "right")])
        assert np.ptp(heights) < 0.06
        assert abs(np.median(heights)) < 0.05


def test_cmu_walkers_walk_ahead(tasks):
    for take in named(tasks("cmu_mocap"), "007_01"):
        way = (at(take, "pelvis")[-1] - at(take, "pelvis")[0])[:2]
        ahead = np.median(at(take, "left_foot") - at(take, "left_ankle"), axis=0)[:2]
        assert way @ ahead > 0.9 * np.linalg.norm(way) * np.linalg.norm(ahead)
        assert "walk" in take.name
        assert len(take.descriptions) == 3


def test_penn_action_right_handers_strum_with_the_right_hand(tasks):
    faster = []
    for take in (take for take in takes_of(tasks("penn_action")[1890:1990]) if take.name == "strum a guitar"):
        steps = [np.diff(at(take, f"{side}_wrist")[:, ::2], axis=0) for side in ("left", "right")]
        moved = [np.linalg.norm(step[np.isfinite(step[:, 0])], axis=1) for step in steps]
        if min(map(len, moved)) > 10:
            faster.append(np.percentile(moved[1], 95) > np.percentile(moved[0], 95))
    assert len(faster) > 10
    assert np.mean(faster) > 0.8
