"""The tables beside label efficiency: zero-shot, transfer between data sets, ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from training.corpora import PROTOCOL_V1
from training.evaluation.cells import ROWS, Score, Share
from training.evaluation.paired import ByFold, Difference, mean_of, paired
from training.evaluation.tables import gathered, heading, line, share_name, show, show_difference, summary

ByRow = Mapping[tuple[str, str], ByFold]
"""(row or "chance", column) -> macro-F1."""

Ablations = Mapping[tuple[str, int, Share, str], Mapping[str, Difference]]
"""(row, channels, share, what was left out) -> data set -> what it earns; "mean" where all are there."""


def beside_chance(scores: Iterable[Score], column: Callable[[Score], str]) -> ByRow:
    """Macro-F1 by row and column, and what a guess would have, which is the same for every row and seed."""
    scores = list(scores)
    table = gathered(scores, lambda score: (score.cell.row, column(score)))
    for score in scores:
        table["chance", column(score)][score.cell.fold][0] = score.chance
    return table


def zero_shot_table(scores: Iterable[Score]) -> ByRow:
    """Without any label of the tested set; columns are data sets."""
    return beside_chance((s for s in scores if s.cell.fraction == 0 and not s.cell.without), lambda s: s.cell.corpus)


def transfer_table(scores: Iterable[Score]) -> ByRow:
    """With the labels of another set alone; columns are "source to target"."""
    return beside_chance((s for s in scores if s.cell.source), lambda s: f"{s.cell.source} to {s.cell.corpus}")


def by_row_markdown(table: ByRow, about: str) -> str:
    """`about`, then a line a row; columns in rising order of their names, the protocol's sets first."""
    columns = columns_of(table)
    lines = [about, *heading("row", [*columns, "mean"])]
    for row in rows_of(table):
        found = [summary(table[row, column]) if (row, column) in table else None for column in columns]
        means = [result["mean"] for result in found if result is not None]
        mean = f"{np.mean(means):.3f}" if len(means) == len(columns) else ""
        lines.append(line(row, [*(show(result and result | {"mean_peer_folds": None}) for result in found), mean]))
    return "\n".join(lines) + "\n"


def rows_of(table: ByRow) -> list[str]:
    """Chance, then the rows in the order of `ROWS`."""
    return [row for row in ("chance", *ROWS) if any(row == key[0] for key in table)]


def columns_of(table: ByRow) -> list[str]:
    """Columns in the order of the protocol's sets, others by name."""
    known = {name: i for i, name in enumerate(PROTOCOL_V1)}
    return sorted({column for _, column in table}, key=lambda name: (known.get(name, len(known)), name))


def ablations(scores: Iterable[Score]) -> Ablations:
    """What each part of pretraining earns: macro-F1 with everything minus without the part, same folds and seeds."""
    float_ones = [s for s in scores if s.variant == "fp32" and not s.cell.source and not s.cell.semi]
    table = gathered(
        float_ones, lambda s: (s.cell.row, s.cell.channels, s.cell.fraction, s.cell.without, s.cell.corpus)
    )
    found: dict[tuple[str, int, Share, str], dict[str, Difference]] = {}
    for row, channels, share, without, corpus in table:
        full = table.get((row, channels, share, "", corpus))
        if without and full:
            earned = paired(full, table[row, channels, share, without, corpus])
            if earned is not None:
                found.setdefault((row, channels, share, without), {})[corpus] = earned
    sets = {corpus for own in found.values() for corpus in own}
    return {
        key: own | ({"mean": mean_of(list(own.values()))} if set(own) == sets else {}) for key, own in found.items()
    }


def ablation_markdown(table: Ablations) -> str:
    """A line for each part that was left out, those that earn most first."""
    sets = [name for name in PROTOCOL_V1 if any(name in own for own in table.values())]
    lines = [
        "What a part of pretraining earns: macro-F1 with everything minus that without the part, over the same folds",
        "and seeds, with 95 % confidence intervals. A plus says that it helps. What the leave-out rule takes from a",
        "set anyway earns nothing there.",
        *heading("row, labels", ["left out", *sets, "mean"]),
    ]
    order = sorted(table, key=lambda key: (key[:2], str(key[2]), -np.mean([d.mean for d in table[key].values()])))
    for key in order:
        row, channels, share, without = key
        cells = [show_difference(table[key].get(name)) for name in (*sets, "mean")]
        lines.append(line(f"{row}, {channels} ch, {share_name(share)}", [without, *cells]))
    return "\n".join(lines) + "\n"
