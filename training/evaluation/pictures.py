"""The pictures of an evaluation: label efficiency, bars beside chance, what parts earn, confusion matrices."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from training.corpora import get
from training.evaluation.beside import Ablations, ByRow, columns_of, rows_of
from training.evaluation.cells import Score
from training.evaluation.tables import PEERS, Table, parts, row_name, row_order, share_name, share_order, summary


def saved(figure: Any, path: Path) -> None:
    """Write and forget a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_efficiency(table: Table, path: Path) -> None:
    """A panel a data set: macro-F1 over the share of the labels, accelerometer only where it is there; the bars are
    the sd over folds. Dashes are the best peer, on folds 0 and 1."""
    peers = tomllib.loads(PEERS.read_text())
    channels = min(key[1] for key in table)
    table = {key: by_fold for key, by_fold in table.items() if key[1] == channels}
    shares = sorted({key[3] for key in table}, key=share_order)
    corpora = list(dict.fromkeys(corpus for _, names, _ in parts(table) for corpus in names))
    rows = sorted({key[0] for key in table}, key=row_order)
    figure, axes = plt.subplots(1, len(corpora), figsize=(1 + 3.2 * len(corpora), 3.6), sharey=True, squeeze=False)
    for corpus, axis in zip(corpora, axes[0], strict=True):
        for number, row in enumerate(rows):
            for one, style in ((False, {"fmt": "o-", "label": row}), (True, {"fmt": "o"})):  # no share of a share
                at = [i for i, s in enumerate(shares) if (row, channels, corpus, s) in table and (s == "one") == one]
                found = [summary(table[row, channels, corpus, shares[i]]) for i in at]
                place = np.asarray(at) + 0.04 * (number - len(rows) / 2)
                style |= {"markersize": 3, "linewidth": 1, "capsize": 2, "color": f"C{number}"}
                axis.errorbar(place, [r["mean"] for r in found], [r["sd"] for r in found], **style)
        best = [peers.get(corpus, {}).get(str(share), {}).get("peer", np.nan) for share in shares]
        axis.plot(range(len(shares)), best, "k--", linewidth=0.8, label="best peer, folds 0 and 1")
        names = ["1 person" if share == "one" else f"{share:.0%}" for share in shares]
        axis.set_xticks(range(len(shares)), names, fontsize=8)
        axis.set_title(get(corpus).title, fontsize=8)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"macro-F1, {channels} channels")
    axes[0][-1].legend(fontsize=6)
    saved(figure, path)


def plot_rows(table: ByRow, path: Path, title: str) -> None:
    """Bars of every row in each column, with the sd over folds; chance as a line."""
    columns, rows = columns_of(table), [row for row in rows_of(table) if row != "chance"]
    figure, axis = plt.subplots(figsize=(2 + 1.6 * len(columns), 3.6))
    width = 0.8 / len(rows)
    for number, row in enumerate(rows):
        found = {i: summary(table[row, name]) for i, name in enumerate(columns) if (row, name) in table}
        place = [i + width * (number - (len(rows) - 1) / 2) for i in found]
        means, spread = [r["mean"] for r in found.values()], [r["sd"] for r in found.values()]
        axis.bar(place, means, width, yerr=spread, capsize=2, error_kw={"linewidth": 0.8}, label=row)
    for i, name in enumerate(columns):
        axis.hlines(summary(table["chance", name])["mean"], i - 0.45, i + 0.45, "k", "dashed", linewidth=0.8)
    axis.set_xticks(range(len(columns)), [name.replace(" to ", "\nto ") for name in columns], fontsize=7)
    axis.set_ylabel("macro-F1; dashes: chance")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7)
    saved(figure, path)


def plot_ablation(table: Ablations, path: Path) -> None:
    """What each part earns in the mean of the sets, with its confidence interval, by row and share of the labels; one
    that lacks a set is not drawn."""
    found = {key: own["mean"] for key, own in table.items() if "mean" in own}
    keys = sorted(found, key=lambda key: (key[:2], str(key[2]), found[key].mean))
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.3 * len(keys)))
    colors = {group: f"C{i}" for i, group in enumerate(dict.fromkeys(key[:3] for key in keys))}
    for i, key in enumerate(keys):
        low, high = found[key].interval
        axis.plot([low, high], [i, i], colors[key[:3]], linewidth=1)
        axis.plot(found[key].mean, i, f"{colors[key[:3]]}o", markersize=4)
    axis.axvline(0, color="k", linewidth=0.8)
    names = [f"{without} ({row}, {share_name(share)}, {channels} ch)" for row, channels, share, without in keys]
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_xlabel("macro-F1 that it earns, mean of the sets, 95 % interval")
    saved(figure, path)


def plot_confusion(scores: Sequence[Score], corpus: str, path: Path) -> None:
    """Confusion matrix of the best row with the most labels: an int8 network where one ran, all folds and seeds."""
    scores = [s for s in scores if not s.cell.semi] or scores
    most = max((s.cell.fraction for s in scores), key=lambda share: 0.0 if share == "one" else share)
    best = min(
        (score for score in scores if score.cell.fraction == most),
        key=lambda s: (["int8", "fp32", "forest"].index(s.variant), s.cell.row != "mujo_plus", s.cell.row != "mujo"),
    )
    chosen = [
        np.asarray(score.confusion)
        for score in scores
        if (score.variant, score.cell.row, score.cell.channels, score.cell.fraction)
        == (best.variant, best.cell.row, best.cell.channels, most)
    ]
    counts = np.sum(chosen, 0)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = get(corpus).classes
    size = 3 + 0.35 * len(names)
    figure, axes = plt.subplots(figsize=(size, size))
    ConfusionMatrixDisplay(share, display_labels=list(names)).plot(
        ax=axes, cmap="Blues", colorbar=False, values_format=".2f", include_values=len(names) <= 10, xticks_rotation=90
    )
    labels = "all labels of one person" if most == "one" else f"{most:.0%} of the labels"
    axes.set_title(f"{get(corpus).title}\n{row_name(best)}, {labels}", fontsize=9)
    saved(figure, path)
