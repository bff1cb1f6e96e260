"""Training and held-out windows of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpora import CORPORA, WindowSet, load_windows
from training.corpora.base import LIVE_HOP, TRAIN_HOP
from training.recipes.recipe import Recipe

RESERVED = {"spar": "10"}
"""Corpus -> the person of the shipped recording, used neither in training nor in calibration."""


@dataclass(frozen=True, slots=True)
class Data:
    """`train` and `held_out` windows of every corpus, hop 1.5 s, which share no person, or, in corpora whose people
    cannot be held out, no recording. `streams` are the held-out recordings at the live hop of 0.5 s."""

    train: tuple[WindowSet, ...]
    held_out: tuple[WindowSet, ...]
    streams: tuple[WindowSet, ...]


def held_out_people(data: WindowSet) -> np.ndarray:
    """(N,) bool: every fifth person from the fifth on, in natural order; nobody if there are fewer than five."""
    people = sorted(set(data.subject.tolist()), key=lambda name: (len(name), name))
    return np.isin(data.subject, people[4::5])


def held_out_recordings(data: WindowSet) -> np.ndarray:
    """(N,) bool: every fifth recording of each class, for corpora whose people cannot be held out (one person, or few
    people who do not all show every class). Scores are then not subject-disjoint."""
    held = np.zeros(len(data), bool)
    for label in np.unique(data.y):
        held |= np.isin(data.recording, np.unique(data.recording[data.y == label])[4::5])
    return held


def by_people(data: WindowSet) -> bool:
    """Whether people can be held out, with every class remaining in training."""
    held = held_out_people(data)
    return CORPORA[data.corpus].subjects and held.any() and set(data.y[held]) <= set(data.y[~held])


def held_out(data: WindowSet) -> np.ndarray:
    """(N,) bool: the windows that are held out of training."""
    return held_out_people(data) if by_people(data) else held_out_recordings(data)


def reserved(data: WindowSet) -> np.ndarray:
    """(N,) bool: the windows of the shipped recording's person."""
    return data.subject == RESERVED.get(data.corpus, "")


def thin(data: WindowSet, most: int) -> WindowSet:
    """At most `most` windows of each class, spread evenly; all of them for 0."""
    if not most:
        return data
    rows = [np.flatnonzero(data.y == label) for label in np.unique(data.y)]
    keep = [r[np.linspace(0, len(r) - 1, min(most, len(r))).astype(int)] for r in rows]
    return data.select(np.sort(np.concatenate(keep)))


def load_data(recipe: Recipe) -> Data:
    """Load and split the recipe's corpora. Raises `DataError` for one that is not found."""
    train, withheld, streams = [], [], []
    for name in recipe.allowed():
        data, live = load_windows(name, hop=TRAIN_HOP), load_windows(name, hop=LIVE_HOP)
        out = held_out(data)
        train.append(thin(data.select(~out & ~reserved(data)), recipe.max_windows_per_class))
        withheld.append(data.select(out & ~reserved(data)))
        streams.append(live.select(np.isin(live.recording, withheld[-1].recording)))
    return Data(tuple(train), tuple(withheld), tuple(streams))
