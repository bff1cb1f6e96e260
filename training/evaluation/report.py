"""Tables and figures that `training.evaluate` writes from its scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluation.tables import (
    ablation_markdown,
    ablations,
    by_method_markdown,
    compared,
    differences_markdown,
    efficiency,
    goals_markdown,
    markdown,
    summary,
    transfer_table,
    zero_shot_table,
)
from training.evaluation.trials import Score

ZERO_SHOT = "Macro-F1 without any label of the set: mean ± sd over the folds (each the mean of its seeds)."
TRANSFER = (
    "Macro-F1 with all labels of another set: mean ± sd over the tested people's folds (each the mean of its seeds)."
)


def write_report(scores: Sequence[Score], out: Path) -> str:
    """Write every table and figure that the scores allow into `out` -> the Markdown of all tables.

    `table.md` (label efficiency, differences, goals), `table.json`, `differences.json`, `efficiency.png`,
    `confusion-*.png`; `zero-shot`, `transfer` and `ablation` as .md and .png if they were run.
    """
    from training.evaluation import pictures  # imports matplotlib

    texts = []
    if table := efficiency(scores):
        entries = [
            {"method": method, "channels": channels, "corpus": corpus, "fraction": fraction, **summary(by_fold)}
            for (method, channels, corpus, fraction), by_fold in table.items()
        ]
        (out / "table.json").write_text(json.dumps(entries, indent=1) + "\n")
        (out / "differences.json").write_text(json.dumps(differences(scores), indent=1) + "\n")
        parts = [markdown(table), differences_markdown(table), goals_markdown(table)]
        texts.append("\n".join(part for part in parts if part))
        (out / "table.md").write_text(texts[0])
        pictures.plot_efficiency(table, out / "efficiency.png")
        learned = [s for s in scores if not s.trial.source and not s.trial.without and s.trial.fraction != 0]
        for corpus in {score.trial.corpus for score in learned}:
            own = [s for s in learned if s.trial.corpus == corpus]
            pictures.plot_confusion(own, corpus, out / f"confusion-{corpus}.png")
    for name, by_method, caption in (
        ("zero-shot", zero_shot_table(scores), ZERO_SHOT),
        ("transfer", transfer_table(scores), TRANSFER),
    ):
        if by_method:
            texts.append(by_method_markdown(by_method, caption))
            (out / f"{name}.md").write_text(texts[-1])
            pictures.plot_methods(by_method, out / f"{name}.png", caption.split(":")[0])
    if gains := ablations(scores):
        texts.append(ablation_markdown(gains))
        (out / "ablation.md").write_text(texts[-1])
        pictures.plot_ablation(gains, out / "ablation.png")
    return "\n".join(texts)


def differences(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The paired differences from random initialization as JSON values; an interval is null with a single fold."""
    return [
        {
            "method": method,
            "channels": channels,
            "fraction": fraction,
            "corpus": corpus,
            "mean": difference.mean,
            "interval": list(difference.interval) if difference.freedom == difference.freedom else None,
            "pairs": difference.pairs,
        }
        for (method, channels, fraction), own in compared(efficiency(scores)).items()
        for corpus, difference in own.items()
    ]
