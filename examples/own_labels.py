"""Make a label set of your own from labeled windows, keep it in a file, and recognize a stream with it.

    python examples/own_labels.py exercises.json
    mujo-edge stream --labels exercises.json                          # live, like a label set of the bundle
    mujo-edge export --target web --labels exercises.json --out app   # on a phone, in a browser, on a microcontroller

Nothing is trained: a label is the mean direction of its windows' embeddings, so a minute of each movement suffices.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import mujo_edge
from mujo_edge import LabelSet, ModelBundle, recognize, replay

RECORDING = Path(mujo_edge.__file__).parent / "assets/recordings/spar-10/samples.csv"
"""A session that you recorded with `mujo-edge record` has such a file as well; add the labels as its last column."""


def main(file: str = "exercises.json") -> None:
    """Learn from the first 12 s of each exercise; recognize the whole recording."""
    samples = np.genfromtxt(RECORDING, delimiter=",", skip_header=1, usecols=range(1, 7), dtype=np.float32)
    label = np.genfromtxt(RECORDING, delimiter=",", skip_header=1, usecols=8, dtype=str)
    bundle = ModelBundle.load()
    size = bundle.input.window

    x, y = [], []
    for name in dict.fromkeys(label.tolist()):
        first = int(np.flatnonzero(label == name)[0])
        for start in range(first, first + 600 - size, 25):  # 3 s every half second
            x.append(samples[start : start + size].T)
            y.append("lifting" if "elevation" in name or "abduction" in name else name)  # your own idea of a class

    labels = bundle.fit_labels(np.stack(x), y, name="my-exercises", placement="wrist")
    labels.save(file)
    print(labels.note)

    run = recognize(replay(RECORDING.parent), LabelSet.load(file), bundle)  # or the file's name itself
    seen: dict[str, int] = {}
    for prediction in run:
        seen[prediction.label] = seen.get(prediction.label, 0) + 1
    print(", ".join(f"{name} {count}" for name, count in seen.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
