"""MyoGym: 10 people, 30 gym exercises, Myo band on the forearm, 50 Hz (Koskimaki, Siirtola, Roning, 2017).

Layout: `MyoGym.mat` with `raw_data` (n, 17): EMG time, 8 EMG channels, acceleration time, acceleration in g (10-12),
gyroscope time, gyroscope in deg/s (14-16); `raw_data_labels` (n, 2): exercise (1-30, 99 = none) and person. Repeated
rows are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import STANDARD_GRAVITY, DataError
from training.corpora.base import Corpus, Recording, columns
from training.corpora.files import Tree, read_mat

EXERCISES = (
    "seated cable rows",
    "one-arm dumbbell row",
    "wide-grip pulldown behind the neck",
    "bent over barbell row",
    "reverse grip bent-over row",
    "wide-grip front pulldown",
    "bench press",
    "incline dumbbell flyes",
    "incline dumbbell press",
    "dumbbell flyes",
    "pushups",
    "leverage chest press",
    "close-grip barbell bench press",
    "bar skullcrusher",
    "triceps pushdown",
    "bench dip",
    "overhead triceps extension",
    "tricep dumbbell kickback",
    "spider curl",
    "dumbbell alternate bicep curl",
    "incline hammer curl",
    "concentration curl",
    "cable curl",
    "hammer curl",
    "upright barbell row",
    "side lateral raise",
    "front dumbbell raise",
    "seated dumbbell shoulder press",
    "car drivers",
    "lying rear delt raise",
    "no exercise",
)
NONE = 99
MARKER = r"MyoGym\.mat"


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per person."""
    for name, _ in tree.match(MARKER):
        data, labels = read_mat(tree, name, "raw_data"), read_mat(tree, name, "raw_data_labels")
        if data.ndim != 2 or data.shape[1] != 17 or labels.shape != (len(data), 2):
            raise DataError(
                f"{tree.where(name)}: raw_data is {data.shape} and raw_data_labels {labels.shape}, "
                "expected (n, 17) and (n, 2). Fetch the file again"
            )
        exercise = np.where(labels[:, 0] == NONE, len(EXERCISES), labels[:, 0])
        if not np.isin(exercise, range(1, len(EXERCISES) + 1)).all():
            raise DataError(f"{tree.where(name)} holds other labels than 1 to 30 and {NONE}. Fetch the file again")
        rows, first = np.unique(np.column_stack([labels[:, 1], data, exercise]), axis=0, return_index=True)
        for person in np.unique(rows[:, 0]):
            mine = np.sort(first[rows[:, 0] == person])
            yield Recording(
                corpus="myogym",
                subject=str(int(person)),
                session=f"person {int(person)}",
                placement="forearm",
                rate_hz=50.0,
                x=columns(data[mine, 10:13] * STANDARD_GRAVITY, np.deg2rad(data[mine, 14:17])),
                labels=np.asarray(EXERCISES)[exercise[mine].astype(np.int64) - 1],
            )


CORPUS = Corpus(
    name="myogym",
    title="MyoGym",
    classes=EXERCISES,
    license="none stated",
    open_license=False,
    citation="H. Koskimaki, P. Siirtola, J. Roning. MyoGym: Introducing an Open Gym Data Set for Activity Recognition "
    "Collected Using Myo Armband. UbiComp/ISWC Adjunct 2017.",
    home="https://doi.org/10.1145/3123024.3124400",
    marker=MARKER,
    read=read,
    files=1,
)
