"""UTD-MHAD's skeletons with the real IMU of the same trial (Chen, Jafari, Kehtarnavaz, ICIP 2015).

Layout: `Skeleton/aA_sS_tT_skeleton.mat`, variable `d_skel` (20, 3, frames): Kinect v1's joints from the head down
(project page, "Skeleton joint positions"), meters, y up, z away from the sensor, x to the right of the person, who
faces it. Beside it `Inertial.zip` or `Inertial/` as read by `training.corpora.utd_mhad`.

Neither file has times. Kinect and IMU were started and stopped together, so both are assumed to span the same time: the
median trial has 2.6 samples of the 50 Hz IMU per frame, that is, 19 frames/s. The Kinect was level: standing people
lean 3.6 +- 0.8 degrees forward from ankles to shoulders, which is usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mujo_edge.core import F32, DataError
from training.corpora import utd_mhad
from training.corpora.files import Tree, locate, read_mat
from training.fimad.clip import IMU_RATE_HZ, Motion, Source, Take, Task
from training.fimad.skeletons.canonical import motion, z_up

MARKER = r"(a(\d+)_s(\d+)_t\d+)_skeleton\.mat"
LIMBS = ("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")
KINECT = (
    "head",
    "neck",
    "spine",
    "hip_center",
    *(f"{side}_{joint}" for limb in LIMBS for side in ("left", "right") for joint in limb),
)
"""Order of `d_skel`'s rows; Kinect calls the neck `shoulder_center`."""
NOMINAL_HZ = IMU_RATE_HZ / 2.625
"""Frame rate of trials without a file of the IMU: that of the median trial."""
SENSOR = {True: "right_wrist", False: "right_thigh"}
"""Placement of the real IMU, by whether it is worn on the wrist in this action."""
DESCRIPTIONS = (
    "A person swipes the right arm to the left.",
    "A person swipes the right arm to the right.",
    "A person waves with the right hand.",
    "A person claps both hands in front of the body.",
    "A person throws with the right arm.",
    "A person crosses both arms in front of the chest.",
    "A person shoots a basketball with both hands.",
    "A person draws an x in the air with the right hand.",
    "A person draws a circle clockwise in the air with the right hand.",
    "A person draws a circle counter-clockwise in the air with the right hand.",
    "A person draws a triangle in the air with the right hand.",
    "A person bowls a ball with the right hand.",
    "A person boxes in front of the body.",
    "A person swings a baseball bat from the right.",
    "A person swings a tennis racket forehand with the right hand.",
    "A person curls both arms.",
    "A person serves at tennis with the right hand.",
    "A person pushes forward with two hands.",
    "A person knocks on a door with the right hand.",
    "A person catches an object with the right hand.",
    "A person picks something up and throws it with the right hand.",
    "A person jogs in place.",
    "A person walks in place.",
    "A person stands up from a chair.",
    "A person sits down on a chair.",
    "A person makes a lunge forward with the left foot in front.",
    "A person squats with both arms stretched out.",
)
"""Sentences for `training.corpora.utd_mhad.ACTIONS`, after the list on the project page."""


def read(path: Path, name: str, inertial: tuple[Path, str] | None) -> Iterator[Take]:
    """The take of one trial; `inertial` is the archive and name of its IMU file. Raises `DataError` naming the file."""
    with Tree.open(path, (name,)) as tree:
        ((_, matched),) = tree.match(MARKER)
        trial, action, subject = matched[1], int(matched[2]), matched[3]
        if not 1 <= action <= len(utd_mhad.ACTIONS):
            raise DataError(f"{tree.where(name)}: UTD-MHAD has actions 1 to 27. Move this file out of the folder")
        d_skel = read_mat(tree, name, "d_skel")
        if d_skel.ndim != 3 or d_skel.shape[:2] != (len(KINECT), 3) or d_skel.shape[2] < 2:
            raise DataError(f"{tree.where(name)}: d_skel has shape {d_skel.shape}, expected (20, 3, frames)")
        imu = real_imu(*inertial) if inertial else {}
        n = next(map(len, imu.values()), None)
        frames = d_skel.shape[2]
        rate_hz = NOMINAL_HZ if n is None else (frames - 1) / (n - 1) * IMU_RATE_HZ
        try:
            moved = kinect_motion(d_skel, rate_hz)
        except DataError as error:
            raise DataError(f"{tree.where(name)}: {error}") from None
    yield Take(
        id=f"{SOURCE.name}/{trial}",
        corpus=SOURCE.name,
        name=utd_mhad.ACTIONS[action - 1],
        subject=subject,
        descriptions=(DESCRIPTIONS[action - 1],),
        motion=moved,
        real_imu=imu,
    )


def kinect_motion(d_skel: F32, rate_hz: float) -> Motion:
    """`d_skel` (20, 3, n) -> `Motion`."""
    joints = dict(zip(KINECT, z_up(d_skel.transpose(0, 2, 1)), strict=True))
    return motion(joints, rate_hz, trunk=(joints["hip_center"], joints["spine"]))


def real_imu(path: Path, name: str) -> Mapping[str, F32]:
    """Placement -> (m, 6) of a trial's IMU at 50 Hz, m/s2 and rad/s."""
    with Tree.open(path, (name,)) as tree:
        (recording,) = utd_mhad.read(tree)
    return {SENSOR[recording.placement == "wrist"]: recording.x}


def tasks(path: Path) -> Iterator[Task]:
    """One task per trial, with its IMU file if that is beside the skeletons."""
    inertial = locate(path.parent, utd_mhad.MARKER) or locate(path, utd_mhad.MARKER)
    files = {}
    if inertial:
        with Tree.open(inertial) as tree:
            files = {"a{}_s{}_t{}".format(*matched.groups()): name for name, matched in tree.match(utd_mhad.MARKER)}
    with Tree.open(path) as tree:
        for name, matched in tree.match(MARKER):
            file = (inertial, files[matched[1]]) if matched[1] in files else None
            yield Task(f"{SOURCE.name}/{matched[1]}", read, (path, name, file))


def find(root: Path) -> Path | None:
    """The skeletons' archive or folder under the data folder."""
    return locate(root, MARKER)


SOURCE = Source(
    name="utd_mhad_skeleton",
    title="UTD-MHAD (Kinect skeleton and inertial)",
    license=utd_mhad.CORPUS.license,
    open_license=utd_mhad.CORPUS.open_license,
    citation=utd_mhad.CORPUS.citation,
    home=utd_mhad.CORPUS.home,
    find=find,
    tasks=tasks,
    shares_people_with=(utd_mhad.CORPUS.name,),
)
