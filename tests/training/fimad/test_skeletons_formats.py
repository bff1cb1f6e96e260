"""ASF/AMC, BVH and joint angles: forward kinematics against rotation matrices, and damaged files."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_skeletons import FRAMES, amc_text, bvh_text, standing, waving
from scipy.spatial.transform import Rotation

from mujo_edge.core import DataError
from training.fimad.clip import BONES, JOINTS
from training.fimad.skeletons import asf_amc, bvh, canonical
from training.fimad.sources import mocap6

NOMINAL = mocap6.NOMINAL.read_text()
TRIED = settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def at(motion: canonical.Motion, joint: str) -> np.ndarray:
    return motion.x[:, JOINTS.index(joint)].astype(np.float64)


def turn(axis: str, degrees: float) -> np.ndarray:
    """A rotation matrix about one axis, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i = "xyz".index(axis)
    matrix = np.eye(3)
    matrix[np.ix_([(i + 1) % 3, (i + 2) % 3], [(i + 1) % 3, (i + 2) % 3])] = [[c, -s], [s, c]]
    return matrix


def test_forward_kinematics_equals_a_chain_of_matrices():
    """Comparison with products of matrices, for random angles of every bone."""
    skeleton = asf_amc.parse_asf(NOMINAL)
    rng = np.random.default_rng(3)
    degrees = {name: rng.uniform(-60, 60, len(bone.dof)) for name, bone in skeleton.bones.items()}
    root = np.array([1.0, 17.0, -2.0, 20.0, 30.0, 40.0])
    values = {name: np.radians(angles)[None] for name, angles in degrees.items()}
    values["root"] = np.concatenate([root[:3], np.radians(root[3:])])[None]
    ends = asf_amc.forward(skeleton, values)

    turns = {"root": turn("z", 40) @ turn("y", 30) @ turn("x", 20)}
    places = {"root": root[:3] * 0.0254 / 0.45}
    for name, bone in skeleton.bones.items():
        own = np.eye(3)
        for dof, angle in zip(bone.dof, degrees[name], strict=True):
            own = turn(dof[1], angle) @ own
        axis = bone.axis.as_matrix()
        turns[name] = turns[bone.parent] @ axis @ own @ axis.T
        places[name] = places[bone.parent] + turns[name] @ bone.rest
        np.testing.assert_allclose(ends[name][0], places[name], atol=1e-9)
    np.testing.assert_allclose(ends["root"][0], places["root"])


def test_nominal_person_stands_upright_at_rest():
    motion = asf_amc.amc_motion(NOMINAL, amc_text())
    np.testing.assert_allclose(at(motion, "pelvis")[0], [0, -0.04, 17 * 0.0254 / 0.45 - 0.1], atol=1e-3)
    assert (at(motion, "left_hip")[:, 0] > 0.05).all()  # the model looks along -y here, so the left is at +x
    assert (at(motion, "left_foot")[:, 1] < at(motion, "left_ankle")[:, 1] - 0.1).all()
    assert (at(motion, "head")[:, 2] > at(motion, "neck")[:, 2] + 0.1).all()
    assert motion.rate_hz == 120
    assert len(motion.x) == FRAMES


def test_bent_knee_moves_only_the_shank_and_backwards():
    straight, bent = (asf_amc.amc_motion(NOMINAL, amc_text(knee_deg=angle)) for angle in (0, 90))
    moved = np.linalg.norm(bent.x - straight.x, axis=2)[0] > 1e-4
    assert {JOINTS[i] for i in np.flatnonzero(moved)} == {"right_ankle", "right_foot"}
    shank = at(bent, "right_ankle")[0] - at(bent, "right_knee")[0]
    assert np.linalg.norm(shank) == pytest.approx(0.246 * 1.75, abs=1e-3)
    assert shank[1] > 0.4


def test_asf_units_may_be_radians_and_inches():
    text = NOMINAL.replace("length 0.45", "length 1.0")
    meters = asf_amc.parse_asf(text).bones["lfemur"].rest
    np.testing.assert_allclose(meters, asf_amc.parse_asf(NOMINAL).bones["lfemur"].rest * 0.45)
    degrees = amc_text(2, knee_deg=90)
    radians = degrees.replace(":DEGREES\n", "").replace("rtibia 90", f"rtibia {np.pi / 2:.9f}")
    skeleton = asf_amc.parse_asf(NOMINAL)
    for one, other in zip(*(asf_amc.parse_amc(t, skeleton).values() for t in (degrees, radians)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("up", ["y", "z"])
def test_bvh_joints_and_up_axis(up: str):
    from training.fimad.sources.cmu import avatar_motion

    motion = avatar_motion(bvh.parse(bvh_text(up=up)))
    for joint, place in standing().items():
        if joint not in ("spine", "head"):
            np.testing.assert_allclose(at(motion, joint)[0], place, atol=1e-5, err_msg=joint)
    np.testing.assert_allclose(at(motion, "head")[0], [0, 0.02, 1.64], atol=1e-5)
    assert motion.rate_hz == pytest.approx(60, rel=1e-3)


def test_bvh_rotates_about_own_axes_in_the_listed_order():
    """One joint with three rotations on a moving root: offset, then Z, then Y, then X."""
    text = (
        "HIERARCHY\nROOT r\n{\nOFFSET 1 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation\n"
        "JOINT a\n{\nOFFSET 0 2 0\nCHANNELS 3 Zrotation Yrotation Xrotation\nJOINT b\n{\nOFFSET 0 0 3\n"
        "CHANNELS 3 Zrotation Yrotation Xrotation\nEnd Site\n{\nOFFSET 0 0 9\n}\n}\n}\n}\n"
        "MOTION\nFrames: 1\nFrame Time: 0.01\n4 5 6 10 20 30 40 50 60 0 0 0\n"
    )
    places = bvh.positions(bvh.parse(text), {"r", "a", "b"})
    root = turn("z", 10) @ turn("y", 20) @ turn("x", 30)
    a = root @ turn("z", 40) @ turn("y", 50) @ turn("x", 60)
    np.testing.assert_allclose(places["r"][0], [5, 5, 6])
    np.testing.assert_allclose(places["a"][0], [5, 5, 6] + root @ [0, 2, 0])
    np.testing.assert_allclose(places["b"][0], [5, 5, 6] + root @ [0, 2, 0] + a @ [0, 0, 3])
    with pytest.raises(DataError, match="lacks nose"):
        bvh.positions(bvh.parse(text), {"r", "nose"})


def test_half_way_along_a_chain_is_measured_by_length():
    corner = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 3]])[:, None]
    np.testing.assert_allclose(canonical.half_way(corner), [[1, 0, 1]])


def test_z_up_keeps_handedness():
    x, y, z = canonical.z_up(np.eye(3))
    np.testing.assert_allclose(np.cross(x, y), z)
    np.testing.assert_allclose(y, [0, 0, 1])


def test_missing_joints_are_nan():
    joints = {name: x for name, x in waving().items() if "hand" not in name}
    motion = canonical.motion(joints, 30)
    assert np.isnan(at(motion, "left_hand")).all()
    assert np.isfinite(motion.x).all(axis=(0, 2)).sum() == len(JOINTS) - 2
    lengths = [np.ptp(np.linalg.norm(at(motion, a) - at(motion, b), axis=1)) for a, b in BONES if "hand" not in b]
    assert np.argmax(lengths) == [b for _, b in BONES if "hand" not in b].index("right_wrist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {k: v * 100 for k, v in x.items()}, "wrong unit"),
        (lambda x: {k: v[:1] for k, v in x.items()}, "not a motion"),
        (lambda x: x | {"head": np.full_like(x["head"], np.nan)}, "no finite position"),
        (lambda x: x | {"left_hip": np.full_like(x["left_hip"], np.inf)}, "no finite position"),
    ],
)
def test_invalid_motion_is_an_error(change, message: str):
    with pytest.raises(DataError, match=message):
        canonical.motion(change(waving()), 30)
    with pytest.raises(DataError, match="not a motion"):
        canonical.motion(waving(), float("nan"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (amc_text(3)[:-60], "cut off or malformed|not of this skeleton"),
        (amc_text(3).replace("rtibia", "rshin"), "'rshin' is not of this skeleton"),
        (amc_text(3).replace("rtibia 0", "rtibia nought", 1), "no number"),
        ("", "cut off or malformed"),
        (amc_text(3).replace("ltibia", "rtibia", 2), "not of this skeleton|same bones|cut off"),
    ],
)
def test_damaged_amc_is_an_error(text: str, message: str):
    with pytest.raises(DataError, match=message):
        asf_amc.amc_motion(NOMINAL, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":units", ":onits"),
        ("direction 0.630554", "direction nought"),
        ("root lhipjoint rhipjoint lowerback", "root lhipjoint lowerback"),
        ("lfemur ltibia", "ltibia lfemur"),
        ("dof rx ry rz", "dof tx ry rz"),
        ("length 0.45", "length 0"),
        ("axis XYZ", "axis XQZ"),
    ],
)
def test_damaged_asf_is_an_error(old: str, new: str):
    assert old in NOMINAL
    with pytest.raises(DataError):
        asf_amc.amc_motion(NOMINAL.replace(old, new, 1), amc_text(3))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Frames: 300", "Frames: 299"),
        ("Frame Time: 0.016667", "Frame Time: 0"),
        ("MOTION", ""),
        ("OFFSET", "OFFSIDE"),
        ("0 0 0", "0 0 nan"),
        ("CHANNELS 6 Xposition", "CHANNELS 6 Xpotition"),
    ],
)
def test_damaged_bvh_is_an_error(old: str, new: str):
    with pytest.raises(DataError):
        bvh.parse(bvh_text().replace(old, new))


def only_data_errors(read, *arguments: object) -> None:
    """Call `read`; only a `DataError` may be raised."""
    with suppress(DataError):
        read(*arguments)


@TRIED
@given(damaged([amc_text(2).encode(), NOMINAL.encode()], 4000))
def test_hostile_asf_and_amc_are_decoded_or_rejected(content: bytes):
    text = content.decode("latin-1")
    only_data_errors(asf_amc.amc_motion, NOMINAL, text)
    only_data_errors(asf_amc.amc_motion, text, amc_text(2))


@TRIED
@given(damaged([bvh_text(2).encode()], 4000))
def test_hostile_bvh_are_decoded_or_rejected(content: bytes):
    only_data_errors(lambda text: bvh.positions(bvh.parse(text), {"CC_Base_Hip"}), content.decode("latin-1"))


@TRIED
@given(st.text(alphabet="0123456789 \n-x", max_size=40))
def test_hostile_labels_are_decoded_or_rejected(text: str):
    only_data_errors(mocap6.parse_labels, text, "labels")


def test_scipy_rotations_equal_the_matrices():
    np.testing.assert_allclose(
        Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix(),
        turn("z", 40) @ turn("y", 30) @ turn("x", 20),
    )
