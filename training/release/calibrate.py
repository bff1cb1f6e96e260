"""Label sets of a trained student: prototypes from prompts; temperature, unknown threshold and smoothing from held-out
recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score, roc_auc_score

from mujo_edge.bundle import l2_normalize
from mujo_edge.bundle.manifest import Label, LabelSet, Smoothing
from mujo_edge.core import F32
from mujo_edge.recognizer import Smoother
from mujo_edge.signal import InputSpec, prepare
from training.corpora import WindowSet
from training.corpora.labels import LabelSetSpec, Vocabulary
from training.models.inference import float_embeddings
from training.models.sentence_embedding import TextProjection, embed_text, text_prototypes
from training.models.student import Student
from training.recipes.splits import Data

FALSE_UNKNOWN = 0.05
"""Fraction of a label set's held-out windows that the unknown threshold rejects."""

SMOOTHINGS = (
    Smoothing("none"),
    *(Smoothing("majority", windows=n) for n in (3, 5, 7)),
    *(Smoothing("hmm", stay=p) for p in (0.8, 0.9, 0.95, 0.98)),
)


def embed(student: Student, x: F32, spec: InputSpec) -> F32:
    """(N, 3 or 6, T) in m/s2 and rad/s -> embeddings (N, D) of the float network, L2-normalized."""
    return l2_normalize(float_embeddings(student, prepare(x, spec)))


def likelihood(cosine: F32, y: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of classes `y` (N,) under softmax(cosine / temperature)."""
    logits = cosine / temperature
    peak = logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits - peak).sum(1)) + peak[:, 0] - logits[np.arange(len(y)), y]))


def fit_temperature(cosine: F32, y: np.ndarray) -> float:
    """The softmax temperature of maximum likelihood on held-out labels (Guo et al., arXiv 1706.04599)."""
    optimum = minimize_scalar(lambda t: likelihood(cosine, y, float(np.exp(t))), bounds=(-5, 0), method="bounded")
    return float(np.exp(optimum.x))


def smoothed_accuracy(labels: LabelSet, embeddings: F32, y: np.ndarray, person: np.ndarray) -> float:
    """Accuracy when the held-out recordings of each person are played one after another.

    The filter is not reset between recordings, so that a slow filter is penalized for its delay.
    """
    correct = []
    for name in np.unique(person):
        smoother = Smoother(labels.smoothing, len(labels.names))
        own = np.flatnonzero(person == name)
        predicted = [int(smoother.update(p).argmax()) for p in labels.probabilities(embeddings[own])]
        correct += (np.asarray(predicted) == y[own]).tolist()
    return float(np.mean(correct))


def stack(sets: Sequence[WindowSet], vocabulary: Vocabulary, names: Sequence[str]) -> tuple[F32, np.ndarray]:
    """Windows (N, 6, T) of several corpora and their labels (N,) as indices of `names`."""
    number = {index: i for i, index in enumerate(vocabulary.index(names))}
    y = np.concatenate([vocabulary.targets(s) for s in sets])
    return np.concatenate([s.x for s in sets]), np.asarray([number[v] for v in y.tolist()])


def calibrate(
    student: Student,
    text: TextProjection,
    wanted: LabelSetSpec,
    vocabulary: Vocabulary,
    data: Data,
    spec: InputSpec,
) -> tuple[LabelSet, dict[str, Any]] | None:
    """A label set and its metrics on held-out windows; None if the recipe has no windows of it.

    The threshold rejects `FALSE_UNKNOWN` of the held-out windows, each counted with and without the gyroscope.
    "unknown" is evaluated on held-out windows of other labels at the same placement (open set).
    """
    if not (train := vocabulary.members(wanted, data.train)):
        return None
    present = np.unique(np.concatenate([vocabulary.targets(s) for s in train]))
    names = [vocabulary.names[i] for i in present]
    prompts = [vocabulary.prompts[i] for i in present]
    channels = 6 if all(s.has_gyro.all() for s in train) else 3
    held_out, streams = vocabulary.members(wanted, data.held_out), vocabulary.members(wanted, data.streams)
    x, y = stack(held_out, vocabulary, names)
    embeddings = {c: embed(student, x[:, :c], spec) for c in sorted({3, channels})}
    both = np.concatenate(list(embeddings.values()))
    labels = LabelSet(
        name=wanted.name,
        labels=tuple(map(Label, names, prompts)),
        prototypes=text_prototypes(text, [embed_text(sentences) for sentences in prompts]),
        placement=wanted.placement,
        temperature=1.0,
        unknown_threshold=-1.0,
        smoothing=Smoothing("none"),
        channels=channels,
    )
    cosine = both @ labels.prototypes.T
    labels = replace(
        labels,
        temperature=fit_temperature(cosine, np.tile(y, len(embeddings))),
        unknown_threshold=float(np.quantile(cosine.max(1), FALSE_UNKNOWN)),
    )
    live, live_y = stack(streams, vocabulary, names)
    people = np.concatenate([np.char.add(f"{s.corpus}-", s.subject) for s in streams])
    live_embeddings = embed(student, live[:, :channels], spec)
    scores = {s: smoothed_accuracy(replace(labels, smoothing=s), live_embeddings, live_y, people) for s in SMOOTHINGS}
    labels = replace(labels, smoothing=max(scores, key=lambda s: scores[s]))
    measured: dict[str, Any] = {
        f"macro_f1_{c}ch": float(f1_score(y, (e @ labels.prototypes.T).argmax(1), average="macro"))
        for c, e in embeddings.items()
    }
    measured |= {
        "windows": len(y),
        "stream_accuracy": scores[labels.smoothing],
        "stream_accuracy_unsmoothed": scores[Smoothing("none")],
        **open_set(student, labels, cosine.max(1), wanted, vocabulary, data, spec),
    }
    return labels, measured


def open_set(
    student: Student,
    labels: LabelSet,
    known: F32,
    wanted: LabelSetSpec,
    vocabulary: Vocabulary,
    data: Data,
    spec: InputSpec,
) -> dict[str, float]:
    """Metrics of "unknown" on held-out windows of other labels at the same placement, which nothing is fitted to.

    `known` (N,) are the largest cosines of the label set's own held-out windows.
    """
    own = vocabulary.index(labels.names[:-1])
    parts = []
    for s in data.held_out:
        other = (s.placement == wanted.placement) & ~np.isin(vocabulary.targets(s), own)
        if other.any():
            parts.append(s.x[other][:, : labels.channels])
    if not parts:
        return {}
    unknown = (embed(student, np.concatenate(parts), spec) @ labels.prototypes.T).max(1)
    truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    return {
        "unknown_auroc": float(roc_auc_score(truth, np.r_[known, unknown])),
        "unknown_found": float((unknown < labels.unknown_threshold).mean()),
        "known_kept": float((known >= labels.unknown_threshold).mean()),
    }
