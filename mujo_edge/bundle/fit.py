"""Label sets of one's own, fitted to labeled windows: prototypes, temperature and the threshold of unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle.labels import BundleId, Label, LabelSet, Smoothing, check_names
from mujo_edge.core import F32, UsageError
from mujo_edge.printable import HIDDEN, NAME, PLACE, checked

FOLDS = 5
"""Parts of each class that are held out in turn where no groups are given."""

FALSE_UNKNOWN = 0.05
"""Share of held-out windows that the unknown threshold may turn away; the same in every shipped label set."""

TEMPERATURES = np.geomspace(0.01, 1.0, 121)
"""Softmax temperatures that are tried."""

ONE_LABEL_TEMPERATURE = 0.05
"""Temperature of a set of one label, for which none is likelier than another; about that of the shipped sets."""


def l2_normalize(embeddings: F32) -> F32:
    """(N, D) -> rows of length 1; a zero row stays zero."""
    result: F32 = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12).astype(np.float32)
    return result


def fit_prototypes(embeddings: F32, y: npt.NDArray[np.int64], classes: int) -> F32:
    """Prototypes of classes from labeled windows: their mean directions.

    (N, D) L2-normalized embeddings with class numbers `y` (N,) -> (L, D) float32, L2-normalized. A class without
    windows takes the mean of all, which is near to nothing in particular.
    """
    means = [embeddings[y == c].mean(0) if (y == c).any() else embeddings.mean(0) for c in range(classes)]
    return l2_normalize(np.stack(means).astype(np.float32))


def fit_label_set(
    embeddings: F32,
    y: Sequence[str],
    bundle: BundleId,
    channels: int,
    *,
    name: str,
    placement: str = "",
    smoothing: Smoothing | None = None,
    groups: Sequence[object] | None = None,
) -> LabelSet:
    """A label set from (N, D) L2-normalized embeddings and their labels `y` (N,); see `ModelBundle.fit_labels`.

    Temperature (Guo et al., arXiv 1706.04599) and threshold are fitted to windows that were held out of the
    prototypes: group by group, else each class in `FOLDS` consecutive parts, as neighboring windows overlap.

    Raises:
        UsageError: as `ModelBundle.fit_labels`.
    """
    try:
        checked("the name of a label set", name, NAME)
        checked("its placement", placement, PLACE)
        names = list(dict.fromkeys(map(str, y)))
        check_names(names)
        if hidden := [label for label in names if HIDDEN.search(label)]:
            raise ValueError(f"the label {hidden[0]!a} has a hidden character")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if len(y) != len(embeddings) or not len(y):
        raise UsageError(f"{len(embeddings)} windows and {len(y)} labels: give one label for each of some windows")
    if groups is not None and len(groups) != len(y):
        raise UsageError(f"{len(y)} labels and {len(groups)} groups: give one group for each window")
    number = np.array([names.index(str(label)) for label in y])
    counts = np.bincount(number)
    if counts.min() < 2:
        scarce = names[int(counts.argmin())]
        raise UsageError(f"label {scarce!r} has one window; give at least two of each, better twenty")
    cosine, truth = _held_out(embeddings, number, _folds(number, groups), len(names))
    if not len(truth):
        raise UsageError("every label is in one group only, so none can be held out; give more groups, or no groups")
    right = float((cosine.argmax(1) == truth).mean())
    temperature = ONE_LABEL_TEMPERATURE
    if len(names) > 1:
        temperature = float(min(TEMPERATURES, key=lambda t: _negative_log_likelihood(cosine, truth, t)))
    note = f"label set {name} was fitted to {len(y)} windows"
    return LabelSet(
        name=name,
        labels=tuple(Label(label, (), int(count)) for label, count in zip(names, counts, strict=True)),
        prototypes=fit_prototypes(embeddings, number, len(names)),
        placement=placement,
        temperature=temperature,
        unknown_threshold=float(np.quantile(cosine.max(1), FALSE_UNKNOWN)),
        smoothing=smoothing or Smoothing(),
        channels=channels,
        note=f"{note}; {100 * right:.0f} % of {len(truth)} were named right when held out" if len(names) > 1 else note,
        bundle=bundle,
    )


def _folds(number: npt.NDArray[np.int64], groups: Sequence[object] | None) -> npt.NDArray[np.int64]:
    """(N,) the number of the part in which each window is held out."""
    if groups is not None:
        order = list(dict.fromkeys(groups))
        return np.array([order.index(group) for group in groups])
    fold = np.empty(len(number), np.int64)
    for c in range(number.max() + 1):
        rows = np.flatnonzero(number == c)
        fold[rows] = np.arange(len(rows)) * min(FOLDS, len(rows)) // len(rows)
    return fold


def _held_out(
    embeddings: F32, number: npt.NDArray[np.int64], fold: npt.NDArray[np.int64], classes: int
) -> tuple[F32, npt.NDArray[np.int64]]:
    """(M, L) cosines of windows to prototypes fitted without their fold, and their classes (M,).

    Folds that hold every window of a class are left out: without it, nothing would stand for it.
    """
    cosines, truths = [np.empty((0, classes), np.float32)], [np.empty(0, np.int64)]
    for part in np.unique(fold):
        out = fold == part
        if len(np.unique(number[~out])) == classes:
            cosines.append(embeddings[out] @ fit_prototypes(embeddings[~out], number[~out], classes).T)
            truths.append(number[out])
    return np.concatenate(cosines), np.concatenate(truths)


def _negative_log_likelihood(cosine: F32, y: npt.NDArray[np.int64], temperature: float) -> float:
    """Mean over windows of the classes `y` (N,) under softmax(cosine / temperature)."""
    logits = cosine / temperature
    logits = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]))
