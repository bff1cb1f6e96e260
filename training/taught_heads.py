"""Classifiers that a label set's file can hold, fitted to k windows a class of one person by protocol v2:
`python -m training.taught_heads ENCODERS`, where ENCODERS is the folder of `python -m training.transfer_sets`.

A label set's file holds one row of unit length for each label: "prototypes" and "cosine softmax" fit into it, and every
port runs them; the others show what that costs. Chosen on the targets of groups 0 and 1, reported on the others. The
baselines on hand features are in that folder's results, with the same people, draws and windows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from mujo_edge.bundle import fit_prototypes, l2_normalize
from mujo_edge.core import F32
from mujo_edge.signal import DEFAULT_INPUT, prepare
from training.evaluation.few_windows import teachings
from training.evaluation.frozen import NETWORK_PENALTY, embed, encoder_path, macro_f1
from training.evaluation.heads import logistic
from training.evaluation.set_groups import read_protocol, sets_here, target_windows
from training.evaluation.transfer_sets import read_results
from training.learn.augment import AugmentConfig, augment
from training.learn.broad import BroadConfig
from training.models.inference import float_embeddings
from training.models.student import Student
from training.release.calibrate import fit_head
from training.support.tensors import load_tensors

COPIES = 8
"""Changed copies of every taught window."""

CHOSEN_ON = (0, 1)
"""Groups that the choice was made on."""

RIDGE = 1.0

Rows = Callable[[F32, np.ndarray, int], tuple[F32, np.ndarray, F32]]
"""(embeddings (n, D), classes (n,), number of classes) -> rows (R, D), the class of each row, and biases (R,)."""


def means(z: F32, y: np.ndarray, classes: int) -> tuple[F32, np.ndarray, F32]:
    """One prototype a class, the mean direction."""
    return fit_prototypes(z, y, classes), np.arange(classes), np.zeros(classes, np.float32)


def every_window(z: F32, y: np.ndarray, classes: int) -> tuple[F32, np.ndarray, F32]:
    """Every window is a prototype: the nearest neighbor by cosine."""
    return z, y, np.zeros(len(z), np.float32)


def ridge(z: F32, y: np.ndarray, classes: int) -> tuple[F32, np.ndarray, F32]:
    """Least squares to one-hot classes with an L2 penalty, on centered embeddings; in closed form."""
    center = z.mean(0)
    x = z - center
    target = np.eye(classes)[y] - 1 / classes
    weights = target.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), x)
    return weights.astype(np.float32), np.arange(classes), (-weights @ center).astype(np.float32)


def cosine_softmax(z: F32, y: np.ndarray, classes: int) -> tuple[F32, np.ndarray, F32]:
    """Prototypes with the least cross-entropy of a softmax of cosines, from the mean directions on."""
    return fit_head(z, y, classes), np.arange(classes), np.zeros(classes, np.float32)


HEADS: dict[str, Rows] = {
    "prototypes": means,
    "cosine softmax": cosine_softmax,
    "every window": every_window,
    "ridge": ridge,
}


def predict(rows: tuple[F32, np.ndarray, F32], z: F32) -> np.ndarray:
    """(N, D) -> classes (N,)."""
    weights, owner, bias = rows
    return np.asarray(owner[(z @ weights.T + bias).argmax(1)])


def changed_copies(student: Student, x: F32) -> F32:
    """Embeddings (COPIES * N, D) of changed copies of windows (N, C, T); never mirrored."""
    prepared = torch.from_numpy(prepare(x, DEFAULT_INPUT))
    generator, never = torch.Generator().manual_seed(0), torch.ones(len(x), dtype=torch.bool)
    copies = [augment(prepared, AugmentConfig(), generator, never).numpy() for _ in range(COPIES)]
    return l2_normalize(float_embeddings(student, np.concatenate(copies)))


def scores_of(target: str, encoders: Path) -> dict[tuple[str, int], list[float]]:
    """Macro-F1 of every person and draw by (head, windows)."""
    protocol, data = read_protocol(), target_windows(target)
    student = Student(BroadConfig().student)
    student.load_state_dict(load_tensors(encoder_path(encoders, protocol.group_of(target), 0)))
    x = data.x[:, :3]
    z = embed(student.eval(), x, None)
    scores: dict[tuple[str, int], list[float]] = defaultdict(list)
    for count in protocol.shots:
        for draw in range(protocol.draws):
            for taught, tested in teachings(data, count, draw, protocol.people):
                labels, y = np.unique(data.y[taught], return_inverse=True)
                more = np.concatenate([z[taught], changed_copies(student, x[taught])])
                fits = {"": (z[taught], y), ", augmented": (more, np.tile(y, COPIES + 1))}
                for (name, head), (suffix, known) in ((h, f) for h in HEADS.items() for f in fits.items()):
                    predicted = labels[predict(head(*known, len(labels)), z[tested])]
                    scores[name + suffix, count].append(macro_f1(data.y[tested], predicted, data.y[taught]))
                predicted = logistic(NETWORK_PENALTY)(z[taught], data.y[taught], z[tested])
                scores["logistic", count].append(macro_f1(data.y[tested], predicted, data.y[taught]))
    return scores


def main(encoders: Annotated[Path, typer.Argument(metavar="ENCODERS", exists=True)]) -> None:
    """Print a table of mean macro-F1 by head and windows, apart for the targets chosen on and the others."""
    torch.set_num_threads(1)
    protocol, table = read_protocol(), defaultdict(list)
    targets = [name for name, target in protocol.targets.items() if target.set in sets_here()]
    for target in targets:
        group = "chosen on" if protocol.group_of(target) in CHOSEN_ON else "others"
        for (head, count), scores in scores_of(target, encoders).items():
            if scores:
                table[head, group, count].append(float(np.mean(scores)))
        print(f"{target} done", flush=True)
    for result in read_results(encoders):
        words, trial = result.labels.split(), result.trial
        if trial.method == "hand" and trial.channels == 3 and words[-1] == "windows" and trial.target in targets:
            group = "chosen on" if protocol.group_of(trial.target) in CHOSEN_ON else "others"
            table[f"hand features, {result.head}", group, int(words[0])].append(result.macro_f1)
    columns = [(group, count) for group in ("chosen on", "others") for count in protocol.shots]
    print("| head | " + " | ".join(f"{group}, {count}" for group, count in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for head in dict.fromkeys(head for head, _, _ in table):
        cells = [
            f"{np.mean(found):.3f} ({len(found)})" if (found := table[head, *column]) else "" for column in columns
        ]
        print(f"| {head} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    typer.run(main)
