"""Loss curves of a training run: every pair and term in a CSV file that a killed run goes on with, and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

EVERY = 10


class Curves:
    """Writes columns step, name, value: of the first and of every tenth step each term that the batch had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held_out: Mapping[str, Tensor] = {}
        self.started = False

    def hold(self, values: Mapping[str, Tensor]) -> None:
        """Terms (scalars, still on their device) of the step that is being made."""
        self.held_out = values

    def write(self, step: int, loss: float) -> None:
        """Append what was held, when it is time. The first time, drop lines of this step and later ones: a run that
        goes on from a checkpoint makes them again."""
        if step % EVERY and step != 1:
            return
        if not self.started:
            kept = [line for line in read_curves(self.path) if line[0] < step] if self.path.exists() else []
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w", newline="") as file:
                csv.writer(file).writerows([("step", "name", "value"), *kept])
            self.started = True
        with self.path.open("a", newline="") as file:
            rows = [(step, "loss", loss), *((step, name, float(value)) for name, value in self.held_out.items())]
            csv.writer(file).writerows(rows)


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every line; one that a kill tore is left out."""
    rows = []
    with path.open(newline="") as file:
        for row in csv.reader(file):
            try:
                step, name, value = row
                rows.append((int(step), name, float(value)))
            except ValueError:
                continue
    return rows


def plot_curves(path: Path, picture: Path) -> None:
    """Every term over the steps, smoothed over a fiftieth of the run; pairs drawn through, other terms dashed."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = read_curves(path)
    figure, axes = plt.subplots(figsize=(8, 5))
    for name in dict.fromkeys(name for _, name, _ in rows if name not in ("loss", "scale")):
        points = np.array([(step, value) for step, own, value in rows if own == name])
        width = max(1, len(points) // 50)
        smooth = np.convolve(points[:, 1], np.ones(width) / width, "valid")
        axes.plot(points[len(points) - len(smooth) :, 0], smooth, "-" if "-" in name else "--", label=name)
    axes.set(xlabel="step", ylabel="InfoNCE, nats; other terms in their own unit")
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
