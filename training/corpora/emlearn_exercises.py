"""emlearn's exercise recordings: jumping jacks, squats, lunges and other movements of one wrist (Nordby, 2024).

Layout: `har_record_exercises_1/data/{time}_{label}.npy`, int16 x, y, z in 1/16384 g with gravity, clipped at 2 g;
`har_record_exercises_1/labels/*.csv`, later annotations of some files (Label Studio's export, columns timeseriesUrl and
trend_forecast), which take precedence over the label in the file's name; `mixed` is unlabeled. Headers announce 1,000
rows, but files hold only the rows written before the button was pressed, and one is empty. Files of 1,000 rows follow
each other every 10 s, so the rate is 100 Hz.

The device is an M5StickC; its orientation on the wrist is not stated, so axes stay as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np

from mujo_edge.core import CHANNELS, STANDARD_GRAVITY, DataError
from training.corpora.base import BACKGROUND, Corpus, Recording, columns, constant
from training.corpora.files import Tree

LABELS = {"jumpingjack": "jumping jack", "squat": "squat", "lunge": "lunge", "other": BACKGROUND, "mixed": ""}
MARKER = r"(?P<unit>har_record_exercises_1)/(?:data/(?P<stem>[\dT-]+_(?P<label>[a-z]+))\.npy|labels/[^/]+\.csv)"
MAGIC = b"\x93NUMPY\x01\x00"
DTYPE = b"'descr': '<i2', 'fortran_order': False"
LSB = STANDARD_GRAVITY / 16384
"""m/s2 per LSB of the accelerometer at a range of 2 g."""
RATE_HZ = 100.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per file."""
    annotated = annotations(tree)
    for name, matched in tree.match(MARKER):
        if not matched["stem"] or not (content := tree.read(name)):
            continue
        label = annotated.get(matched["stem"], matched["label"])
        if label not in LABELS:
            raise DataError(f"{tree.where(name)} has an unknown label, {label!r}. Is it a newer version of the set?")
        x = columns(samples(content, tree.where(name)) * LSB)
        yield Recording(
            corpus="emlearn_exercises",
            subject="1",
            session=matched["stem"],
            placement="wrist",
            rate_hz=RATE_HZ,
            x=x,
            labels=constant(LABELS[label], len(x)),
            channels=CHANNELS[:3],
        )


def annotations(tree: Tree) -> dict[str, str]:
    """Stem of a file -> annotated label; `mixed` if two annotations differ."""
    labels: dict[str, str] = {}
    for name, matched in tree.match(MARKER):
        if matched["stem"]:
            continue
        try:
            rows = list(csv.DictReader(tree.read(name).decode().splitlines(), strict=True))
            for row in rows:
                stem, label = row["timeseriesUrl"].split("-", 1)[1].removesuffix(".npy.csv"), row["trend_forecast"]
                labels[stem] = label if labels.get(stem, label) == label else "mixed"
        except (csv.Error, KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
            raise DataError(
                f"{tree.where(name)} is not a table of annotations ({error}). Fetch the file again"
            ) from None
    return labels


def samples(content: bytes, where: str) -> np.ndarray:
    """(n, 3) of an .npy file whose header may announce more rows. Raises `DataError` for any other file."""
    start = len(MAGIC) + 2 + int.from_bytes(content[len(MAGIC) : len(MAGIC) + 2], "little")
    body = content[start:]
    if not content.startswith(MAGIC) or DTYPE not in content[:start] or not body or len(body) % 6:
        raise DataError(f"{where} is cut off or not an .npy file of int16 triples. Fetch the file again")
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
