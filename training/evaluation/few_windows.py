"""A few labeled windows of one person, as recorded to teach a device, and the windows for the test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.corpora import WindowSet

WINDOW_S = 3.0
APART_S = 4.5
"""Least seconds between the starts of a training and a test window of one recording: 1.5 windows."""


def wearers(data: WindowSet) -> np.ndarray:
    """(N,) str: the person and, if known, the side of the sensor, since arms are never mixed."""
    return np.char.add(np.char.add(data.subject, " "), data.side)


def teachings(data: WindowSet, count: int, draw: int, people: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(taught, tested) indices for each of up to `people` wearers, spread over the set.

    Taught are `count` consecutive windows of every class without overlap, from a random position in a random recording,
    and from further recordings if it is too short. Tested are the wearer's windows of the class in other recordings or,
    if there are none, those at least `APART_S` away in the same one. Classes without test windows are left out, as are
    wearers with fewer than two classes.
    """
    who = wearers(data)
    everybody = sorted(set(who.tolist()), key=lambda name: (len(name), name))
    chosen = np.unique(np.linspace(0, len(everybody) - 1, min(people, len(everybody))).round().astype(int))
    for number in chosen:
        rng = np.random.default_rng([draw, count, number])
        taught: list[np.ndarray] = []
        tested: list[np.ndarray] = []
        for label in np.unique(data.y[who == everybody[number]]):
            own = np.flatnonzero((who == everybody[number]) & (data.y == label))
            few = in_a_row(own, data, count, rng)
            rest = apart(own, few, data)
            if len(few) == count and len(rest):
                taught.append(few)
                tested.append(rest)
        if len(taught) > 1:
            yield np.concatenate(taught), np.concatenate(tested)


def in_a_row(own: np.ndarray, data: WindowSet, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the windows `own` that do not overlap; fewer where there are no more."""
    few: list[int] = []
    for recording in rng.permutation(np.unique(data.recording[own])):
        rows = own[data.recording[own] == recording]
        rows = rows[np.argsort(data.start_s[rows], kind="stable")]
        if not few:
            rows = rows[rng.integers(0, max(1, len(rows) - 2 * count)) :]
        end_s = -np.inf
        for row in rows:
            if len(few) < count and data.start_s[row] >= end_s:
                few.append(row)
                end_s = data.start_s[row] + WINDOW_S
    return np.asarray(few, np.int64)


def apart(own: np.ndarray, few: np.ndarray, data: WindowSet) -> np.ndarray:
    """The windows `own` that may test those of `few`."""
    others = own[~np.isin(data.recording[own], data.recording[few])]
    if len(others):
        return others
    same = data.recording[own][:, None] == data.recording[few]
    near = np.abs(data.start_s[own][:, None] - data.start_s[few]) < APART_S
    return own[~(same & near).any(1)]
