"""What `training.evaluate` writes of its scores, and what a bundle's card takes from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.evaluation.beside import (
    ablation_markdown,
    ablations,
    by_row_markdown,
    transfer_table,
    zero_shot_table,
)
from training.evaluation.cells import Score
from training.evaluation.tables import (
    compared,
    differences_markdown,
    efficiency,
    goals_markdown,
    markdown,
    summary,
)

if TYPE_CHECKING:
    pass


ZERO_SHOT = "Macro-F1 without any label of the set: mean ± sd over the folds (each the mean of its seeds)."
TRANSFER = (
    "Macro-F1 with all labels of another set: mean ± sd over the tested people's folds (each the mean of its seeds)."
)


def write_report(scores: Sequence[Score], out: Path) -> str:
    """Every table and picture that the scores give, into `out`; returns the Markdown of all tables.

    `table.md` (label efficiency, differences, goals), `table.json`, `differences.json`, `efficiency.png`,
    `confusion-*.png`; `zero-shot`, `transfer` and `ablation` as .md and .png where they were run.
    """
    from training.evaluation import pictures  # matplotlib, which reading results does not need

    texts = []
    if table := efficiency(scores):
        entries = [
            {"row": row, "channels": channels, "corpus": corpus, "fraction": fraction, **summary(by_fold)}
            for (row, channels, corpus, fraction), by_fold in table.items()
        ]
        (out / "table.json").write_text(json.dumps(entries, indent=1) + "\n")
        (out / "differences.json").write_text(json.dumps(differences(scores), indent=1) + "\n")
        parts = [markdown(table), differences_markdown(table), goals_markdown(table)]
        texts.append("\n".join(part for part in parts if part))
        (out / "table.md").write_text(texts[0])
        pictures.plot_efficiency(table, out / "efficiency.png")
        learned = [s for s in scores if not s.cell.source and not s.cell.without and s.cell.fraction != 0]
        for corpus in {score.cell.corpus for score in learned}:
            own = [s for s in learned if s.cell.corpus == corpus]
            pictures.plot_confusion(own, corpus, out / f"confusion-{corpus}.png")
    for name, by_row, about in (
        ("zero-shot", zero_shot_table(scores), ZERO_SHOT),
        ("transfer", transfer_table(scores), TRANSFER),
    ):
        if by_row:
            texts.append(by_row_markdown(by_row, about))
            (out / f"{name}.md").write_text(texts[-1])
            pictures.plot_rows(by_row, out / f"{name}.png", about.split(":")[0])
    if parts_earn := ablations(scores):
        texts.append(ablation_markdown(parts_earn))
        (out / "ablation.md").write_text(texts[-1])
        pictures.plot_ablation(parts_earn, out / "ablation.png")
    return "\n".join(texts)


def differences(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The paired differences from random init as JSON values; an interval is null where there is one fold."""
    return [
        {
            "row": row,
            "channels": channels,
            "fraction": share,
            "corpus": corpus,
            "mean": difference.mean,
            "interval": list(difference.interval) if difference.freedom == difference.freedom else None,
            "pairs": difference.pairs,
        }
        for (row, channels, share), own in compared(efficiency(scores)).items()
        for corpus, difference in own.items()
    ]
