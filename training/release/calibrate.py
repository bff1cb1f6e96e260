"""Label sets of a trained student: prototypes from training windows; temperature, unknown threshold and
smoothing from held-out recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score, roc_auc_score
from torch.nn.functional import cross_entropy, normalize

from mujo_edge.bundle import l2_normalize
from mujo_edge.bundle.fit import fit_prototypes
from mujo_edge.bundle.manifest import Label, LabelSet, Smoothing
from mujo_edge.core import F32, UNKNOWN
from mujo_edge.recognizer import Smoother
from mujo_edge.signal import InputSpec, prepare
from training.corpora import WindowSet
from training.corpora.base import BACKGROUND
from training.corpora.labels import LabelSetSpec, Vocabulary
from training.learn.augment import AugmentConfig, augment
from training.models.inference import float_embeddings
from training.models.student import Student
from training.recipes.splits import Data

FALSE_UNKNOWN = 0.05
"""Fraction of a label set's held-out windows that the unknown threshold rejects."""

FIT_STEPS, FIT_RATE, FIT_SCALE, FIT_SMOOTHING, COPIES = 300, 0.01, 24.0, 0.1, 2
"""Of `fit_head`: steps of Adam, its rate, the inverse temperature, smoothing of labels, changed copies of a window."""

BACKGROUND_SHARE = 6.0
"""Weight of all background windows, relative to the mean of the other labels."""

ANNOUNCED_S, BOUT_S = 3.0, 10.0
"""Seconds for which a label must be shown to count as an announcement, and of a bout that is to be announced."""

BACKGROUND_PROMPTS = ("anything that is no movement of this set", "everyday movement that is no exercise")
"""Prompts of the label `BACKGROUND`."""

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


def smoothed(labels: LabelSet, embeddings: F32, recording: np.ndarray) -> np.ndarray:
    """(N,) columns of `labels.names` that are shown when the windows of each recording (N,) are played in order."""
    shown = np.empty(len(embeddings), np.int64)
    for name in np.unique(recording):
        smoother = Smoother(labels.smoothing, len(labels.names))
        own = np.flatnonzero(recording == name)
        shown[own] = [int(smoother.update(p).argmax()) for p in labels.probabilities(embeddings[own])]
    return shown


def smoothed_accuracy(labels: LabelSet, embeddings: F32, y: np.ndarray, person: np.ndarray) -> float:
    """Accuracy when the held-out recordings of each person are played one after another.

    The filter is not reset between recordings, so that a slow filter is penalized for its delay.
    """
    return float((smoothed(labels, embeddings, person) == y).mean())


def silent_columns(labels: LabelSet) -> list[int]:
    """Columns of `labels.names` that announce nothing: unknown and, where there is one, background."""
    return [i for i, name in enumerate(labels.names) if name in (UNKNOWN, BACKGROUND)]


def runs(shown: np.ndarray, recording: np.ndarray) -> list[tuple[int, int, int]]:
    """(column, first, stop) of every run of one shown label in one recording."""
    changes = np.flatnonzero((np.diff(shown) != 0) | (recording[1:] != recording[:-1])) + 1
    edges = [0, *changes.tolist(), len(shown)]
    return [(int(shown[a]), a, b) for a, b in pairwise(edges)]


def daily_life(
    student: Student,
    labels: LabelSet,
    outside: Sequence[WindowSet],
    streams: Sequence[WindowSet],
    y: np.ndarray,
    spec: InputSpec,
) -> dict[str, float]:
    """False announcements of a set in daily life, and the fraction of its own activities that it announces.

    An announcement is a label other than background and unknown that is shown for `ANNOUNCED_S`. The result has those
    per hour of held-out background `outside`, and the fraction of bouts of at least `BOUT_S` in the held-out `streams`
    (columns `y` (N,)) that are announced with their label.
    """
    hop_s = spec.hop / spec.rate_hz
    least = round(ANNOUNCED_S / hop_s) + 1
    silent = silent_columns(labels)
    false, hours = 0, 0.0
    for data in outside:
        if len(data):
            shown = smoothed(labels, embed(student, data.x[:, : labels.channels], spec), data.recording)
            false += sum(k not in silent and b - a >= least for k, a, b in runs(shown, data.recording))
            hours += len(data) * hop_s / 3600
    recording = np.concatenate([np.char.add(f"{s.corpus}-", s.recording.astype(str)) for s in streams])
    live = np.concatenate([s.x for s in streams])
    shown = smoothed(labels, embed(student, live[:, : labels.channels], spec), recording)
    announced = [
        any(k == t and d - c >= least for k, c, d in runs(shown[a:b], recording[a:b]))
        for t, a, b in runs(y, recording)
        if (b - a) * hop_s >= BOUT_S
    ]
    result = {"bouts": len(announced), "bouts_announced": float(np.mean(announced))} if announced else {}
    return result | ({"background_hours": hours, "false_announcements_per_hour": false / hours} if hours else {})


def stack(sets: Sequence[WindowSet], vocabulary: Vocabulary, names: Sequence[str]) -> tuple[F32, np.ndarray]:
    """Windows (N, 6, T) of several corpora and their labels (N,) as indices of `names`."""
    number = {index: i for i, index in enumerate(vocabulary.index(names))}
    y = np.concatenate([vocabulary.targets(s) for s in sets])
    return np.concatenate([s.x for s in sets]), np.asarray([number[v] for v in y.tolist()])


def fit_head(embeddings: F32, y: np.ndarray, classes: int, background: int | None = None) -> F32:
    """Prototypes (L, D) of length one with the least cross-entropy of cosine softmax on embeddings (N, D) with classes
    `y` (N,), from their mean directions on. A class counts with the square root of its windows, `background` with
    `BACKGROUND_SHARE` of the others' mean."""
    counts = np.bincount(y, minlength=classes)
    share = np.sqrt(counts)
    if background is not None:
        share[background] = BACKGROUND_SHARE * np.delete(share, background).mean()
    x, truth = torch.from_numpy(embeddings), torch.from_numpy(y)
    # Not `cross_entropy(weight=...)`, which would also weigh the smoothed part of every window's target by class.
    weight = torch.from_numpy((share / share.sum() / np.maximum(counts, 1)).astype(np.float32))[truth]
    prototypes = torch.nn.Parameter(torch.from_numpy(fit_prototypes(embeddings, y, classes)))
    optimizer = torch.optim.Adam([prototypes], FIT_RATE)
    for _ in range(FIT_STEPS):
        optimizer.zero_grad()
        logits = FIT_SCALE * x @ normalize(prototypes, dim=1).T
        (weight @ cross_entropy(logits, truth, reduction="none", label_smoothing=FIT_SMOOTHING)).backward()
        optimizer.step()
    return np.asarray(normalize(prototypes.detach(), dim=1).numpy(), np.float32)


def copies(student: Student, x: F32, spec: InputSpec, chiral: bool, plain: Sequence[int] = ()) -> F32:
    """Embeddings ((COPIES + len(plain)) N, D) of changed copies of windows (N, 6, T), half of them without gyroscope,
    and of the unchanged windows with the `plain` numbers of channels."""
    generator = torch.Generator().manual_seed(0)
    prepared = torch.from_numpy(prepare(x, spec))
    never = torch.full((len(x),), chiral)
    augmented = [augment(prepared, AugmentConfig(), generator, never).numpy() for _ in range(COPIES)]
    changed = l2_normalize(float_embeddings(student, np.concatenate(augmented)))
    return np.concatenate([changed, *(embed(student, x[:, :channels], spec) for channels in plain)])


def calibrate(
    student: Student,
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
    outside = vocabulary.outside(wanted, data.train)
    present = np.unique(np.concatenate([vocabulary.targets(s) for s in train]))
    names = [vocabulary.names[i] for i in present]
    prompts = [vocabulary.prompts[i] for i in present]
    x, y = stack(train, vocabulary, names)
    channels = 6 if all(s.has_gyro.all() for s in train) else 3
    plain = sorted({3, channels})
    chiral = any(s.corpus in vocabulary.chiral for s in train)
    embeddings = [copies(student, x, spec, chiral, plain)]
    numbers = [np.tile(y, COPIES + len(plain))]
    if outside:
        prompts.append(BACKGROUND_PROMPTS)
        embeddings += [copies(student, s.x, spec, s.corpus in vocabulary.chiral) for s in outside]
        numbers.append(np.full(COPIES * sum(map(len, outside)), len(names)))
    background = len(names) if outside else None
    prototypes = fit_head(np.concatenate(embeddings), np.concatenate(numbers), len(prompts), background)
    held_out, streams = vocabulary.members(wanted, data.held_out), vocabulary.members(wanted, data.streams)
    x, y = stack(held_out, vocabulary, names)
    by_channels = {c: embed(student, x[:, :c], spec) for c in plain}
    both = np.concatenate(list(by_channels.values()))
    labels = LabelSet(
        name=wanted.name,
        labels=tuple(map(Label, [*names, BACKGROUND] if outside else names, prompts)),
        prototypes=prototypes,
        placement=wanted.placement,
        temperature=1.0,
        unknown_threshold=-1.0,
        smoothing=Smoothing("none"),
        channels=channels,
    )
    cosine = both @ labels.prototypes.T
    labels = replace(
        labels,
        temperature=fit_temperature(cosine, np.tile(y, len(plain))),
        unknown_threshold=float(np.quantile(cosine.max(1), FALSE_UNKNOWN)),
    )
    live, live_y = stack(streams, vocabulary, names)
    people = np.concatenate([np.char.add(f"{s.corpus}-", s.subject) for s in streams])
    live_embeddings = embed(student, live[:, :channels], spec)
    scores = {s: smoothed_accuracy(replace(labels, smoothing=s), live_embeddings, live_y, people) for s in SMOOTHINGS}
    labels = replace(labels, smoothing=max(scores, key=lambda s: scores[s]))
    measured: dict[str, Any] = {
        f"macro_f1_{c}ch": float(f1_score(y, (e @ labels.prototypes.T).argmax(1), labels=np.unique(y), average="macro"))
        for c, e in by_channels.items()
    }
    measured |= {
        "windows": len(y),
        "stream_accuracy": scores[labels.smoothing],
        "stream_accuracy_unsmoothed": scores[Smoothing("none")],
        **daily_life(student, labels, vocabulary.outside(wanted, data.streams), streams, live_y, spec),
        **open_set(student, labels, both, wanted, vocabulary, data, spec),
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
    """Metrics of "unknown" and background on held-out windows of other labels at the same placement, which nothing is
    fitted to.

    `known` (N, D) are embeddings of the label set's own held-out windows.
    """
    own = vocabulary.index(name for name in labels.names[:-1] if name != BACKGROUND)
    parts = []
    for s in data.held_out:
        other = (s.placement == wanted.placement) & ~np.isin(vocabulary.targets(s), own)
        if other.any():
            parts.append(s.x[other][:, : labels.channels])
    if not parts:
        return {}
    silent = silent_columns(labels)
    unknown = labels.probabilities(embed(student, np.concatenate(parts), spec))
    own_windows = labels.probabilities(known)
    truth = np.r_[np.ones(len(own_windows)), np.zeros(len(unknown))]
    named = [1 - p[:, silent].sum(1) for p in (own_windows, unknown)]
    return {
        "unknown_auroc": float(roc_auc_score(truth, np.concatenate(named))),
        "unknown_found": float(np.isin(unknown.argmax(1), silent).mean()),
        "known_kept": float(1 - np.isin(own_windows.argmax(1), silent).mean()),
    }
