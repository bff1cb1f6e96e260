"""sp-sw: seated, standing up, walking, turning, sitting down; pocket phone and left-wrist watch together.

Layout: `DATA/sNN/sNN_EE_{sp,sw}.csv` with x_acc..z_acc (m/s2 with gravity), x_gyro..z_gyro (rad/s), timestamp (ms) and
label of every sample. Timestamps are arrival times in bursts (0 to 188 ms apart), while the sensors sample evenly at
about 102.5 Hz (phone) and 104.3 Hz (watch): the rate of a recording is the number of its samples divided by its time
span.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from mujo_edge.core import DataError
from training.corpora.base import Corpus, Download, Recording, columns
from training.corpora.files import Tree, read_csv, stack

ACTIVITIES = {
    "SEATED": "seated",
    "STANDING_UP": "standing up",
    "WALKING": "walking",
    "TURNING": "turning",
    "SITTING_DOWN": "sitting down",
}
COLUMNS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")


def marker(device: str) -> str:
    """Files of the phone ("sp") or the watch ("sw")."""
    return rf"s\d+/s(\d+)_(\d+)_{device}\.csv"


def read(tree: Tree, device: str) -> Iterator[Recording]:
    """One recording per execution."""
    for name, matched in tree.match(marker(device)):
        values = read_csv(tree, name, {**dict.fromkeys((*COLUMNS, "timestamp"), float), "label": str})
        span_s = (values["timestamp"][-1] - values["timestamp"][0]) / 1000
        labels = values["label"]
        unknown = set(labels) - set(ACTIVITIES)
        if unknown or span_s <= 0:
            problem = f"unknown labels {sorted(map(str, unknown))}" if unknown else "timestamps that do not increase"
            raise DataError(f"{tree.where(name)} has {problem}. Is it another data set's file?")
        x = columns(stack(values, COLUMNS))
        yield Recording(
            corpus="sp_sw_phone" if device == "sp" else "sp_sw_watch",
            subject=matched[1],
            session=f"s{matched[1]}_{matched[2]}_{device}",
            placement="pocket" if device == "sp" else "wrist",
            rate_hz=(len(x) - 1) / span_s,
            x=x,
            labels=np.asarray([ACTIVITIES[label] for label in labels]),
            side="left" if device == "sw" else None,
        )


def corpus(device: str, name: str, title: str) -> Corpus:
    """One of the two data sets, phone and watch, recorded simultaneously."""
    return Corpus(
        name=name,
        title=title,
        classes=tuple(ACTIVITIES.values()),
        license="CC BY 4.0",
        open_license=True,
        citation="M. Matey-Sanz, S. Casteleyn, C. Granell. Dataset of inertial measurements of smartphones and "
        "smartwatches for human activity recognition. Data in Brief 51, 2023.",
        home="https://doi.org/10.5281/zenodo.8398688",
        marker=marker(device),
        read=partial(read, device=device),
        download=Download(
            "https://github.com/GeoTecINIT/sp-sw-har-dataset/archive/refs/heads/main.zip", "sp-sw-har-dataset.zip"
        ),
        files=223,
    )


PHONE = corpus("sp", "sp_sw_phone", "sp-sw, phone in the pocket")
WATCH = corpus("sw", "sp_sw_watch", "sp-sw, watch on the left wrist")
