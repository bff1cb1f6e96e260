"""Stress-Predict: 35 people sitting, talking and under stress, Empatica E4 on a wrist, 32 Hz (Iqbal et al., 2022).

Layout: `Raw_data/S{NN}/ACC.csv`; the first row is the start (s since 1970) and the second the rate (Hz), each repeated
three times; then rows of x, y, z in 1/64 g with gravity, clipped at 2 g. One hour per person, with a color-word test,
an interview, hyperventilation, and rests in between. There is no exercise: all of it is `BACKGROUND`.

The side is not stated. While hands rest, z points up, out of the back of the wrist; axes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from mujo_edge.core import CHANNELS, STANDARD_GRAVITY, DataError
from training.corpora.base import BACKGROUND, Corpus, Download, Recording, columns, constant
from training.corpora.files import Tree, read_csv, stack

MARKER = r"S(\d+)/ACC\.csv"
LSB = STANDARD_GRAVITY / 64
"""m/s2 per LSB of the E4's accelerometer."""
RATE_HZ = 32.0


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per person."""
    for name, matched in tree.match(MARKER):
        rows = stack(read_csv(tree, name, dict.fromkeys("xyz", float), "xyz", ended=True), "xyz")
        if len(rows) < 3 or (rows[1] != RATE_HZ).any() or (rows[0] < 1e9).any():
            raise DataError(
                f"{tree.where(name)} does not begin with a start time and the rate {RATE_HZ:g} Hz. "
                "Is it another device's file?"
            )
        x = columns(rows[2:] * LSB)
        yield Recording(
            corpus="stress_predict",
            subject=str(int(matched[1])),
            session=f"S{matched[1]}",
            placement="wrist",
            rate_hz=RATE_HZ,
            x=x,
            labels=constant(BACKGROUND, len(x)),
            channels=CHANNELS[:3],
        )


CORPUS = Corpus(
    name="stress_predict",
    title="Stress-Predict (background: no exercise)",
    classes=(BACKGROUND,),
    license="MIT",
    open_license=True,
    citation="T. Iqbal, A. J. Simpkin, D. Roshan, et al. Stress Monitoring Using Wearable Sensors: A Pilot Study and "
    "Stress-Predict Dataset. Sensors 22(21), 8135, 2022.",
    home="https://github.com/italha-d/Stress-Predict-Dataset",
    marker=MARKER,
    read=read,
    download=Download(
        "https://github.com/italha-d/Stress-Predict-Dataset/archive/refs/heads/main.zip", "stress-predict.zip"
    ),
    files=35,
)
