"""Splits of protocol v1: folds over people, label fractions, and the labels of one person."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mujo_edge.core import DataError

FRACTIONS = (0.02, 0.10, 1.0)


def folds(y: np.ndarray, subject: np.ndarray, k: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train, test) indices of `k` subject-disjoint folds.

    `y` (N,) class numbers, `subject` (N,) str. Fold i tests every k-th person from the i-th on, in natural order ("2"
    before "10"); test windows of classes that do not occur in its training windows are left out.
    """
    people = sorted(set(subject.tolist()), key=lambda name: (len(name), name))
    for i in range(k):
        held_out = np.isin(subject, people[i::k])
        train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        yield train, test[np.isin(y[test], y[train])]


def label_fraction(y: np.ndarray, train: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Indices of a fraction of the train windows, stratified by class, at least one per class.

    For one seed (the fold's number in protocol v1) smaller fractions are subsets of larger ones.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(train[y[train] == label]) for label in np.unique(y[train])]
    return np.sort(np.concatenate([order[: max(1, round(fraction * len(order)))] for order in orders]))


def labels_of_one(y: np.ndarray, subject: np.ndarray, train: np.ndarray, fold: int, seed: int) -> np.ndarray:
    """Indices of all train windows of one person, the harder few-label case.

    Candidates are the train people with windows of every class in the train windows. They are shuffled by the fold's
    number, and seed s takes the s-th (cyclically), so that all models of a fold and seed learn from the same person,
    and the seeds of a fold from different ones.

    Raises:
        DataError: no person has windows of every class.
    """
    wanted = set(y[train].tolist())
    people = sorted(set(subject[train].tolist()), key=lambda name: (len(name), name))
    complete = [person for person in people if set(y[train][subject[train] == person].tolist()) == wanted]
    if not complete:
        raise DataError("no train person has every class, so the labels of one person cannot be evaluated here")
    order = np.random.default_rng(fold).permutation(len(complete))
    return train[subject[train] == complete[order[seed % len(complete)]]]
