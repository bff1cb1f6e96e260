"""The vocabulary: classes of the corpora -> labels, their words, and the shipped label sets (`corpora/labels.toml`)."""

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
    """A shipped label set: every class that `corpora` have at `placement`."""

    name: str
    placement: str
    corpora: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`names` are all labels in a fixed order; `prompts[i]` are the ways to say `names[i]`;
    `chiral` names the corpora whose classes tell left from right."""

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    sets: tuple[LabelSetSpec, ...]
    aliases: dict[str, str]
    chiral: tuple[str, ...]

    def index(self, classes: Iterable[str]) -> np.ndarray:
        """Vocabulary numbers (len,) of corpus classes. Raises `DataError` for a class that has no words."""
        number = {name: i for i, name in enumerate(self.names)}
        classes = [self.aliases.get(c, c) for c in classes]
        missing = sorted(set(classes) - set(number))
        if missing:
            raise DataError(f"no prompts for {', '.join(missing)}. Add them to [more] in {LABELS_FILE.name}")
        return np.asarray([number[c] for c in classes], np.int64)

    def targets(self, data: WindowSet) -> np.ndarray:
        """(N,) vocabulary number of every window."""
        return self.index(data.classes)[data.y]

    def members(self, spec: LabelSetSpec, sets: Sequence[WindowSet]) -> list[WindowSet]:
        """The windows of `sets` that belong to a label set, in the order given."""
        return [s.select(s.placement == spec.placement) for s in sets if s.corpus in spec.corpora]

    def rows(self, spec: LabelSetSpec, sets: Sequence[WindowSet]) -> np.ndarray:
        """(n,) where the windows of `members` are in all windows of `sets`, end to end."""
        return np.flatnonzero(
            np.concatenate([(s.placement == spec.placement) & (s.corpus in spec.corpora) for s in sets])
        )


def sentences(name: str, words: object) -> tuple[str, ...]:
    """`words` if they are a list of one sentence or more, else ValueError."""
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"the prompts of {name!r} are no list of sentences")
    return tuple(words)


def read_vocabulary(path: Path = LABELS_FILE, corpora: Iterable[str] = ()) -> Vocabulary:
    """Read the TOML file: the labels of [prompts] and, of [more], those that classes of `corpora` need.

    A data set that is added brings its labels only to those who train on it: which prompt is drawn depends on how many
    labels there are, so that a recipe without it stays the same bit for bit.

    Raises:
        DataError: the file is not what it should be.
    """
    try:
        table = tomllib.loads(path.read_text())
        aliases: dict[str, str] = dict(table["aliases"])
        wanted = {aliases.get(label, label) for name in corpora for label in CORPORA[name].classes}
        more = {name: words for name, words in table.get("more", {}).items() if name in wanted}
        prompts = {name: sentences(name, words) for name, words in {**table["prompts"], **more}.items()}
        sets = tuple(
            LabelSetSpec(name, spec["placement"], tuple(spec["corpora"])) for name, spec in table["sets"].items()
        )
        chiral = tuple(table["chiral"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a label file ({error}). It needs chiral, [sets], [aliases] and [prompts]"
        ) from None
    return Vocabulary(tuple(prompts), tuple(prompts.values()), sets, aliases, chiral)
