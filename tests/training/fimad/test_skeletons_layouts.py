"""Readers of skeletons on small files in the publishers' layouts, intact and damaged."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from made_skeletons import FRAMES, LAYOUTS, SOURCES, UNREAD, standing, waving, write_hdm05, write_penn_labels
from scipy.io import savemat

from mujo_edge.core import STANDARD_GRAVITY, DataError, UsageError
from training.corpora.files import Tree
from training.fimad.clip import JOINTS, Source, Take
from training.fimad.skeletons.__main__ import main as side_by_side
from training.fimad.sources import hdm05, mocap6, penn_action, ui_prmd


@pytest.fixture(params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Source, Path]:
    """(source, data folder) of every layout."""
    LAYOUTS[request.param](tmp_path / "data" / "publisher")
    return SOURCES[request.param], tmp_path / "data"


def read(source: Source, root: Path) -> dict[str, Take]:
    path = source.find(root)
    assert path is not None
    return {take.id: take for task in source.tasks(path) for take in task.read(*task.arguments)}


def at(take: Take, joint: str) -> np.ndarray:
    return take.motion.x[:, JOINTS.index(joint)].astype(np.float64)


def failures(source: Source, root: Path) -> list[str]:
    """Error messages of the tasks that fail."""
    messages = []
    for task in source.tasks(source.find(root)):
        try:
            list(task.read(*task.arguments))
        except DataError as error:
            messages.append(str(error))
    return messages


EXPECTED = {
    "utd_mhad_skeleton": {
        "utd_mhad_skeleton/a3_s1_t1": ("wave", "1"),
        "utd_mhad_skeleton/a27_s2_t4": ("squat", "2"),
        "utd_mhad_skeleton/a1_s8_t1": ("swipe left", "8"),
    },
    "hdm05": {
        "hdm05/HDM_bd_kickRFront1Reps_001": ("front kick with the right leg", "bd"),
        "hdm05/HDM_bd_squat3Reps_001": ("squat", "bd"),
        "hdm05/HDM_tr_newMoveL_001": ("new move left", "tr"),
    },
    "mocap6": {"mocap6/13_29_000": ("jumping jack", "13"), "mocap6/13_29_002": ("squat", "13")},
    "cmu_mocap": {
        "cmu_mocap/002_03_0000_120": ("jog", "002"),
        "cmu_mocap/002_03_0060_60": ("jog", "002"),
        "cmu_mocap/003_01_0000_300": ("walk on uneven terrain", "003"),
    },
    "ui_prmd": {"ui_prmd/m01_s01_e01": ("deep squat", "1"), "ui_prmd/m10_s02_e10": ("shoulder scaption", "2")},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_takes_have_titles_and_people(name: str, tmp_path: Path):
    LAYOUTS[name](tmp_path / "publisher")
    takes = read(SOURCES[name], tmp_path)
    assert {key: (take.name, take.subject) for key, take in takes.items()} == EXPECTED[name]
    assert {take.corpus for take in takes.values()} == {name}


def test_data_is_found_in_folder_zip_and_tar(made: tuple[Source, Path], tmp_path: Path):
    """A folder, a zip and a compressed tar give equal takes."""
    source, root = made
    whole = {key: take.motion for key, take in lenient(source, root).items()}
    (tmp_path / "zip").mkdir()
    (tmp_path / "tar").mkdir()
    shutil.make_archive(str(tmp_path / "zip" / "set"), "zip", root, "publisher")
    with tarfile.open(tmp_path / "tar" / "set.tar.xz", "w:xz") as tar:
        tar.add(root / "publisher", "publisher")
    for folder in ("zip", "tar"):
        again = lenient(source, tmp_path / folder)
        assert again.keys() == whole.keys()
        for key, take in again.items():
            np.testing.assert_array_equal(take.motion.x, whole[key].x)
    assert source.find(tmp_path / "nowhere") is None


def lenient(source: Source, root: Path) -> dict[str, Take]:
    """Takes of the tasks that do not fail."""
    takes = {}
    for task in source.tasks(source.find(root)):
        try:
            takes |= {take.id: take for take in task.read(*task.arguments)}
        except DataError:
            continue
    return takes


def test_no_reader_matches_the_data_of_another(made: tuple[Source, Path]):
    source, root = made
    assert [name for name, other in SOURCES.items() if other.find(root)] == [source.name]


@pytest.mark.parametrize("name", ["utd_mhad_skeleton", "hdm05", "mocap6", "cmu_mocap", "ui_prmd"])
def test_skeletons_are_upright_and_not_mirrored(name: str, tmp_path: Path):
    """z is up, toes point ahead, and left is up x ahead."""
    LAYOUTS[name](tmp_path / "publisher")
    for take in read(SOURCES[name], tmp_path).values():
        ahead = at(take, "left_foot")[0] - at(take, "left_ankle")[0]
        left = np.cross([0, 0, 1], ahead)
        assert left @ (at(take, "left_hip") - at(take, "right_hip"))[0] > 0, take.id
        assert left @ (at(take, "left_shoulder") - at(take, "right_shoulder"))[0] > 0, take.id
        heights = [at(take, joint)[0, 2] for joint in ("left_ankle", "pelvis", "spine", "neck", "head")]
        assert heights == sorted(heights), take.id


def test_utd_mhad_joints_rate_and_real_sensor(tmp_path: Path):
    LAYOUTS["utd_mhad_skeleton"](tmp_path / "utd")
    takes = read(SOURCES["utd_mhad_skeleton"], tmp_path)
    wave, squat, alone = (takes[f"utd_mhad_skeleton/{trial}"] for trial in ("a3_s1_t1", "a27_s2_t4", "a1_s8_t1"))
    for joint, place in waving().items():
        if joint != "spine":
            np.testing.assert_allclose(at(wave, joint), place, atol=1e-6, err_msg=joint)
    assert wave.motion.rate_hz == pytest.approx((FRAMES - 1) / (104 / 50))
    np.testing.assert_allclose(wave.real_imu["right_wrist"][0], [0, 0, STANDARD_GRAVITY, 0, 0, np.pi / 2], rtol=1e-6)
    assert list(squat.real_imu) == ["right_thigh"]
    assert alone.real_imu == {}
    assert alone.motion.rate_hz == pytest.approx(19.05, abs=0.01)
    assert SOURCES["utd_mhad_skeleton"].shares_people_with == ("utd_mhad",)


def test_hdm05_missing_skeleton_is_an_error(tmp_path: Path):
    write_hdm05(tmp_path / "hdm05")
    (tmp_path / "hdm05" / "10" / "HDM_tr.asf").unlink()
    (message,) = failures(hdm05.SOURCE, tmp_path)
    assert "HDM_tr.asf" in message
    assert len(lenient(hdm05.SOURCE, tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("kickLSide2Reps", "side kick with the left leg"),
        ("elbowToKnee3RepsLelbowStart", "elbow to knee"),
        ("hopBothLegs1hops", "hop on both legs"),
        ("hopRLeg3hops", "hop on the right leg"),
        ("jogLeftCircle4StepsRstart", "jog in a circle to the left"),
        ("jogOnPlaceStartFloor2StepsRStart", "jog in place"),
        ("walkRightCrossFront2Steps", "walk to the right, one foot across the other"),
        ("walk2StepsLstart", "walk"),
        ("walkLeft3Steps", "walk sideways to the left"),
        ("rotateArmsBothBackward1Reps", "circle both arms backward"),
        ("rotateArmsLForward3Reps", "circle the left arm forward"),
        ("depositMiddleR", "put something on a shelf with the right hand"),
        ("grabFloorR", "take something from the floor with the right hand"),
        ("sitDownKneelTieShoes", "kneel down and tie shoes"),
        ("standUpLieFloor", "stand up from lying on the floor"),
        ("staircaseDown3Rstart", "walk down stairs"),
        ("throwSittingHighR", "throw high with the right hand while sitting"),
        ("punchRFront2Reps", "front punch with the right fist"),
        ("cartwheelLHandStart1Reps", "cartwheel"),
        ("sneak2StepsLStart", "sneak"),
        ("skier3RepsLstart", "cross-country skiing jumps"),
        ("somethingNewR2Reps", "something new right"),
        ("1", "1"),
    ],
)
def test_hdm05_titles_are_normalized(name: str, title: str):
    assert hdm05.title(name) == title


def test_mocap6_is_cut_at_its_labels(tmp_path: Path):
    LAYOUTS["mocap6"](tmp_path / "mocap6")
    takes = read(mocap6.SOURCE, tmp_path)
    assert [len(take.motion.x) for take in takes.values()] == [2 * mocap6.BLOCK, 2 * mocap6.BLOCK - 5]
    (tmp_path / "mocap6" / "amc" / "13.asf").write_text(mocap6.NOMINAL.read_text().replace("0.45", "0.5"))
    own = read(mocap6.SOURCE, tmp_path)["mocap6/13_29_000"]
    assert at(own, "pelvis")[0, 2] == pytest.approx(at(takes["mocap6/13_29_000"], "pelvis")[0, 2] * 0.9, abs=1e-5)
    (tmp_path / "mocap6" / "truelabels" / "13_29.txt").write_text("1 " * 9)
    assert "does not have one label per 12 frames" in failures(mocap6.SOURCE, tmp_path)[0]


def test_cmu_captions_become_sentences(tmp_path: Path):
    LAYOUTS["cmu_mocap"](tmp_path / "cmu")
    takes = read(SOURCES["cmu_mocap"], tmp_path)
    assert takes["cmu_mocap/002_03_0000_120"].descriptions == ("A person runs straight forward.", "Jogging, slowly.")
    assert takes["cmu_mocap/002_03_0060_60"].descriptions == ("Stops.",)
    assert takes["cmu_mocap/003_01_0000_300"].descriptions == ()
    captions = tmp_path / "cmu" / "captions.csv"
    captions.write_text(captions.read_text() + "002_03.bvh,400,500,0,0,is not there\n")
    assert "a part at 20 s" in failures(SOURCES["cmu_mocap"], tmp_path)[0]


def test_ui_prmd_elbow_rotation_is_applied(tmp_path: Path):
    """The sensor's frame has x to the left, y up, z ahead: -90 degrees about x lift a hanging forearm ahead."""
    LAYOUTS["ui_prmd"](tmp_path / "ui")
    take = read(ui_prmd.SOURCE, tmp_path)["ui_prmd/m01_s01_e01"]
    still, bent = ({joint: at(take, joint)[i] for joint in JOINTS} for i in (0, FRAMES - 1))
    place = {joint: value * [-1, -1, 1] for joint, value in standing().items()}
    for joint in ("pelvis", "neck", "head", "left_wrist", "right_elbow", "right_foot"):
        np.testing.assert_allclose(still[joint], place[joint], atol=1e-6, err_msg=joint)
    forearm = still["right_wrist"] - still["right_elbow"]
    expected = [forearm[0], forearm[2], -forearm[1]]
    np.testing.assert_allclose(bent["right_wrist"] - bent["right_elbow"], expected, atol=1e-6)
    np.testing.assert_allclose(bent["left_wrist"], still["left_wrist"], atol=1e-6)
    assert np.isnan(still["left_hand"]).all()
    assert take.motion.rate_hz == 30


def test_ui_prmd_rotates_about_fixed_axes_y_x_z():
    """A point ahead of the waist is rotated about y, then x, then z."""
    positions = np.zeros((2, len(ui_prmd.NAMES), 3))
    angles = np.zeros_like(positions)
    angles[:, 0] = (90, 90, 90)
    positions[:, ui_prmd.NAMES.index("spine")] = (0, 0, 50)
    legs = [ui_prmd.NAMES.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
    positions[:, legs] = (0, -40, 0)
    moved = ui_prmd.kinect_motion(positions, angles)
    # (0, 0, 1) about y by 90 -> (1, 0, 0); about x stays; about z -> (0, 1, 0); z up: (0, 0, 1).
    np.testing.assert_allclose(moved.x[0, JOINTS.index("neck")], [0, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("write", [LAYOUTS["penn_action"], write_penn_labels])
def test_penn_action_is_flat_and_scaled_to_human_height(write: Callable[[Path], None], tmp_path: Path):
    write(tmp_path / "penn")
    takes = lenient(penn_action.SOURCE, tmp_path)
    take = takes["penn_action/0001"]
    assert (take.name, take.split, take.motion.flat) == ("pull-up", "train", True)
    assert np.isnan(take.motion.x[..., 1]).all()
    neck, head = at(take, "neck"), at(take, "head")
    assert (head[:, 2] > neck[:, 2]).all()
    assert (at(take, "left_shoulder")[:, 0] > neck[:, 0]).all()  # faces the camera
    swing = np.ptp(at(take, "right_wrist")[:, 2]), np.ptp(at(take, "left_wrist")[:, 2])
    assert swing[0] > 0.15 > swing[1]
    leg = np.linalg.norm((at(take, "left_hip") - at(take, "left_ankle"))[:, ::2], axis=1)
    assert np.median(leg) == pytest.approx(0.87, abs=0.12)
    width = np.median(np.abs((at(take, "left_shoulder") - at(take, "right_shoulder"))[:, 0]))
    assert width / np.median(leg) == pytest.approx(0.4 / 0.87, rel=0.05)  # the frame's 4:3 is found


def test_penn_action_unlabeled_joints_are_unknown(tmp_path: Path):
    LAYOUTS["penn_action"](tmp_path / "penn")
    takes = lenient(penn_action.SOURCE, tmp_path)
    assert set(takes) == {"penn_action/0001", "penn_action/0002"}
    assert takes["penn_action/0002"].split == "val"
    assert np.isnan(at(takes["penn_action/0002"], "left_wrist")).all()
    assert np.isfinite(at(takes["penn_action/0002"], "right_wrist")[:, ::2]).all()
    (message,) = failures(penn_action.SOURCE, tmp_path)
    assert "0003: fewer than half" in message


def test_penn_action_frames_of_unknown_size_are_16_to_9():
    rng = np.random.default_rng(1)
    assert penn_action.aspect_of(rng.uniform(0.1, 0.9, (50, 13, 2))) == pytest.approx(16 / 9)


def test_truncated_files_are_named(made: tuple[Source, Path]):
    """With any file cut in half, the error names it, and no other exception is raised."""
    source, root = made
    for file in (file for file in root.rglob("*") if file.is_file() and file.name not in (*UNREAD, "captions.csv")):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2 - 3])
        try:
            messages = failures(source, root)
        except DataError as error:
            messages = [str(error)]
        assert any(file.stem.split("_positions")[0] in message for message in messages), (file, messages)
        file.write_bytes(whole)
        penn_action.load.cache_clear()


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(damaged([gzip.compress(b"1,2,3\n" * 30), b",".join([b"1.5"] * 66) + b"\n"], 600))
def test_hostile_tables_are_decoded_or_rejected(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    folder = tmp_path_factory.getbasetemp() / "hostile"
    folder.mkdir(exist_ok=True)
    for name in ("table.txt", "table.txt.gz"):
        (folder / name).write_bytes(content)
        with Tree.open(folder, (name,)) as tree, suppress(DataError):
            assert ui_prmd.table(tree, name).shape[1:] == (22, 3)


@pytest.mark.parametrize("shape", [(19, 3, 40), (20, 3), (20, 3, 1), (20, 40, 3)])
def test_utd_mhad_skeletons_of_another_shape_are_an_error(shape: tuple[int, ...], tmp_path: Path):
    LAYOUTS["utd_mhad_skeleton"](tmp_path / "utd")
    savemat(tmp_path / "utd" / "Skeleton" / "a1_s8_t1_skeleton.mat", {"d_skel": np.ones(shape)})
    (message,) = failures(SOURCES["utd_mhad_skeleton"], tmp_path)
    assert "a1_s8_t1" in message


def test_truncated_tar_is_named(tmp_path: Path):
    write_hdm05(tmp_path / "hdm05")
    archive = tmp_path / "data" / "cut.tar.xz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(tmp_path / "hdm05", "hdm05")
    shutil.rmtree(tmp_path / "hdm05")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut\.tar\.xz"):
        read(hdm05.SOURCE, archive.parent)


def test_skeletons_command_compares_sources(tmp_path: Path):
    """Counts, lengths in cm and a picture of all sources that are present."""
    for name in ("hdm05", "ui_prmd", "penn_action"):
        LAYOUTS[name](tmp_path / "data" / name)
    side_by_side(tmp_path / "data", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "skeletons.json").read_text())["sources"]
    assert list(rows) == ["hdm05", "ui_prmd", "penn_action"]
    assert {key: rows["penn_action"][key] for key in ("clips", "not usable", "people")} == {
        "clips": 2,
        "not usable": 1,
        "people": 2,
    }
    assert rows["hdm05"]["thigh"] == [pytest.approx(24.5 * 1.75, abs=0.1), 0.0]
    assert rows["ui_prmd"]["thigh"] == [pytest.approx(45.1, abs=0.1), 0.0]
    assert "foot" not in rows["penn_action"]
    assert "| ui_prmd | 2 | 0 | 2 | 2 |" in (tmp_path / "out" / "skeletons.md").read_text()
    assert (tmp_path / "out" / "skeletons.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="MUJO_DATA"):
        side_by_side(tmp_path / "out", tmp_path / "out")
