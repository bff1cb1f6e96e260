"""The tables of an evaluation, in Markdown and as JSON values."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from training.corpora import PROTOCOL_V1
from training.evaluation.cells import ROWS, Score, Share
from training.evaluation.paired import ByFold, Difference, mean_of, paired

PEERS = Path(__file__).parents[1] / "recipes" / "protocol_v1.toml"
PEER_FOLDS = (0, 1)
REFERENCE = "random fp32"
"""What every row is compared with: the same network, augmentation and steps from random init."""
REFERENCE_SEMI = "random semi fp32"
"""What the rows that learn from windows without labels, too, are compared with; itself with `REFERENCE`."""

Key = tuple[str, int, str, Share]
"""(row, channels, corpus, fraction); the row carries its variant, as in "student int8"."""
Table = Mapping[Key, ByFold]

UNPAIRED = "no interval: one fold"


def row_name(score: Score) -> str:
    """How a row is called in the table."""
    return score.variant if score.cell.row == score.variant else f"{score.cell.model} {score.variant}"


def row_order(name: str) -> tuple[bool, int, str]:
    """Rows in the order of `ROWS`, fp32 before int8; those that learn without labels, too, come last."""
    row, *rest = name.split()
    return "semi" in rest, ROWS.index(row), name  # type: ignore[arg-type]


def reference_of(name: str) -> str:
    """The row that a row is compared with."""
    return REFERENCE_SEMI if "semi" in name.split() and name != REFERENCE_SEMI else REFERENCE


def share_order(share: Share) -> tuple[bool, float]:
    """Shares in rising order, then one person."""
    return share == "one", 0.0 if share == "one" else share


def share_name(share: Share) -> str:
    """How a share is called in the tables."""
    if share == "one":
        return "all labels of one person"
    return f"{share:.0%} of the labels" if share else "zero-shot"


def gathered(scores: Iterable[Score], key: Callable[[Score], Any]) -> dict[Any, dict[int, dict[int, float]]]:
    """Macro-F1 by key, then fold, then seed."""
    table: dict[Any, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for score in sorted(scores, key=lambda s: (s.cell.fold, s.cell.seed)):
        table[key(score)][score.cell.fold][score.cell.seed] = score.macro_f1
    return table


def efficiency(scores: Iterable[Score]) -> Table:
    """The label-efficiency table: trained on labels of the set that is tested, pretrained on everything allowed."""
    plain = [s for s in scores if not s.cell.without and not s.cell.source and s.cell.fraction != 0]
    return gathered(plain, lambda s: (row_name(s), s.cell.channels, s.cell.corpus, s.cell.fraction))


def summary(by_fold: ByFold) -> dict[str, Any]:
    """Mean and standard deviation over folds (each the mean of its seeds), mean of the peers' folds, all values."""
    means = [float(np.mean(list(seeds.values()))) for seeds in by_fold.values()]
    same = [float(np.mean(list(by_fold[fold].values()))) for fold in PEER_FOLDS if fold in by_fold]
    return {
        "mean": float(np.mean(means)),
        "sd": float(np.std(means)),
        "mean_peer_folds": float(np.mean(same)) if len(same) == len(PEER_FOLDS) else None,
        "folds": {str(fold): [round(value, 4) for value in seeds.values()] for fold, seeds in by_fold.items()},
    }


def heading(first: str, columns: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return ["", f"| {first} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]


def line(first: str, cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {first} | " + " | ".join(cells) + " |"


def parts(table: Table) -> list[tuple[Share, list[str], list[tuple[str, int]]]]:
    """Each share with its data sets and its (row, channels), in the order in which they are shown."""
    found = []
    for share in sorted({key[3] for key in table}, key=share_order):
        keys = [key for key in table if key[3] == share]
        known = [name for name in PROTOCOL_V1 if any(key[2] == name for key in keys)]
        rows = sorted({(key[0], key[1]) for key in keys}, key=lambda row: (row[1], row_order(row[0])))
        found.append((share, known, rows))
    return found


def markdown(table: Table) -> str:
    """One table a share of labels: rows are models, columns data sets, then the mean of all sets.

    A cell is mean ± sd over all folds, and in brackets the mean of the peers' folds 0 and 1.
    """
    peers = tomllib.loads(PEERS.read_text())
    lines = ["Macro-F1: mean ± sd over the folds (each the mean of its seeds); in brackets the mean of folds 0 and 1."]
    for share, corpora, rows in parts(table):
        lines += heading(share_name(share), [*corpora, "mean"])
        for row, channels in rows:
            found = [
                summary(by_fold) if (by_fold := table.get((row, channels, corpus, share))) else None
                for corpus in corpora
            ]
            whole = [result for result in found if result is not None]
            lines.append(line(f"{row}, {channels} ch", [*map(show, found), show_mean(whole, len(corpora))]))
        for name in ("floor", "peer", "peer_6ch"):
            values = [peers.get(corpus, {}).get(str(share), {}).get(name) for corpus in corpora]
            if all(value is not None for value in values):
                mean = f"[{np.mean(np.asarray(values, float)):.3f}]"
                lines.append(line(name, [*(f"[{value:.3f}]" for value in values), mean]))
    return "\n".join(lines) + "\n"


def show(result: Mapping[str, Any] | None) -> str:
    """A cell of the table."""
    if result is None:
        return ""
    same = result["mean_peer_folds"]
    return f"{result['mean']:.3f} ± {result['sd']:.3f}" + (f" [{same:.3f}]" if same is not None else "")


def show_mean(results: Sequence[Mapping[str, Any]], wanted: int) -> str:
    """Mean over the data sets, where the row has all of them."""
    if len(results) != wanted:
        return ""
    same = [result["mean_peer_folds"] for result in results]
    bracket = f" [{np.mean(np.asarray(same, float)):.3f}]" if None not in same else ""
    return f"{np.mean([result['mean'] for result in results]):.3f}{bracket}"


def compared(table: Table) -> dict[tuple[str, int, Share], dict[str, Difference]]:
    """(row, channels, share) -> data set -> row minus its reference of these channels; "mean" where all are there."""
    found: dict[tuple[str, int, Share], dict[str, Difference]] = {}
    for share, corpora, rows in parts(table):
        for row, channels in rows:
            reference = reference_of(row)
            pairs = {
                corpus: paired(table[row, channels, corpus, share], table[reference, channels, corpus, share])
                for corpus in corpora
                if row != reference
                and (row, channels, corpus, share) in table
                and (reference, channels, corpus, share) in table
            }
            own = {corpus: difference for corpus, difference in pairs.items() if difference is not None}
            if own:
                whole = {"mean": mean_of(list(own.values()))} if len(own) == len(corpora) else {}
                found[row, channels, share] = own | whole
    return found


def show_difference(difference: Difference | None) -> str:
    """Mean and interval, signed."""
    if difference is None:
        return ""
    low, high = difference.interval
    return f"{difference.mean:+.3f}" + (f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else f" ({UNPAIRED})")


def differences_markdown(table: Table) -> str:
    """Paired differences from random init, one table; empty where nothing can be compared."""
    rows = compared(table)
    if not rows:
        return ""
    corpora = [name for name in PROTOCOL_V1 if any(name in found for found in rows.values())]
    lines = [
        f"Difference from {REFERENCE} of the same channels (for semi rows, which learn from the train people's windows",
        f"without labels, too: from {REFERENCE_SEMI}), over the folds and seeds that both have: mean and 95 %",
        "confidence interval (t over folds, seeds averaged, variance of Nadeau and Bengio for folds that overlap).",
    ]
    lines += heading("labels, row", [*corpora, "mean", "pairs"])
    for (row, channels, share), found in rows.items():
        cells = [show_difference(found.get(name)) for name in (*corpora, "mean")]
        pairs = sum(found[name].pairs for name in corpora if name in found)
        lines.append(line(f"{share_name(share)}: {row}, {channels} ch", [*cells, str(pairs)]))
    return "\n".join(lines) + "\n"


def goals_markdown(table: Table) -> str:
    """What the project set out for, each with what came out; goals whose rows are not there are left out.

    Accelerometer only, float: the gains are those of pretraining, and int8 stands in the other tables.
    """
    found = compared(table)
    peers = tomllib.loads(PEERS.read_text())
    lines = []

    def goal(text: str, met: bool, came: str) -> None:
        lines.append(f"- {'met' if met else 'not met'}: {text}; it is {came}.")

    def gains(row: str, share: Share) -> dict[str, Difference]:
        own = found.get((f"{row} fp32", 3, share), {})
        return own if set(own) == {*PROTOCOL_V1, "mean"} else {}

    if own := gains("mujo_plus", 0.02):
        text = "mujo_plus at 2 % is at least 0.05 above random init in the mean of the sets"
        goal(text, own["mean"].mean >= 0.05, show_difference(own["mean"]))
    if own := gains("mujo_plus", 1.0):
        text = "mujo_plus at 100 % is on no set more than 0.005 below random init"
        worst = min(PROTOCOL_V1, key=lambda name: own[name].mean)
        goal(text, own[worst].mean >= -0.005, f"{show_difference(own[worst])} on {worst}")
    if own := gains("mujo", 0.02):
        text = "pure mujo at 2 % is above random init in the mean of the sets"
        goal(text, own["mean"].mean > 0, show_difference(own["mean"]))
    for row in ("mujo", "mujo_plus"):
        if own := gains(f"{row} semi", 0.02):
            text = f"{row} semi at 2 % is at least 0.05 above random init semi in the mean of the sets"
            goal(text, own["mean"].mean >= 0.05, show_difference(own["mean"]))
    for row, corpus in product(("mujo_plus", "mujo_plus semi"), PROTOCOL_V1):
        key = (f"{row} fp32", 3, corpus, 0.02)
        same = summary(table[key])["mean_peer_folds"] if key in table else None
        if same is not None:
            best = peers[corpus]["1.0"]["peer"]
            text = f"{row} at 2 % reaches the best peer at 100 % on {corpus} (folds 0 and 1: {best:.3f})"
            goal(text, same >= best, f"{same:.3f}")
    return "\n".join(["Goals", "", *lines]) + "\n" if lines else ""
