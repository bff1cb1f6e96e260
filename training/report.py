"""Tables and pictures of `training.evaluate`."""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mujo_edge.core import UsageError
from training.corpora import get

if TYPE_CHECKING:
    from training.evaluate import Score
    from training.student import StudentConfig

PEERS = Path(__file__).parent / "recipes" / "protocol_v1.toml"
PEER_FOLDS = (0, 1)
CARD_ROWS = ("student int8", "random fp32", "forest")
"""What a bundle says of protocol v1: what ships, the same network from random init, and the forest on hand features."""

Key = tuple[str, int, str, float]
"""(row, channels, corpus, fraction); the row carries its variant, as in "student int8"."""


def row_name(row: str, variant: str) -> str:
    """How a row is called in the table."""
    return variant if row == variant else f"{row} {variant}"


def grouped(scores: Sequence[Score]) -> dict[Key, dict[int, list[float]]]:
    """Macro-F1 of every seed, by row and fold."""
    table: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in sorted(scores, key=lambda s: (s.cell.fold, s.cell.seed)):
        cell = score.cell
        name = row_name(cell.row, score.variant)
        table[name, cell.channels, cell.corpus, cell.fraction][cell.fold].append(score.macro_f1)
    return table


def summary(by_fold: Mapping[int, Sequence[float]]) -> dict[str, object]:
    """Mean and standard deviation over folds (each the mean of its seeds), mean of the peers' folds, all values."""
    means = [float(np.mean(values)) for values in by_fold.values()]
    same = [float(np.mean(by_fold[fold])) for fold in PEER_FOLDS if fold in by_fold]
    return {
        "mean": float(np.mean(means)),
        "sd": float(np.std(means)),
        "mean_peer_folds": float(np.mean(same)) if len(same) == len(PEER_FOLDS) else None,
        "folds": {str(fold): [round(value, 4) for value in values] for fold, values in by_fold.items()},
    }


def write_report(scores: Sequence[Score], out: Path) -> str:
    """`table.md`, `table.json` and `confusion-*.png` into `out`; returns the Markdown."""
    table = {key: summary(by_fold) for key, by_fold in grouped(scores).items()}
    entries = [
        {"row": row, "channels": channels, "corpus": corpus, "fraction": fraction, **result}
        for (row, channels, corpus, fraction), result in table.items()
    ]
    (out / "table.json").write_text(json.dumps(entries, indent=1) + "\n")
    text = markdown(table)
    (out / "table.md").write_text(text)
    for corpus in {score.cell.corpus for score in scores}:
        plot_confusion([s for s in scores if s.cell.corpus == corpus], corpus, out / f"confusion-{corpus}.png")
    return text


def markdown(table: Mapping[Key, Mapping[str, object]]) -> str:
    """One table a share of labels: rows are models, columns data sets, then the mean of all sets.

    A cell is mean ± sd over all folds, and in brackets the mean of the peers' folds 0 and 1.
    """
    peers = tomllib.loads(PEERS.read_text())
    lines = ["Macro-F1: mean ± sd over the folds (each the mean of its seeds); in brackets the mean of folds 0 and 1."]
    for fraction in sorted({key[3] for key in table}):
        corpora = list(dict.fromkeys(key[2] for key in table if key[3] == fraction))
        lines += ["", f"| {fraction:.0%} of the labels | " + " | ".join([*corpora, "mean"]) + " |"]
        lines.append("|---" * (len(corpora) + 2) + "|")
        for row, channels in dict.fromkeys((key[0], key[1]) for key in table if key[3] == fraction):
            found = [table.get((row, channels, corpus, fraction)) for corpus in corpora]
            cells = [show(result) for result in found]
            whole = [result for result in found if result is not None]
            lines.append(f"| {row}, {channels} ch | " + " | ".join([*cells, show_mean(whole, len(corpora))]) + " |")
        for name in ("floor", "peer", "peer_6ch"):
            values = [peers.get(corpus, {}).get(str(fraction), {}).get(name) for corpus in corpora]
            if all(value is not None for value in values):
                mean = f"[{np.mean(np.asarray(values, float)):.3f}]"
                lines.append(f"| {name} | " + " | ".join([*(f"[{value:.3f}]" for value in values), mean]) + " |")
    return "\n".join(lines) + "\n"


def show(result: Mapping[str, object] | None) -> str:
    """A cell of the table."""
    if result is None:
        return ""
    same = result["mean_peer_folds"]
    return f"{result['mean']:.3f} ± {result['sd']:.3f}" + (f" [{same:.3f}]" if same is not None else "")


def show_mean(results: Sequence[Mapping[str, object]], wanted: int) -> str:
    """Mean over the data sets, where the row has all of them."""
    if len(results) != wanted:
        return ""
    means = [float(str(result["mean"])) for result in results]
    same = [result["mean_peer_folds"] for result in results]
    bracket = f" [{np.mean(np.asarray(same, float)):.3f}]" if None not in same else ""
    return f"{np.mean(means):.3f}{bracket}"


def plot_confusion(scores: Sequence[Score], corpus: str, path: Path) -> None:
    """Confusion matrix of the best-labelled row that there is: the int8 student where it ran, all folds and seeds."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from sklearn.metrics import ConfusionMatrixDisplay

    most = max(score.cell.fraction for score in scores)
    order = ["int8", "fp32", "forest"]
    best = min((score for score in scores if score.cell.fraction == most), key=lambda s: order.index(s.variant))
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
    title = f"{get(corpus).title}\n{row_name(best.cell.row, best.variant)}, {most:.0%} of the labels"
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def read_results(folder: Path, network: StudentConfig) -> dict[str, Any]:
    """What `training.evaluate` left in `folder`, for a bundle's metrics: "git_commit", and "rows" with mean and sd.

    A row has row, channels, corpus, fraction, mean and sd of macro-F1 over the folds, and how many folds and seeds.

    Raises:
        UsageError: no results there, or those of another network.
    """
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        table = json.loads((folder / "table.json").read_text("utf-8"))
        evaluated = about["config"]["recipe"]["pretrain"]["encoder"]
        rows = [
            {key: entry[key] for key in ("row", "channels", "corpus", "fraction", "mean", "sd")}
            | {"folds": len(entry["folds"]), "seeds": min(map(len, entry["folds"].values()))}
            for entry in table
            if entry["row"] in CARD_ROWS
        ]
        commit = str(about["git_commit"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder} has no results to read: {error!r}. Give the folder that training.evaluate wrote with --out"
        ) from error
    if evaluated != json.loads(json.dumps(asdict(network))):
        raise UsageError(f"{folder} has the results of another network; evaluate this one with training.evaluate")
    return {"git_commit": commit, "rows": rows}


def card_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the card's table: a line for each share of labels, channels and model; a column a set."""
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    lines = []
    for fraction, channels, _, name in sorted(
        {(row["fraction"], row["channels"], CARD_ROWS.index(row["row"]), row["row"]) for row in rows}
    ):
        own = {r["corpus"]: r for r in rows if (r["fraction"], r["channels"], r["row"]) == (fraction, channels, name)}
        runs = f"{min(row['folds'] for row in own.values())} x {min(row['seeds'] for row in own.values())}"
        cells = [f"{own[corpus]['mean']:.3f} ± {own[corpus]['sd']:.3f}" if corpus in own else "" for corpus in corpora]
        lines.append([f"{fraction:.0%}", str(channels), name, runs, *cells])
    return ["labels", "channels", "model", "folds x seeds", *(get(corpus).title for corpus in corpora)], lines
