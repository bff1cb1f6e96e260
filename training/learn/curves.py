"""Loss curves of a training run: every pair and term, in a CSV file that a resumed run continues, and as a figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

EVERY = 10


class Curves:
    """Writer of columns step, name, value: every term of the batch, at the first and every tenth step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: Mapping[str, Tensor] = {}
        self.started = False

    def hold(self, values: Mapping[str, Tensor]) -> None:
        """Remember the terms of the current step (scalars, still on their device)."""
        self.values = values

    def write(self, step: int, loss: float) -> None:
        """Append the remembered terms if the step is due. The first call drops lines of this step and later ones, which
        a run resumed from a checkpoint repeats."""
        if step % EVERY and step != 1:
            return
        if not self.started:
            earlier = [line for line in read_curves(self.path) if line[0] < step] if self.path.exists() else []
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w", newline="") as file:
                csv.writer(file).writerows([("step", "name", "value"), *earlier])
            self.started = True
        with self.path.open("a", newline="") as file:
            rows = [(step, "loss", loss), *((step, name, float(value)) for name, value in self.values.items())]
            csv.writer(file).writerows(rows)


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every line; a line truncated by a kill is skipped."""
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
    """Every term over the steps, smoothed over 1/50 of the run; pairs solid, other terms dashed."""
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
