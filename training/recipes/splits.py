"""What a recipe trains on and what it holds out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.corpora import CORPORA, WindowSet, load_windows
from training.corpora.base import LIVE_HOP, TRAIN_HOP
from training.recipes.recipe import Recipe

RESERVED = {"spar": "10"}
"""The person of the shipped recording: seen by nothing, neither in training nor in calibration."""


@dataclass(frozen=True, slots=True)
class Data:
    """`train` and `held_out` windows of every corpus, hop 1.5 s; they share no person, or, in corpora without people
    that could be held out, no recording. `streams` are the held recordings at the live hop of 0.5 s."""

    train: tuple[WindowSet, ...]
    held_out: tuple[WindowSet, ...]
    streams: tuple[WindowSet, ...]


def held_out_people(data: WindowSet) -> np.ndarray:
    """(N,) bool: every fifth person from the fifth on, in natural order; with fewer than five people nobody."""
    people = sorted(set(data.subject.tolist()), key=lambda name: (len(name), name))
    return np.isin(data.subject, people[4::5])


def held_out_recordings(data: WindowSet) -> np.ndarray:
    """(N,) bool: every fifth recording of each class, where people cannot be held out (one person, or few who
    do not all do everything). Its scores are not subject-disjoint."""
    held = np.zeros(len(data), bool)
    for label in np.unique(data.y):
        held |= np.isin(data.recording, np.unique(data.recording[data.y == label])[4::5])
    return held


def by_people(data: WindowSet) -> bool:
    """Whether every class remains in training when people are held out, and somebody is."""
    held = held_out_people(data)
    return CORPORA[data.corpus].subjects and held.any() and set(data.y[held]) <= set(data.y[~held])


def held_out(data: WindowSet) -> np.ndarray:
    """(N,) bool: the windows that training must not see."""
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
    train, kept, streams = [], [], []
    for name in recipe.allowed():
        data, live = load_windows(name, hop=TRAIN_HOP), load_windows(name, hop=LIVE_HOP)
        out = held_out(data)
        train.append(thin(data.select(~out & ~reserved(data)), recipe.max_windows_per_class))
        kept.append(data.select(out & ~reserved(data)))
        streams.append(live.select(np.isin(live.recording, kept[-1].recording)))
    return Data(tuple(train), tuple(kept), tuple(streams))
