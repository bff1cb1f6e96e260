"""Protocol v1's folds over people, its fractions of the labels, and the labels of one person."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import DataError

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


def labels_of_one(y: np.ndarray, subject: np.ndarray, train: np.ndarray, fold: int, seed: int) -> np.ndarray:
    """Indices of all train windows of one person: the harder few-label case.

    Candidates are the train people who show every class that the train windows have. They are shuffled by the
    number of the fold, and seed s takes the s-th (from the first again when there are no more), so that every model
    of a fold and seed learns from the same person and the seeds of a fold from different ones.

    Raises:
        DataError: nobody shows every class.
    """
    wanted = set(y[train].tolist())
    people = sorted(set(subject[train].tolist()), key=lambda name: (len(name), name))
    whole = [person for person in people if set(y[train][subject[train] == person].tolist()) == wanted]
    if not whole:
        raise DataError("no train person shows every class, so the labels of one person cannot be evaluated here")
    order = np.random.default_rng(fold).permutation(len(whole))
    return train[subject[train] == whole[order[seed % len(whole)]]]
