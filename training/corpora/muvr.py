"""muvr: 30 gym exercises on a wrist, accelerometer only (the muvr project's training data, 2015-2016).

Layout: `{session}/*.csv` without a header: x, y, z (g), exercise, intensity, weight (kg), repetitions. The rate is not
stated; movement tempo fits 50 Hz. People are not identified, and the publisher calls most of it "Jan's collected
exercises", so the groups are session folders: never report this set as subject-disjoint. Repetitions are per file,
which holds one set and the time before and after it; a quarter of the files have none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import CHANNELS, DataError
from training.corpora.base import CORE_MOTION_G, Corpus, Download, Recording, RepetitionSet, columns, runs
from training.corpora.files import Tree, read_csv, stack

EXERCISES = (
    "alt dumbbell biceps curl",
    "angle chest press",
    "barbell biceps curl",
    "barbell press",
    "barbell pullup",
    "biceps curl",
    "cable cross overs",
    "cable deltoid cross overs",
    "deltoid row",
    "dumbbell biceps curl",
    "dumbbell chest fly",
    "dumbbell chest press",
    "dumbbell front rise",
    "dumbbell press",
    "dumbbell row",
    "dumbbell side rise",
    "lat pulldown angled",
    "lat pulldown straight",
    "lateral raise",
    "leverage high row",
    "overhead pull",
    "pulldown crunch",
    "rope biceps curl",
    "rope triceps extension",
    "side dips",
    "straight bar biceps curl",
    "straight bar triceps extension",
    "triceps dips",
    "triceps extension",
    "twist",
)
MARKER = r"(18-09-15-triceps-biceps-lateral|arms|back|chest|core|shoulders)/([\w-]+)\.csv"
RATE_HZ = 50.0
COLUMNS = ("x", "y", "z", "exercise", "intensity", "weight", "repetitions")


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per set of one exercise; the watches (Pebble, Apple Watch) have Core Motion's sign of g."""
    for name, matched in tree.match(MARKER):
        values = read_csv(tree, name, {**dict.fromkeys("xyz", float), "exercise": str, "repetitions": str}, COLUMNS)
        labels = np.asarray([exercise.replace("-", " ") for exercise in values["exercise"]])
        yield Recording(
            corpus="muvr",
            subject=matched[1],
            session=f"{matched[1]}/{matched[2]}",
            placement="wrist",
            rate_hz=RATE_HZ,
            x=columns(stack(values, "xyz") * CORE_MOTION_G),
            labels=labels,
            channels=CHANNELS[:3],
            sets=counted(labels, values["repetitions"], tree.where(name)),
        )


def counted(labels: np.ndarray, repetitions: np.ndarray, where: str) -> tuple[RepetitionSet, ...]:
    """The sets with a number of repetitions; many have none, or 0. Raises `DataError` for any other content."""
    sets = []
    for label, start, stop in runs(labels):
        entered = set(repetitions[start:stop].tolist())
        if len(entered) > 1 or not all(count == "" or (count.isascii() and count.isdigit()) for count in entered):
            raise DataError(f"{where}: {label} has repetitions {sorted(entered)}, not one number. Fetch the file again")
        if count := int(entered.pop() or 0):
            sets.append(RepetitionSet(start / RATE_HZ, stop / RATE_HZ, count, label))
    return tuple(sets)


CORPUS = Corpus(
    name="muvr",
    title="muvr gym exercises",
    classes=EXERCISES,
    license="none stated",
    open_license=False,
    citation="muvr project. muvr-training-data, labeled, 2015-2016.",
    home="https://github.com/muvr/muvr-training-data",
    marker=MARKER,
    read=read,
    download=Download(
        "https://github.com/muvr/muvr-training-data/archive/refs/heads/master.zip", "muvr-training-data.zip"
    ),
    files=390,
)
