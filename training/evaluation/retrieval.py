"""Cross-modal retrieval on held-out clips: `python -m training.retrieval RUN --shards DIR --out docs/retrieval`.

For every ordered pair of modalities: the rank of the best match of a query among all candidates, by cosine. With text,
a match is any clip of that title, and each title is one candidate. Without text, two kinds of match are scored: any
clip of the same title, and the same three seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import dacite
import numpy as np
import torch
from scipy.stats import hypergeom
from torch import Tensor
from torch.nn.functional import normalize

from mujo_edge.core import F64, DataError
from training.fimad.clip import Modality
from training.learn.clip_pool import ClipPool
from training.learn.pretrain import JointModel
from training.recipes.recipe import Recipe
from training.support.tensors import load_tensors

FIRST = (1, 5)
"""Ranks of the recalls."""


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of an ordered pair. `match` is "title" or "clip"; recalls are at 1 and 5; `chance_*` are the expected
    recalls and the median rank of a random order."""

    query: Modality
    target: Modality
    match: str
    queries: int
    candidates: int
    recall: tuple[float, float]
    median_rank: float
    chance_recall: tuple[float, float]
    chance_median_rank: float


def ranks(scores: F64, match: np.ndarray) -> np.ndarray:
    """`scores` (Q, C), `match` (Q, C) bool -> (Q,) rank of the best match, from 1; ties count against it."""
    best = np.where(match, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores >= best) & ~match).sum(1)


def chance(match: np.ndarray) -> tuple[tuple[float, float], float]:
    """Recalls and median rank of a random order, for matches `match` (Q, C) bool.

    With k matches among C candidates, the probability of none among the first r is hypergeometric.
    """
    candidates = match.shape[1]
    k, counts = np.unique(match.sum(1), return_counts=True)

    def recall(r: np.ndarray) -> np.ndarray:
        return counts @ (1 - hypergeom.pmf(0, candidates, k[:, None], r[None])) / counts.sum()

    within = recall(np.arange(1, candidates + 1))
    first = tuple(float(recall(np.array([min(r, candidates)]))[0]) for r in FIRST)
    return (first[0], first[1]), float(1 + np.argmax(within >= 0.5 - 1e-9))


def score(query: Modality, target: Modality, match: str, a: F64, b: F64, right: np.ndarray) -> Score:
    """Queries `a` (Q, D) among candidates `b` (C, D), unit vectors."""
    best = ranks(a @ b.T, right)
    by_chance, median = chance(right)
    first = tuple(float((best <= r).mean()) for r in FIRST)
    return Score(query, target, match, len(a), len(b), (first[0], first[1]), float(np.median(best)), by_chance, median)


@torch.no_grad()
def embed(model: JointModel, clips: ClipPool, modalities: Sequence[Modality]) -> dict[str, tuple[Tensor, F64]]:
    """Modality -> indices (n,) of the clips that have it, and unit embeddings (n, D) of their middle three seconds."""
    parts: dict[str, tuple[list[Tensor], list[Tensor]]] = {m: ([], []) for m in modalities}
    for rows in torch.arange(len(clips)).split(256):
        middle = clips.center(rows)
        for m, (which, vectors) in parts.items():
            if len(middle.inputs[m]):
                which.append(rows[middle.present[m]])
                vectors.append(normalize(getattr(model, m)(middle.inputs[m]), dim=1))
    return {m: (torch.cat(which), torch.cat(v).double().numpy()) for m, (which, v) in parts.items() if which}


def retrieve(model: JointModel, clips: ClipPool, modalities: Sequence[Modality]) -> Iterator[Score]:
    """Scores of every ordered pair that at least two clips have."""
    with torch.no_grad():
        titles = normalize(model.text(clips.title_vectors), dim=1).double().numpy()
    embedded = embed(model, clips, [m for m in modalities if m != "text"])
    y = clips.y.numpy()
    for query, target in permutations(sorted(modalities), 2):
        other = target if query == "text" else query
        if not {query, target} - {"text"} <= set(embedded):
            continue
        which, vectors = embedded[other]
        if "text" in (query, target):
            named = np.unique(y[which])
            right = y[which][:, None] == named
            if len(named) < 2:
                continue
            sides = (vectors, titles[named], right) if target == "text" else (titles[named], vectors, right.T)
            yield score(query, target, "title", *sides)
            continue
        target_which, target_vectors = embedded[target]
        both, mine, its = np.intersect1d(which.numpy(), target_which.numpy(), return_indices=True)
        if len(both) < 2:
            continue
        for match, right in (("title", y[both][:, None] == y[both]), ("clip", np.eye(len(both), dtype=bool))):
            yield score(query, target, match, vectors[mine], target_vectors[its], right)


def markdown(scores: Sequence[Score]) -> str:
    """A table with a line for each pair; chance in brackets."""
    lines = [
        "| query -> target | found is the same | queries | candidates | R@1 | R@5 | median rank |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in sorted(scores, key=lambda s: s.match, reverse=True):
        recalls = " | ".join(f"{r:.3f} [{c:.3f}]" for r, c in zip(s.recall, s.chance_recall, strict=True))
        lines.append(
            f"| {s.query} -> {s.target} | {s.match} | {s.queries} | {s.candidates} | {recalls} | "
            f"{s.median_rank:g} [{s.chance_median_rank:g}] |"
        )
    return "\n".join(lines) + "\n"


def plot(scores: Sequence[Score], path: Path) -> None:
    """Recall at 1 and 5 of every pair, a panel for each kind of match; marks show chance, brackets the queries."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matches = sorted({s.match for s in scores}, reverse=True)
    size = (6 * len(matches), 4.5)
    figure, panels = plt.subplots(1, len(matches), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axes, match in zip(panels[0], matches, strict=True):
        own = [s for s in scores if s.match == match]
        for i, r in enumerate(FIRST):
            at = np.arange(len(own)) + 0.4 * (i - 0.5)
            axes.bar(at, [s.recall[i] for s in own], 0.38, label=f"R@{r}")
            marks = [s.chance_recall[i] for s in own]
            axes.plot(at, marks, "k_", markersize=11, label="chance" if i else None)
        names = [f"{s.query} → {s.target} ({s.queries})" for s in own]
        axes.set_xticks(range(len(own)), names, rotation=60, ha="right", fontsize=8)
        axes.set_title(f"the same {match}: {max(s.candidates for s in own)} candidates at most", fontsize=9)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def read_teacher(folder: Path) -> tuple[Recipe, JointModel]:
    """Recipe and teacher of a run. Raises `DataError` if `folder` holds none."""
    try:
        table = json.loads((folder / "run.json").read_text("utf-8"))["config"]["recipe"]
        recipe = dacite.from_dict(Recipe, table, dacite.Config(cast=[tuple]))
        model = JointModel(recipe.teacher)
        model.load_state_dict(load_tensors(folder / "teacher.pt")["state"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, dacite.DaciteError) as error:
        raise DataError(
            f"{folder} holds no teacher ({error!r:.200}). Train one with: python -m training.pretrain --out {folder}"
        ) from error
    return recipe, model.eval()
