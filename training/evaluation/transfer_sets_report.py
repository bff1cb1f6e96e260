"""The tables of protocol v2 in Markdown: every target, the mean of the sets, and the gain over hand features."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from scipy import stats

from mujo_edge.core import UsageError
from training.evaluation.frozen import Result
from training.evaluation.set_groups import read_protocol
from training.evaluation.transfer_sets import read_results
from training.models.student import StudentConfig

LEVEL = 0.95
Scores = dict[str, float]
"""Target -> macro-F1, the mean of its seeds."""


def rows_of(results: Sequence[Result], labels: str, channels: int) -> dict[tuple[str, str], Scores]:
    """(method, head) -> its scores with those labels."""
    seeds: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result.labels == labels and result.trial.channels == channels:
            seeds[result.trial.method, result.head][result.trial.target].append(result.macro_f1)
    return {row: {target: float(np.mean(s)) for target, s in by.items()} for row, by in seeds.items()}


def by_set(scores: Scores) -> Scores:
    """The same for data sets: the mean of a set's targets."""
    sets: dict[str, list[float]] = defaultdict(list)
    for target, score in scores.items():
        sets[read_protocol().targets[target].set].append(score)
    return {name: float(np.mean(values)) for name, values in sets.items()}


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Confidence interval of the mean over data sets without common people, at `LEVEL`
    (Student's t); NaN for a single one."""
    n = len(differences)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(np.mean(differences) - half), float(np.mean(differences) + half)


def table(results: Sequence[Result], labels: str, channels: int) -> list[str]:
    """Lines of one table: a row a method and head. The mean is that of the data sets, over those that all rows have."""
    rows = rows_of(results, labels, channels)
    targets = [name for name in read_protocol().targets if any(name in scores for scores in rows.values())]
    means = means_of(rows)
    sensor = "accelerometer" if channels == 3 else "with gyroscope"
    lines = [
        f"| {title(labels)}, {sensor} | " + " | ".join(targets) + " | mean of sets |",
        "|---" * (len(targets) + 2) + "|",
    ]
    for (method, head), scores in rows.items():
        cells = [f"{scores[target]:.3f}" if target in scores else "" for target in targets]
        lines.append(f"| {method}, {head} | " + " | ".join(cells) + f" | {means[method, head]:.3f} |")
    return [*lines, "", *gains(rows)]


def read_summary(folder: Path, network: StudentConfig) -> dict[str, Any]:
    """Results of `training.transfer_sets` in `folder` as the entry "protocol_v2" of a bundle's metrics.

    "git_commit", "steps" of pretraining, "seeds", and "rows", each with labels, channels, "method" ("broad, logistic"),
    macro-F1 of the "sets" and their mean (over those that all methods have).

    Raises:
        UsageError: `folder` holds no results, or those of another network.
    """
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        broad = about["config"]["broad"]
        evaluated = dacite.from_dict(StudentConfig, broad["student"], dacite.Config(cast=[tuple], strict=True))
        results = read_results(folder)
        top = {"git_commit": str(about["git_commit"]), "steps": int(broad["loop"]["steps"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, dacite.DaciteError) as error:
        raise UsageError(
            f"{folder} has no results to read: {error!r}. Give the folder that training.transfer_sets wrote with --out"
        ) from error
    if evaluated != network:
        raise UsageError(f"{folder} has the results of another network; evaluate this one with training.transfer_sets")
    rows = []
    for channels in sorted({result.trial.channels for result in results}):
        for labels in (labels for labels in every_labels() if any(result.labels == labels for result in results)):
            of = rows_of(results, labels, channels)
            means = means_of(of)
            for (method, head), scores in of.items():
                row = {"labels": title(labels), "channels": channels, "method": f"{method}, {head}"}
                rows.append(row | {"mean": means[method, head], "sets": by_set(scores)})
    return top | {"seeds": 1 + max((result.trial.seed for result in results), default=0), "rows": rows}


def means_of(rows: dict[tuple[str, str], Scores]) -> dict[tuple[str, str], float]:
    """The mean over data sets of each row, over the targets that all rows have; NaN if there are none."""
    shared = set.intersection(*(set(scores) for scores in rows.values())) if rows else set()
    return {
        row: float(np.mean(list(by_set({t: scores[t] for t in scores if t in shared}).values()))) if shared else np.nan
        for row, scores in rows.items()
    }


def every_labels() -> list[str]:
    """The amounts of labels of the protocol, as `Result.labels` names them."""
    protocol = read_protocol()
    return [*(f"{fraction:g}" for fraction in protocol.fractions), *(f"{count} windows" for count in protocol.shots)]


def gains(rows: dict[tuple[str, str], Scores]) -> list[str]:
    """A line for every method: how far it is above the best head on hand features of each set, in the mean and where
    it is least."""
    hand = [by_set(scores) for (method, _), scores in rows.items() if method == "hand"]
    lines = []
    for (method, head), scores in rows.items():
        if method == "hand" or not hand:
            continue
        own = by_set(scores)
        sets = [name for name in own if all(name in other for other in hand)]
        best_mean = max(np.mean([other[name] for name in sets]) for other in hand)
        above = [own[name] - max(other[name] for other in hand) for name in sets]
        low, high = interval(above)
        spread = f" ({low:+.3f} to {high:+.3f})" if len(sets) > 1 else ""
        worst = sets[int(np.argmin(above))]
        lines.append(
            f"- {method}, {head}: {np.mean([own[name] for name in sets]) - best_mean:+.3f} against the best head on "
            f"hand features in the mean of {len(sets)} sets; against the best for each set {np.mean(above):+.3f}"
            f"{spread}, least on {worst} ({min(above):+.3f})"
        )
    return [*lines, ""]


def title(labels: str) -> str:
    """ "0.02" -> "2 % of the labels"; "3 windows" -> "3 windows of one person"."""
    return f"{labels} of one person" if labels.endswith("windows") else f"{float(labels):.0%} of the labels"


def write_report(results: Sequence[Result], out: Path) -> Path:
    """All tables in `table.md` of a folder; its path."""
    lines = ["Macro-F1 on data sets that the encoder never saw.", ""]
    for channels in sorted({result.trial.channels for result in results}):
        for these in every_labels():
            lines += table(results, these, channels)
    path = out / "table.md"
    path.write_text("\n".join(lines))
    return path
