"""The names that a bundle knows by their words alone: from `recipes/names.toml` to text prototypes.

python -m training.names runs/base/release.pt runs/base/teacher.pt --recipe base --out runs/base/named.pt

adds them to what a run wrote for `training.export`, and says how well held-out people's windows find them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score

from mujo_edge.bundle.vocabulary import Name, Vocabulary, key
from mujo_edge.core import F32, DataError
from mujo_edge.signal import InputSpec
from training.corpora.labels import Vocabulary as Labels
from training.corpora.labels import sentences
from training.fimad.titles import normalize_title, synonyms
from training.models.sentence_embedding import TextProjection, embed_once, text_prototypes
from training.models.student import Student
from training.recipes.recipe import RECIPES
from training.recipes.splits import Data
from training.release.calibrate import FALSE_UNKNOWN, embed, likelihood, stack

NAMES_FILE = RECIPES / "names.toml"


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, other ways to say it, and the sentences whose mean direction is its prototype."""

    name: str
    also: tuple[str, ...]
    prompts: tuple[str, ...]


def read_names(labels: Labels, path: Path) -> list[Entry]:
    """All names: those of `labels` with their prompts, then activities, then exercises that are neither.

    Raises `DataError` for a file that is not what it should be, or that gives one way to say it to two names.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        activities = {name: sentences(name, words) for name, words in table["activities"].items()}
        exercises = [name.replace(",", "").lower() for name in sentences("exercises", table["exercises"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a file of names ({error}). It needs exercises and [activities]") from None
    entries = {key(name): Entry(name, (), said) for name, said in zip(labels.names, labels.prompts, strict=True)}
    for name, also in activities.items():
        known = entries.get(key(name), Entry(name, (), prompts(name, also)))
        entries[key(name)] = replace(known, also=also)
    owner = {key(words): entry.name for entry in entries.values() for words in (entry.name, *entry.also)}
    for entry in entries.values():
        if twice := [words for words in (entry.name, *entry.also) if owner[key(words)] != entry.name]:
            raise DataError(f"{path} gives {twice[0]!r} to both {entry.name!r} and {owner[key(twice[0])]!r}")
    for name in exercises:
        if key(name) not in owner:
            entries.setdefault(key(name), Entry(name, (), prompts(name)))
    return list(entries.values())


def prompts(name: str, also: Sequence[str] = ()) -> tuple[str, ...]:
    """What is embedded for a name that has no prompts of its own: plain words, and what the body does if that is known.

    Sentences around it ("a person doing ...") are left out: tried with encoders that never saw SPAR, UTD-MHAD or sp-sw
    watch, they found the activities of those sets a little worse than the bare name.
    """
    return tuple(dict.fromkeys((name, *also, *synonyms(normalize_title(name)))))


@dataclass(frozen=True, slots=True)
class Judged:
    """Held-out windows of a label set against its names: `cosine` (N, L), right columns `y` (N,), `embeddings` (N, D)
    and the `rows` (L,) of its names among all; `reworded` (L, D) prototypes of words that training did not see."""

    name: str
    cosine: F32
    y: np.ndarray
    embeddings: F32
    rows: np.ndarray
    reworded: F32


def judge(student: Student, known: Vocabulary, labels: Labels, data: Data, spec: InputSpec) -> list[Judged]:
    """Every label set that has held-out windows, with the gyroscope where all of them have it."""
    found = []
    for wanted in labels.sets:
        if not (held := labels.members(wanted, data.held_out)):
            continue
        present = np.unique(np.concatenate([labels.targets(s) for s in (*labels.members(wanted, data.train), *held)]))
        names = [labels.names[i] for i in present]
        x, y = stack(held, labels, names)
        channels = 6 if all(s.has_gyro.all() for s in held) else 3
        embeddings = embed(student, x[:, :channels], spec)
        rows = np.asarray([known.rows[key(name)] for name in names])
        words = [first_unseen(known.names[row], labels.prompts[i]) for row, i in zip(rows, present, strict=True)]
        reworded = known.project(embed_once(words).numpy())
        found.append(Judged(wanted.name, embeddings @ known.prototypes[rows].T, y, embeddings, rows, reworded))
    return found


def first_unseen(name: Name, prompts: Sequence[str]) -> str:
    """The first other way to say a name that is none of its prompts, else the name itself."""
    seen = {key(prompt) for prompt in prompts}
    return next((words for words in name.also if key(words) not in seen), name.name)


def calibrated(known: Vocabulary, judged: Sequence[Judged]) -> Vocabulary:
    """`known` with the temperature that makes the held-out labels of all sets likeliest, and the threshold that turns
    away `FALSE_UNKNOWN` of their windows; every set counts alike, however many windows it has.

    All these names were trained, so the threshold is that of trained names, see `Vocabulary.label_set`.
    """

    def cost(log_temperature: float) -> float:
        return float(np.mean([likelihood(one.cosine, one.y, float(np.exp(log_temperature))) for one in judged]))

    best = np.concatenate([one.cosine.max(1) for one in judged])
    weight = np.concatenate([np.full(len(one.y), 1 / len(one.y)) for one in judged])
    threshold = float(np.quantile(best, FALSE_UNKNOWN, weights=weight, method="inverted_cdf"))
    temperature = float(np.exp(minimize_scalar(cost, bounds=(-5, 0), method="bounded").x))
    return replace(known, temperature=temperature, unknown_threshold=threshold)


def measured(known: Vocabulary, judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """By label set: macro-F1 among its own names, and when each is said in other words; the share of windows kept as
    known, and where the right name stands among all names of the bundle."""
    table = {}
    for one in judged:
        every = one.embeddings @ known.prototypes.T
        rank = 1 + (every > every[np.arange(len(one.y)), one.rows[one.y]][:, None]).sum(1)
        table[one.name] = {
            "windows": len(one.y),
            "macro_f1": float(f1_score(one.y, one.cosine.argmax(1), average="macro")),
            "macro_f1_reworded": float(f1_score(one.y, (one.embeddings @ one.reworded.T).argmax(1), average="macro")),
            "kept": float((one.cosine.max(1) >= known.unknown_threshold).mean()),
            "first_of_all_names": float((rank == 1).mean()),
            "in_first_five": float((rank <= 5).mean()),
            "median_rank": float(np.median(rank)),
        }
    return table


def known_names(
    text: TextProjection, student: Student, labels: Labels, data: Data, spec: InputSpec, trained: Collection[str] = ()
) -> tuple[Vocabulary, dict[str, Any]]:
    """The names of a bundle, calibrated, and what was measured of them.

    `trained` are names that pretraining saw beside those of `data`, such as the titles of clips.
    """
    entries = read_names(labels, NAMES_FILE)
    seen = np.unique(np.concatenate([labels.targets(s) for s in data.train]))
    trained = {key(name) for name in (*trained, *(labels.names[i] for i in seen))}
    vectors = embed_once([sentence for entry in entries for sentence in entry.prompts])
    projection = text.project
    known = Vocabulary(
        tuple(Name(one.name, one.also, key(one.name) in trained) for one in entries),
        text_prototypes(text, vectors.split([len(entry.prompts) for entry in entries])),
        projection.weight.detach().numpy().copy(),
        projection.bias.detach().numpy().copy(),
        temperature=1.0,
        unknown_threshold=-1.0,
    )
    judged = judge(student, known, labels, data, spec)
    known = calibrated(known, judged)
    return known, {"names": len(known.names), "label_sets": measured(known, judged)}
