"""A few windows of one person: what somebody gives who teaches a device, and what it is tested on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.corpora import WindowSet

WINDOW_S = 3.0
APART_S = 4.5
"""Seconds from the start of a taught window to that of a tested one of the same recording: a window and a half."""


def wearers(data: WindowSet) -> np.ndarray:
    """(N,) str: who wears the sensor and, where it is known, on which side: a left arm is not taught by the right."""
    return np.char.add(np.char.add(data.subject, " "), data.side)


def teachings(data: WindowSet, count: int, draw: int, people: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(taught, tested) indices for each of up to `people` wearers, spread over the set.

    `count` windows of every class are taught, one after the other without overlap from a random place of a random
    recording, and from further ones where it is too short. Tested is what that wearer has of the class in other
    recordings or, where there is no other, at least `APART_S` away in the same. Classes that leave nothing to test are
    left out, and so are wearers of fewer than two classes.
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
