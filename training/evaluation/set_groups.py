"""Groups of protocol v2 (`recipes/protocol_v2.toml`): data sets that are left out together, and the test targets."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dacite
import numpy as np

from mujo_edge.core import DataError
from training.corpora import CORPORA, WindowSet, data_root, load_windows
from training.corpora.registry import present

PROTOCOL_FILE = Path(__file__).parents[1] / "recipes" / "protocol_v2.toml"
STRETCH = 8
"""Consecutive windows that are kept or dropped together, as few-window training needs some in a row."""


@dataclass(frozen=True, slots=True)
class Group:
    """Data sets that an encoder is tested on together, and that are excluded from its pretraining."""

    sets: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Target:
    """A data set, or the windows of it from one placement and side ("" for all), that scores are given for. Without
    `folds` nothing is learned from some people for others: they do not show the same classes."""

    set: str
    placement: str = ""
    side: str = ""
    folds: bool = True


@dataclass(frozen=True, slots=True)
class Protocol:
    """The rules; see `recipes/protocol_v2.toml`. `targets` are by name; `always` are data sets that every
    encoder learns from."""

    fractions: tuple[float, ...]
    shots: tuple[int, ...]
    draws: int
    people: int
    most_windows: int
    always: tuple[str, ...]
    groups: tuple[Group, ...]
    targets: Mapping[str, Target]

    def group_of(self, target: str) -> int:
        """The number of the group that a target's data set is in."""
        return next(i for i, group in enumerate(self.groups) if self.targets[target].set in group.sets)


@cache
def read_protocol(path: Path = PROTOCOL_FILE) -> Protocol:
    """The protocol of a file.

    Raises:
        DataError: a field is missing or wrong, a data set does not exist, or one is in no group or in two.
    """
    try:
        protocol = dacite.from_dict(Protocol, tomllib.loads(path.read_text()), dacite.Config(cast=[tuple], strict=True))
    except (dacite.DaciteError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path.name}: {error}") from None
    dealt = [name for group in protocol.groups for name in group.sets]
    if wrong := [name for name in dealt if name not in CORPORA or dealt.count(name) > 1]:
        raise DataError(f"{path.name}: {wrong[0]} is no data set, or is in two groups")
    if lost := [name for name, target in protocol.targets.items() if target.set not in dealt]:
        raise DataError(f"{path.name}: the set of target {lost[0]} is in no group")
    return protocol


def pretraining_sets(group: int) -> list[str]:
    """Data sets that the encoder of a group learns from: those of the other groups and those that are never tested, as
    far as they are on this machine."""
    protocol, here = read_protocol(), sets_here()
    others = [name for i, other in enumerate(protocol.groups) if i != group for name in other.sets]
    return [name for name in (*others, *protocol.always) if name in here]


@cache
def sets_here() -> frozenset[str]:
    """The data sets on this machine. Raises `DataError` for an archive that cannot be opened."""
    here, damaged = present(data_root())
    if damaged:
        raise DataError(damaged[0])
    return frozenset(here)


@cache
def target_windows(name: str) -> WindowSet:
    """The windows that a target is tested on, at most `most_windows` (see `thin_evenly`); once a process.

    Raises:
        DataError: the data set is not there, or has none at the placement.
    """
    protocol = read_protocol()
    target = protocol.targets[name]
    data = load_windows(target.set)
    rows = np.isin(data.placement, target.placement or data.placement) & np.isin(data.side, target.side or data.side)
    if not rows.any():
        raise DataError(f"{target.set} has no windows from the {target.side} {target.placement}")
    data = data.select(rows)
    return data.select(thin_evenly(data.y, data.subject, protocol.most_windows))


def thin_evenly(y: np.ndarray, subject: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` windows: a cap on those of one class (N,) and person (N,), as high as that allows, kept
    in stretches of `STRETCH` in a row that are spread evenly. Pairs with fewer windows keep all of theirs."""
    pairs = np.unique(np.stack([np.unique(subject, return_inverse=True)[1], y]), axis=1, return_inverse=True)[1]
    counts = np.bincount(pairs)
    cap = counts.max()
    while np.minimum(counts, cap).sum() > most and cap > STRETCH:
        cap -= max(1, cap // 50)
    chosen = []
    for pair, count in enumerate(counts):
        rows = np.flatnonzero(pairs == pair)
        if count > cap:
            stretches = np.array_split(rows, np.arange(STRETCH, count, STRETCH))
            wanted = np.linspace(0, len(stretches) - 1, max(1, cap // STRETCH)).round().astype(int)
            rows = np.concatenate([stretches[i] for i in np.unique(wanted)])
        chosen.append(rows)
    return np.sort(np.concatenate(chosen))
