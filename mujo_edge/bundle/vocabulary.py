"""Activity names with text prototypes, and their lookup from a user's words.

A bundle's text prototypes were computed where it was made, so that `stream --labels "squat, deadlift, bench press"`
needs no text model. Words that are not among its names need the extra `text`: a sentence embedding and the bundle's
projection.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mujo_edge.bundle.arrays import read_npz
from mujo_edge.bundle.labels import Label, LabelSet, Smoothing
from mujo_edge.core import F32, UNKNOWN, MissingExtraError, UsageError
from mujo_edge.files import read_file
from mujo_edge.printable import check_texts
from mujo_edge.schema import MAX_JSON_BYTES, NameEntry, VocabularyEntry, convert, parse_json

NAMES_FILE, ARRAYS_FILE = "vocabulary/names.json", "vocabulary/arrays.npz"

TEXT_DIM = 384
"""Dimension of a MiniLM sentence embedding."""

NEAR = 0.7
"""Smallest similarity (difflib's ratio) of suggested names."""

MISSPELT = 0.8
"""Similarity above which a word is probably a misspelled name."""

NEVER = -1.0
"""A threshold that every window reaches."""

SHOWN = 5
"""Most names in one line of a note or an error."""

EXAMPLE = '"squat, deadlift, bench press"'
ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class Name:
    """An activity: its name and alternative names. `trained`: the student was trained on windows of this name."""

    name: str
    also: tuple[str, ...] = ()
    trained: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """`prototypes` (V, D) float32, L2-normalized, of `names`; `weight` (D, 384) and `bias` (D,) project a sentence
    embedding into the same space. A label set that is made of names has this `temperature` and, if all of them were
    trained, this `unknown_threshold`.

    Without slots, since `rows` is computed once, and only where names are looked for.
    """

    names: tuple[Name, ...]
    prototypes: F32
    weight: F32
    bias: F32
    temperature: float
    unknown_threshold: float

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self.names)} names, {sum(name.trained for name in self.names)} of them trained>"

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """`key` of every name and alternative name -> row of its prototype."""
        return {key(words): row for row, name in enumerate(self.names) for words in (name.name, *name.also)}

    def label_set(self, words: Sequence[str], channels: int, rejects: bool = False) -> LabelSet:
        """A label set of `words` as the user wrote them; those that are no names are embedded by the extra `text`.

        With a name among them that was never trained no threshold makes a window unknown: windows of such an activity
        lie about as far from its words as from those of any other. `rejects`: the bundle's background does.

        Raises:
            UsageError: no words, a single one that was not trained, two equivalent ones, "unknown", or a word that
                is not in the vocabulary while the extra is not installed; the error lists similar names.
        """
        wanted = [" ".join(word.split()) for word in words if word.strip()]
        self._check(wanted)
        names = [self.names[self.rows[key(word)]] if key(word) in self.rows else None for word in wanted]
        strange = [word for word, name in zip(wanted, names, strict=True) if name is None]
        embedded = dict(zip(strange, self._embed(strange), strict=True)) if strange else {}
        untrained = [word for word, name in zip(wanted, names, strict=True) if not (name and name.trained)]
        if len(wanted) == 1 and untrained:
            raise UsageError(f"{wanted[0]!r} alone would be the label of every window; name other activities with it")
        doubts = [f"{word}{self._meant(word) if word in embedded else ''}" for word in untrained[:SHOWN]]
        shown = ", ".join(doubts) + " ..." * (len(untrained) > SHOWN)
        return LabelSet(
            name=",".join(wanted),
            labels=tuple(
                Label(word, (name.name, *name.also) if name else (word,))
                for word, name in zip(wanted, names, strict=True)
            ),
            prototypes=np.stack(
                [embedded[word] if word in embedded else self.prototypes[self.rows[key(word)]] for word in wanted]
            ),
            placement="",
            temperature=self.temperature,
            unknown_threshold=NEVER if untrained else self.unknown_threshold,
            smoothing=Smoothing(),
            channels=channels,
            note=f"known from text only, never seen in training: {shown}; expect mistakes"
            + ", and no unknown" * (not rejects)
            if untrained
            else "",
        )

    def near(self, words: str, most: int = SHOWN) -> list[Name]:
        """Names that contain `words`, the shortest first; then similarly spelled ones, the most similar first."""
        within = sorted((k for k in self.rows if key(words) in k), key=len)
        alike = difflib.get_close_matches(key(words), self.rows, most, NEAR)
        rows = dict.fromkeys(self.rows[k] for k in (*within, *alike))
        return [self.names[row] for row in list(rows)[:most]]

    def project(self, sentences: F32) -> F32:
        """(N, 384) sentence embeddings -> (N, D), L2-normalized."""
        y = sentences @ self.weight.T + self.bias
        result: F32 = (y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32)
        return result

    def _check(self, wanted: Sequence[str]) -> None:
        if not wanted:
            raise UsageError(f"no labels were given: name activities, such as {EXAMPLE}")
        taken: dict[int | str, str] = {}
        for word in wanted:
            if key(word) in ("", UNKNOWN):
                raise UsageError(f"{word!r} cannot be a label: name activities, such as {EXAMPLE}")
            same = self.rows.get(key(word), key(word))
            if same in taken:
                raise UsageError(f"{taken[same]!r} and {word!r} are one activity; leave one of them out")
            taken[same] = word

    def _meant(self, word: str) -> str:
        """A hint with the name that a word may be a misspelling of."""
        alike = difflib.get_close_matches(key(word), self.rows, 1, MISSPELT)
        return f" (or {self.names[self.rows[alike[0]]].name}?)" if alike else ""

    def _embed(self, words: Sequence[str]) -> F32:
        from mujo_edge.bundle.sentence_embedding import embed

        try:
            return self.project(embed(words))
        except MissingExtraError as error:
            near = {word: ", ".join(name.name for name in self.near(word)) or "nothing" for word in words}
            hints = [f"{word!r} (near: {names})" for word, names in near.items()]
            raise UsageError(f"no names of the bundle: {'; '.join(hints)}. For any other words: {error}") from error


def key(words: str) -> str:
    """The key that spellings of a name share: "Push-Up", "push ups" and "pushups" give "pushup".

    Case, accents, everything between words, articles and plurals do not count.
    """
    plain = unicodedata.normalize("NFKD", words).casefold()
    tokens = re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c)))
    return "".join(singular(token) for token in tokens if token not in ARTICLES)


def singular(word: str) -> str:
    """An English word in the singular, as far as names of activities need it; singular and plural give the same."""
    if len(word) <= 2 or word.endswith("ss"):
        return word
    for ending, instead in (("flyes", "fly"), ("flye", "fly"), ("ies", "y")):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word.removesuffix("s")


def parse_vocabulary(folder: Path, entry: VocabularyEntry, dim: int) -> Vocabulary:
    """The vocabulary of a bundle, loaded and checked. Raises `OSError`, `DataError` or `ValueError`."""
    table = parse_json(read_file(folder / NAMES_FILE, MAX_JSON_BYTES))
    check_texts(NAMES_FILE, table)
    names = tuple(Name(**msgspec.structs.asdict(name)) for name in convert(table, tuple[NameEntry, ...], NAMES_FILE))
    arrays = read_npz(folder / ARRAYS_FILE, "prototypes", "weight", "bias")
    shapes = [(entry.names, dim), (dim, TEXT_DIM), (dim,)]
    actual = [array.shape for array in arrays]
    if actual != shapes or len(names) != entry.names or any(array.dtype.kind != "f" for array in arrays):
        raise ValueError(f"{len(names)} names and their arrays {actual}, not {shapes} of float")
    prototypes, weight, bias = (array.astype(np.float32) for array in arrays)
    lengths = np.linalg.norm(prototypes, axis=1, keepdims=True)
    if not np.allclose(lengths, 1, atol=1e-2) or not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise ValueError("prototypes of names are not of length 1, or their projection is not finite")
    return Vocabulary(names, prototypes / lengths, weight, bias, entry.temperature, entry.unknown_threshold)


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Write the two files of a vocabulary into a bundle's `folder` -> its entry in `bundle.json`.

    Prototypes are kept in float16: a cosine moves by less than 0.001.
    """
    (folder / NAMES_FILE).parent.mkdir()
    lines = ",\n".join(json.dumps(asdict(name), ensure_ascii=False) for name in vocabulary.names)
    (folder / NAMES_FILE).write_text(f"[\n{lines}\n]\n", "utf-8")
    prototypes = vocabulary.prototypes.astype(np.float16)
    np.savez(folder / ARRAYS_FILE, prototypes=prototypes, weight=vocabulary.weight, bias=vocabulary.bias)
    return {
        "names": len(vocabulary.names),
        "temperature": vocabulary.temperature,
        "unknown_threshold": vocabulary.unknown_threshold,
    }
