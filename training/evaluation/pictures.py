"""Figures of an evaluation: label efficiency, methods compared with chance, ablation, confusion matrices."""

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
from training.evaluation.tables import (
    PEERS,
    Ablations,
    ByMethod,
    Table,
    columns_of,
    fraction_name,
    fraction_order,
    method_name,
    method_order,
    methods_of,
    parts,
    summary,
)
from training.evaluation.trials import Score

VARIANTS = ("int8", "fp32", "forest")
"""Best first, for the confusion matrix."""


def saved(figure: Any, path: Path) -> None:
    """Save a figure and close it."""
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_efficiency(table: Table, path: Path) -> None:
    """A panel for each data set: macro-F1 over the label fraction, for the smallest number of channels in the table.

    Error bars are the sd over folds; the dashed line is the best peer, on folds 0 and 1.
    """
    peers = tomllib.loads(PEERS.read_text())
    channels = min(key[1] for key in table)
    table = {key: by_fold for key, by_fold in table.items() if key[1] == channels}
    fractions = sorted({key[3] for key in table}, key=fraction_order)
    corpora = list(dict.fromkeys(corpus for _, names, _ in parts(table) for corpus in names))
    methods = sorted({key[0] for key in table}, key=method_order)
    figure, axes = plt.subplots(1, len(corpora), figsize=(1 + 3.2 * len(corpora), 3.6), sharey=True, squeeze=False)
    for corpus, axis in zip(corpora, axes[0], strict=True):
        for number, method in enumerate(methods):
            # "one" is no point on the scale of fractions: the line does not reach it.
            for one, style in ((False, {"fmt": "o-", "label": method}), (True, {"fmt": "o"})):
                at = [
                    i
                    for i, fraction in enumerate(fractions)
                    if (method, channels, corpus, fraction) in table and (fraction == "one") == one
                ]
                results = [summary(table[method, channels, corpus, fractions[i]]) for i in at]
                place = np.asarray(at) + 0.04 * (number - len(methods) / 2)
                style |= {"markersize": 3, "linewidth": 1, "capsize": 2, "color": f"C{number}"}
                axis.errorbar(place, [r["mean"] for r in results], [r["sd"] for r in results], **style)
        best = [peers.get(corpus, {}).get(str(fraction), {}).get("peer", np.nan) for fraction in fractions]
        axis.plot(range(len(fractions)), best, "k--", linewidth=0.8, label="best peer, folds 0 and 1")
        names = ["1 person" if fraction == "one" else f"{fraction:.0%}" for fraction in fractions]
        axis.set_xticks(range(len(fractions)), names, fontsize=8)
        axis.set_title(get(corpus).title, fontsize=8)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"macro-F1, {channels} channels")
    axes[0][-1].legend(fontsize=6)
    saved(figure, path)


def plot_methods(table: ByMethod, path: Path, title: str) -> None:
    """Bars of every method in each column, with the sd over folds; chance as a dashed line."""
    columns, methods = columns_of(table), [method for method in methods_of(table) if method != "chance"]
    figure, axis = plt.subplots(figsize=(2 + 1.6 * len(columns), 3.6))
    width = 0.8 / len(methods)
    for number, method in enumerate(methods):
        results = {i: summary(table[method, name]) for i, name in enumerate(columns) if (method, name) in table}
        place = [i + width * (number - (len(methods) - 1) / 2) for i in results]
        means, spread = [r["mean"] for r in results.values()], [r["sd"] for r in results.values()]
        axis.bar(place, means, width, yerr=spread, capsize=2, error_kw={"linewidth": 0.8}, label=method)
    for i, name in enumerate(columns):
        axis.hlines(summary(table["chance", name])["mean"], i - 0.45, i + 0.45, "k", "dashed", linewidth=0.8)
    axis.set_xticks(range(len(columns)), [name.replace(" to ", "\nto ") for name in columns], fontsize=7)
    axis.set_ylabel("macro-F1; dashed: chance")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7)
    saved(figure, path)


def plot_ablation(table: Ablations, path: Path) -> None:
    """Gain from each part in the mean of the sets, with its confidence interval, by method and label fraction; parts
    that lack a set are left out."""
    gains = {key: own["mean"] for key, own in table.items() if "mean" in own}
    keys = sorted(gains, key=lambda key: (key[:2], str(key[2]), gains[key].mean))
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.3 * len(keys)))
    colors = {group: f"C{i}" for i, group in enumerate(dict.fromkeys(key[:3] for key in keys))}
    for i, key in enumerate(keys):
        low, high = gains[key].interval
        axis.plot([low, high], [i, i], colors[key[:3]], linewidth=1)
        axis.plot(gains[key].mean, i, f"{colors[key[:3]]}o", markersize=4)
    axis.axvline(0, color="k", linewidth=0.8)
    names = [
        f"{part} ({method}, {fraction_name(fraction)}, {channels} ch)" for method, channels, fraction, part in keys
    ]
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_xlabel("gain in macro-F1, mean of the sets, 95 % interval")
    saved(figure, path)


def plot_confusion(scores: Sequence[Score], corpus: str, path: Path) -> None:
    """Confusion matrix of the best method (int8 where it was run) with the most labels, over all folds and seeds."""
    scores = [s for s in scores if not s.trial.semi] or scores
    most = max((s.trial.fraction for s in scores), key=lambda fraction: 0.0 if fraction == "one" else fraction)
    best = min(
        (score for score in scores if score.trial.fraction == most),
        key=lambda s: (
            ["int8", "fp32", "forest"].index(s.variant),
            s.trial.method != "mujo_plus",
            s.trial.method != "mujo",
        ),
    )
    chosen = [
        np.asarray(score.confusion)
        for score in scores
        if (score.variant, score.trial.method, score.trial.channels, score.trial.fraction)
        == (best.variant, best.trial.method, best.trial.channels, most)
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
    axes.set_title(f"{get(corpus).title}\n{method_name(best)}, {labels}", fontsize=9)
    saved(figure, path)
