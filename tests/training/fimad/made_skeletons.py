"""Small data sets of one person's motion in the publishers' layouts of skeletons."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from training.fimad.clip import JOINTS
from training.fimad.skeletons import asf_amc
from training.fimad.sources import cmu, hdm05, mocap6, penn_action, ui_prmd, utd_mhad

STANDING_M = {
    "pelvis": (0, 0, 0.95),
    "spine": (0, 0, 1.2),
    "neck": (0, 0, 1.45),
    "head": (0, 0.02, 1.64),
    "left_shoulder": (-0.2, 0, 1.4),
    "left_elbow": (-0.25, 0, 1.12),
    "left_wrist": (-0.27, 0.03, 0.87),
    "left_hand": (-0.27, 0.05, 0.8),
    "left_hip": (-0.08, 0, 0.95),
    "left_knee": (-0.08, 0.03, 0.5),
    "left_ankle": (-0.08, 0, 0.08),
    "left_foot": (-0.08, 0.14, 0.02),
}
"""A standing person facing along y, so the left is at -x; the right side is its mirror image."""
FRAMES = 40


def standing() -> dict[str, np.ndarray]:
    """Joint -> (3,) m."""
    both = STANDING_M | {
        name.replace("left", "right"): (-x, y, z) for name, (x, y, z) in STANDING_M.items() if "left" in name
    }
    return {name: np.array(both[name], float) for name in JOINTS}


def waving() -> dict[str, np.ndarray]:
    """Joint -> (FRAMES, 3) m: the right hand goes up and down by 20 cm; all else is at rest."""
    swing = 0.1 * (1 - np.cos(np.linspace(0, 4 * np.pi, FRAMES)))
    joints = {name: np.tile(at, (FRAMES, 1)) for name, at in standing().items()}
    for name in ("right_wrist", "right_hand"):
        joints[name][:, 2] += swing
    return joints


def y_up(z_up: np.ndarray) -> np.ndarray:
    """(..., 3) z up -> y up, as in Kinect."""
    x, y, z = np.moveaxis(z_up, -1, 0)
    return np.stack([x, z, -y], -1)


def write_utd_mhad(root: Path) -> None:
    """Trials of 40 frames, with IMU files of 105 samples beside them: 19 frames/s."""
    joints = waving() | {"hip_center": np.tile([0, 0, 1.0], (FRAMES, 1))}
    rows = np.stack([y_up(joints[name]) for name in utd_mhad.KINECT])
    imu = np.tile([0, 0, 1, 0, 0, 90.0], (105, 1))
    for folder in ("Skeleton", "Inertial"):
        (root / folder).mkdir(parents=True)
    for trial in ("a3_s1_t1", "a27_s2_t4"):
        savemat(root / "Skeleton" / f"{trial}_skeleton.mat", {"d_skel": rows.transpose(0, 2, 1)})
        savemat(root / "Inertial" / f"{trial}_inertial.mat", {"d_iner": imu})
    savemat(root / "Skeleton" / "a1_s8_t1_skeleton.mat", {"d_skel": rows.transpose(0, 2, 1)})


def amc_text(frames: int = FRAMES, knee_deg: float = 0.0, root: str = "0 17 0 0 0 0") -> str:
    """AMC file with equal frames: all angles are 0 except the right knee's."""
    skeleton = asf_amc.parse_asf(mocap6.NOMINAL.read_text())
    lines = ["#!OML:ASF made", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(1, frames + 1):
        lines += [str(frame), f"root {root}"]
        for name, bone in skeleton.bones.items():
            if bone.dof:
                values = [knee_deg if name == "rtibia" else 0.0] * len(bone.dof)
                lines.append(" ".join([name, *(f"{value:g}" for value in values)]))
    return "\n".join(lines) + "\n"


def write_hdm05(root: Path) -> None:
    """Two people, three motions; one person's skeleton lies in another folder."""
    for folder, person, name in (("6", "bd", "kickRFront1Reps"), ("10", "bd", "squat3Reps"), ("10", "tr", "newMoveL")):
        path = root / folder / f"HDM_{person}_{name}_001_120.amc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"#!OML:ASF X:\\f\xfcr Bonn\n" + amc_text().encode())
    for folder, person in (("6", "bd"), ("10", "tr")):
        (root / folder / f"HDM_{person}.asf").write_text(mocap6.NOMINAL.read_text())


def write_mocap6(root: Path) -> None:
    """A sequence of 4 blocks, the last one short, jumping jacks then squats; another one has labels without motion."""
    for folder, name, text in (
        ("amc", "13_29.amc", amc_text(4 * mocap6.BLOCK - 5)),
        ("truelabels", "13_29.txt", "1 1 3 3 \n"),
        ("truelabels", "14_06.txt", "1 1 3 3 \n"),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_text(text)


def bvh_text(frames: int = 300, up: str = "y", bow_deg: float = 0.0) -> str:
    """BVH file: all joints are children of the hip, which bows about x; `up` "z" has the root on the floor and z up."""
    joints = standing()
    places = {name: joints[joint] for joint, name in cmu.AVATAR.items()}
    places |= dict(zip(cmu.TRUNK, ([0, 0, 1.0], [0, 0, 1.1], [0, 0, 1.2]), strict=True))
    places |= {cmu.COLLAR[0]: joints["neck"] - [0.05, 0, 0], cmu.COLLAR[1]: joints["neck"] + [0.05, 0, 0]}
    places |= dict(zip(cmu.SKULL, ([0, 0, 1.6], [-0.03, 0.04, 1.68], [0.03, 0.04, 1.68]), strict=True))
    turned = np.asarray if up == "z" else y_up

    def number(at: np.ndarray) -> str:
        return " ".join(f"{100 * value:.4f}" for value in turned(np.asarray(at, float)))

    channels = "CHANNELS 3 Zrotation Yrotation Xrotation"
    leaves = "".join(
        f"JOINT {name}\n{{\nOFFSET {number(at - joints['pelvis'])}\n{channels}\nEnd Site\n{{\nOFFSET 0 0 0\n}}\n}}\n"
        for name, at in places.items()
    )
    head = (
        f"HIERARCHY\nROOT CC_Base_Hip\n{{\nOFFSET {number(joints['pelvis'])}\n"
        f"CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation\n{leaves}}}\n"
    )
    row = " ".join(["0 0 0", f"0 0 {bow_deg:g}", *["0 0 0"] * len(places)])
    return f"{head}MOTION\nFrames: {frames}\nFrame Time: 0.016667\n" + f"{row}\n" * frames


def write_cmu(root: Path) -> None:
    """A captioned file with two parts and a section of a part, one without captions, one without caption and title."""
    folder = root / "subjects"
    folder.mkdir(parents=True)
    for name in ("002_03", "003_01", "099_01"):
        (folder / f"{name}.bvh").write_text(bvh_text(up="z" if name == "003_01" else "y"))
    (root / "captions.csv").write_text(
        "bvh,start_frame_20hz,end_frame_20hz,caption_start_s,caption_end_s,caption\n"
        "002_03.bvh,0,40,0.0,0.0,a person runs straight forward.\n"
        '002_03.bvh,0,40,0.0,0.0,"jogging, slowly "\n'
        "002_03.bvh,40,100,1.0,2.0,stops\n"
    )


def write_ui_prmd(root: Path) -> None:
    """Two repetitions, one gzipped; all angles are 0 except the right elbow's in the second half."""
    joints = y_up(np.stack(list(standing().values()))) * 100 * [-1, 1, -1]  # x to the person's left, z forward
    at = dict(zip(JOINTS, joints, strict=True))
    at |= {"waist": at["pelvis"], "chest": at["neck"] - [0, 2, 0], "skull": (at["neck"] + at["head"]) / 2}
    at |= {f"{side}_collar": at["neck"] for side in ("left", "right")}
    places = np.stack([at[name] for name in ui_prmd.NAMES])
    local = np.stack([place - places[p] if p >= 0 else place for place, p in zip(places, ui_prmd.PARENTS, strict=True)])
    angles = np.zeros((FRAMES, len(places), 3))
    angles[FRAMES // 2 :, ui_prmd.NAMES.index("right_elbow")] = (-90, 0, 0)
    for episode in ("m01_s01_e01", "m10_s02_e10"):
        for kind, values in (("Positions", np.tile(local, (FRAMES, 1, 1))), ("Angles", angles)):
            folder = root / "Segmented Movements" / "Kinect" / kind
            folder.mkdir(parents=True, exist_ok=True)
            text = "\n".join(",".join(f"{v:.6f}" for v in row) for row in values.reshape(FRAMES, -1)) + "\n"
            name = f"{episode}_{kind.lower()}.txt"
            if episode.endswith("e01"):
                (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
            else:
                (folder / name).write_text(text)


def penn_pixels(rows: int, columns: int) -> np.ndarray:
    """(FRAMES, 13, 2) integer pixels of a person facing the camera: the person's left is on the right of the image."""
    joints = waving()
    x = np.stack([joints[name] for name in penn_action.ORDER], 1)
    return np.rint(np.stack([columns / 2 - x[..., 0] * rows / 2, rows * (0.9 - x[..., 2] / 2)], -1))


def write_penn_npz(root: Path) -> None:
    """Three sequences of 480 x 360: one complete, one without the left arm, one with hardly any joint."""
    x = penn_pixels(360, 480) / [480, 360]
    unseen, nobody = x.copy(), x.copy()
    unseen[:, [penn_action.ORDER.index(f"left_{joint}") for joint in ("elbow", "wrist")]] = 0
    nobody[:, 1:] = 0
    flat = [np.concatenate([s[..., 0], s[..., 1], np.ones(s.shape[:2])], 1) for s in (x, unseen, nobody)]
    root.mkdir(parents=True)
    np.savez_compressed(
        root / "penn_action.npz",
        X=np.concatenate(flat).astype(np.float32),
        start=np.arange(4) * FRAMES,
        y=np.array([0, 1, 1]),
        classes=np.array(["pullup", "jumping_jacks"]),
        train=np.array([1, -1, 1]),
        rec=np.array(["0001", "0002", "0003"]),
    )


def write_penn_labels(root: Path) -> None:
    """One of the publisher's files."""
    x = penn_pixels(360, 480)
    folder = root / "Penn_Action" / "labels"
    folder.mkdir(parents=True)
    content = {"x": x[..., 0], "y": x[..., 1], "visibility": np.ones(x.shape[:2]), "action": "pullup", "train": 1}
    savemat(folder / "0001.mat", content | {"dimensions": np.array([[360, 480, len(x)]])})


UNREAD = ("14_06.txt", "099_01.bvh")
"""Files that no task reads: labels without motion, and a clip without texts."""
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "utd_mhad_skeleton": write_utd_mhad,
    "hdm05": write_hdm05,
    "mocap6": write_mocap6,
    "cmu_mocap": write_cmu,
    "ui_prmd": write_ui_prmd,
    "penn_action": write_penn_npz,
}
SOURCES = {module.SOURCE.name: module.SOURCE for module in (utd_mhad, hdm05, mocap6, cmu, ui_prmd, penn_action)}
