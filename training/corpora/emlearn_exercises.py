"""emlearn's exercise recordings: jumping jacks, squats, lunges and all else of one person's wrist (Nordby, 2024).

Layout: `har_record_exercises_1/data/{time}_{label}.npy`, int16 x, y, z in 1/16384 g with gravity, clipped at 2 g;
`har_record_exercises_1/labels/*.csv`, what a person saw in some of the files afterwards (Label Studio's export, columns
timeseriesUrl and trend_forecast), which counts more than the file's name; what is `mixed` is unlabeled. Headers
promise 1,000 rows, but files hold those that were written before the button was pressed, and one holds nothing. Files
of 1,000 rows follow each other every 10 s, so that the rate is 100 Hz.

The device is an M5StickC, and how it sat on the wrist is not stated; axes stay as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np

from mujo_edge.core import CHANNELS, STANDARD_GRAVITY, DataError
from training.corpora.base import BACKGROUND, Corpus, Recording, columns, whole
from training.corpora.files import Tree

LABELS = {"jumpingjack": "jumping jack", "squat": "squat", "lunge": "lunge", "other": BACKGROUND, "mixed": ""}
MARKER = r"(?P<unit>har_record_exercises_1)/(?:data/(?P<stem>[\dT-]+_(?P<label>[a-z]+))\.npy|labels/[^/]+\.csv)"
MAGIC = b"\x93NUMPY\x01\x00"
DTYPE = b"'descr': '<i2', 'fortran_order': False"
LSB = STANDARD_GRAVITY / 16384
"""m/s2 a step of the accelerometer at its range of 2 g."""
RATE_HZ = 100.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording a file."""
    seen = annotations(tree)
    for name, found in tree.match(MARKER):
        if not found["stem"] or not (content := tree.read(name)):
            continue
        label = seen.get(found["stem"], found["label"])
        if label not in LABELS:
            raise DataError(f"{tree.where(name)} has an unknown label, {label!r}. Is it a newer version of the set?")
        x = columns(samples(content, tree.where(name)) * LSB)
        yield Recording(
            corpus="emlearn_exercises",
            subject="1",
            session=found["stem"],
            placement="wrist",
            rate_hz=RATE_HZ,
            x=x,
            labels=whole(LABELS[label], len(x)),
            channels=CHANNELS[:3],
        )


def annotations(tree: Tree) -> dict[str, str]:
    """What was seen in a file, by its stem; `mixed` where a file was looked at twice with two results."""
    seen: dict[str, str] = {}
    for name, found in tree.match(MARKER):
        if found["stem"]:
            continue
        try:
            rows = list(csv.DictReader(tree.read(name).decode().splitlines(), strict=True))
            for row in rows:
                stem, label = row["timeseriesUrl"].split("-", 1)[1].removesuffix(".npy.csv"), row["trend_forecast"]
                seen[stem] = label if seen.get(stem, label) == label else "mixed"
        except (csv.Error, KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
            raise DataError(f"{tree.where(name)} is no table of annotations ({error}). Fetch the file again") from None
    return seen


def samples(content: bytes, where: str) -> np.ndarray:
    """(n, 3) of an .npy file whose header may promise more rows. Raises `DataError` if it is anything else."""
    start = len(MAGIC) + 2 + int.from_bytes(content[len(MAGIC) : len(MAGIC) + 2], "little")
    body = content[start:]
    if not content.startswith(MAGIC) or DTYPE not in content[:start] or not body or len(body) % 6:
        raise DataError(f"{where} is cut off or no .npy file of int16 triples. Fetch the file again")
    return np.frombuffer(body, "<i2").reshape(-1, 3).astype(np.float64)


CORPUS = Corpus(
    name="emlearn_exercises",
    title="emlearn exercises (one wrist)",
    classes=("jumping jack", "squat", "lunge", BACKGROUND),
    license="MIT",
    open_license=True,
    citation="J. Nordby et al. Human Activity Recognition with emlearn on MicroPython, exercise recordings, 2024.",
    home="https://github.com/emlearn/emlearn-micropython",
    marker=MARKER,
    read=read,
    files=135,
)
