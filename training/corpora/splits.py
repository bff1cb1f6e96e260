"""Protocol v1's folds over people and its fractions of the labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FRACTIONS = (0.02, 0.10, 1.0)


def folds(y: np.ndarray, subject: np.ndarray, k: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train, test) indices of `k` folds that share no person.

    `y` (N,) class numbers, `subject` (N,) str. Fold i tests every k-th person from the i-th on, in natural
    order ("2" before "10"); test windows of classes that its training people never show are left out.
    """
    people = sorted(set(subject.tolist()), key=lambda name: (len(name), name))
    for i in range(k):
        held = np.isin(subject, people[i::k])
        train, test = np.flatnonzero(~held), np.flatnonzero(held)
        yield train, test[np.isin(y[test], y[train])]


def label_fraction(y: np.ndarray, train: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Indices of a share of the train windows, stratified by class, at least one a class.

    With one seed (the fold's number in protocol v1) a smaller share lies inside a larger one.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(train[y[train] == label]) for label in np.unique(y[train])]
    return np.sort(np.concatenate([order[: max(1, round(fraction * len(order)))] for order in orders]))
