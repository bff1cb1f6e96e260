"""Training vocabulary (`corpora/labels.toml`): classes of corpora -> labels, their prompts, and shipped label sets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mujo_edge.core import DataError
from training.corpora.base import WindowSet
from training.corpora.registry import CORPORA

LABELS_FILE = Path(__file__).with_name("labels.toml")


@dataclass(frozen=True, slots=True)
class LabelSetSpec:
    """A shipped label set: all classes of `corpora` at `placement`, and the label `BACKGROUND` for what people do at
    that placement in the corpora `background`."""

    name: str
    placement: str
    corpora: tuple[str, ...]
    background: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Labels with their prompts.

    `names` are all labels in a fixed order; `prompts[i]` are the sentences for `names[i]`; `aliases` maps classes to
    labels; `chiral` names the corpora whose classes distinguish left from right.
    """

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    sets: tuple[LabelSetSpec, ...]
    aliases: dict[str, str]
    chiral: tuple[str, ...]

    def index(self, classes: Iterable[str]) -> np.ndarray:
        """Label numbers of corpus classes, int64. Raises `DataError` for a class without prompts."""
        number = {name: i for i, name in enumerate(self.names)}
        classes = [self.aliases.get(c, c) for c in classes]
        missing = sorted(set(classes) - set(number))
        if missing:
            raise DataError(f"no prompts for {', '.join(missing)}. Add them to [more] in {LABELS_FILE.name}")
        return np.asarray([number[c] for c in classes], np.int64)

    def targets(self, data: WindowSet) -> np.ndarray:
        """(N,) label number of every window."""
        return self.index(data.classes)[data.y]

    def members(self, spec: LabelSetSpec, sets: Sequence[WindowSet]) -> list[WindowSet]:
        """The windows of `sets` that belong to a label set, in the order of `sets`."""
        return [s.select(s.placement == spec.placement) for s in sets if s.corpus in spec.corpora]

    def outside(self, spec: LabelSetSpec, sets: Sequence[WindowSet]) -> list[WindowSet]:
        """The windows of `sets` that are background to a label set."""
        return [s.select(s.placement == spec.placement) for s in sets if s.corpus in spec.background]

    def rows(self, spec: LabelSetSpec, sets: Sequence[WindowSet]) -> np.ndarray:
        """Indices (n,) of the windows of `members` in the concatenation of `sets`."""
        return np.flatnonzero(
            np.concatenate([(s.placement == spec.placement) & (s.corpus in spec.corpora) for s in sets])
        )


def sentences(name: str, words: object) -> tuple[str, ...]:
    """`words` as a tuple. Raises `ValueError` if they are not a list of at least one sentence."""
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"the prompts of {name!r} are not a list of sentences")
    return tuple(words)


def read_vocabulary(path: Path = LABELS_FILE, corpora: Iterable[str] = ()) -> Vocabulary:
    """Read the TOML file: the labels in [prompts] and those in [more] that occur in `corpora`.

    The random choice of prompts depends on the number of labels. With [more], a new data set adds labels only to
    recipes that train on it, and other recipes give the same result bit for bit.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        table = tomllib.loads(path.read_text())
        aliases: dict[str, str] = dict(table["aliases"])
        wanted = {aliases.get(label, label) for name in corpora for label in CORPORA[name].classes}
        more = {name: words for name, words in table.get("more", {}).items() if name in wanted}
        prompts = {name: sentences(name, words) for name, words in {**table["prompts"], **more}.items()}
        sets = tuple(
            LabelSetSpec(name, spec["placement"], tuple(spec["corpora"]), tuple(spec.get("background", ())))
            for name, spec in table["sets"].items()
        )
        chiral = tuple(table["chiral"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a label file ({error}). It needs chiral, [sets], [aliases] and [prompts]"
        ) from None
    return Vocabulary(tuple(prompts), tuple(prompts.values()), sets, aliases, chiral)
