"""MotionSense: 24 people, 6 daily activities, iPhone 6s in the front pocket, 50 Hz (Malekzadeh et al., 2019).

Layout: `A_DeviceMotion_data/{activity}_{trial}/sub_{n}.csv` with gravity.{x,y,z} and
userAcceleration.{x,y,z} in g, rotationRate.{x,y,z} in rad/s (Core Motion's CMDeviceMotion).
"""

from __future__ import annotations

from collections.abc import Iterator

from training.corpora.base import CORE_MOTION_G, Corpus, Download, Recording, columns, constant
from training.corpora.files import Tree, read_csv, stack

ACTIVITIES = {
    "dws": "walking downstairs",
    "ups": "walking upstairs",
    "sit": "sitting",
    "std": "standing",
    "wlk": "walking",
    "jog": "jogging",
}
MARKER = r"(dws|ups|sit|std|wlk|jog)_(\d+)/sub_(\d+)\.csv"
GRAVITY, USER, ROTATION = (
    [f"{kind}.{axis}" for axis in "xyz"] for kind in ("gravity", "userAcceleration", "rotationRate")
)


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per trial and person."""
    for name, matched in tree.match(MARKER):
        values = read_csv(tree, name, dict.fromkeys(GRAVITY + USER + ROTATION, float))
        acceleration = (stack(values, GRAVITY) + stack(values, USER)) * CORE_MOTION_G
        x = columns(acceleration, stack(values, ROTATION))
        activity, trial, subject = matched.groups()
        yield Recording(
            corpus="motionsense",
            subject=subject,
            session=f"{activity}_{trial}/sub_{subject}",
            placement="pocket",
            rate_hz=50.0,
            x=x,
            labels=constant(ACTIVITIES[activity], len(x)),
        )


CORPUS = Corpus(
    name="motionsense",
    title="MotionSense",
    classes=tuple(ACTIVITIES.values()),
    license="MIT",
    open_license=True,
    citation="M. Malekzadeh, R. G. Clegg, A. Cavallaro, H. Haddadi. Mobile Sensor Data Anonymization. IoTDI 2019.",
    home="https://github.com/mmalekzadeh/motion-sense",
    marker=MARKER,
    read=read,
    download=Download(
        "https://github.com/mmalekzadeh/motion-sense/raw/master/data/A_DeviceMotion_data.zip",
        "A_DeviceMotion_data.zip",
    ),
    files=360,
)
