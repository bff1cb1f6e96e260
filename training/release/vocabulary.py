"""The vocabulary of a bundle: names from `recipes/names.toml` with text prototypes, without training data of their own.

python -m training.names runs/base/release.pt runs/base/teacher.pt --recipe base --out runs/base/named.pt
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
    """A name, its synonyms `also`, and the sentences whose mean direction is its prototype."""

    name: str
    also: tuple[str, ...]
    prompts: tuple[str, ...]


def read_names(labels: Labels, path: Path) -> list[Entry]:
    """All names: those of `labels` with their prompts, then activities, then exercises that are neither.

    Raises:
        DataError: the file cannot be parsed, or it gives one synonym to two names.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        activities = {name: sentences(name, words) for name, words in table["activities"].items()}
        exercises = [name.replace(",", "").lower() for name in sentences("exercises", table["exercises"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a file of names ({error}). It needs exercises and [activities]") from None
    entries = {key(name): Entry(name, (), prompts) for name, prompts in zip(labels.names, labels.prompts, strict=True)}
    for name, also in activities.items():
        known = entries.get(key(name), Entry(name, (), prompts_of(name, also)))
        entries[key(name)] = replace(known, also=also)
    owner = {key(words): entry.name for entry in entries.values() for words in (entry.name, *entry.also)}
    for entry in entries.values():
        if twice := [words for words in (entry.name, *entry.also) if owner[key(words)] != entry.name]:
            raise DataError(f"{path} gives {twice[0]!r} to both {entry.name!r} and {owner[key(twice[0])]!r}")
    for name in exercises:
        if key(name) not in owner:
            entries.setdefault(key(name), Entry(name, (), prompts_of(name)))
    return list(entries.values())


def prompts_of(name: str, also: Sequence[str] = ()) -> tuple[str, ...]:
    """Prompts of a name that has none in labels.toml: the name, its synonyms, and a description of the motion if known.

    No sentence around the name ("a person doing ..."): with encoders that never saw SPAR, UTD-MHAD or sp-sw watch, such
    sentences gave slightly worse zero-shot scores than the bare name.
    """
    return tuple(dict.fromkeys((name, *also, *synonyms(normalize_title(name)))))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out windows of a label set: `cosine` (N, L) to its names, true columns `y` (N,), `embeddings` (N, D), the
    `rows` (L,) of its names in the vocabulary, and prototypes `reworded` (L, D) of synonyms that training did not see.
    """

    name: str
    cosine: F32
    y: np.ndarray
    embeddings: F32
    rows: np.ndarray
    reworded: F32


def held_out_windows(student: Student, known: Vocabulary, labels: Labels, data: Data, spec: InputSpec) -> list[HeldOut]:
    """Every label set with held-out windows, with the gyroscope if all of them have it."""
    result = []
    for wanted in labels.sets:
        if not (members := labels.members(wanted, data.held_out)):
            continue
        in_training = labels.members(wanted, data.train)
        present = np.unique(np.concatenate([labels.targets(s) for s in (*in_training, *members)]))
        names = [labels.names[i] for i in present]
        x, y = stack(members, labels, names)
        channels = 6 if all(s.has_gyro.all() for s in members) else 3
        embeddings = embed(student, x[:, :channels], spec)
        rows = np.asarray([known.rows[key(name)] for name in names])
        words = [first_unseen(known.names[row], labels.prompts[i]) for row, i in zip(rows, present, strict=True)]
        reworded = known.project(embed_once(words).numpy())
        result.append(HeldOut(wanted.name, embeddings @ known.prototypes[rows].T, y, embeddings, rows, reworded))
    return result


def first_unseen(name: Name, prompts: Sequence[str]) -> str:
    """The first synonym of a name that is none of its prompts, else the name itself."""
    seen = {key(prompt) for prompt in prompts}
    return next((words for words in name.also if key(words) not in seen), name.name)


def calibrated(known: Vocabulary, held_out: Sequence[HeldOut]) -> Vocabulary:
    """`known` with the temperature of maximum likelihood on the held-out labels of all sets, and the threshold that
    rejects `FALSE_UNKNOWN` of their windows; every set has the same weight.

    All these names were trained, so the threshold applies to trained names only, see `Vocabulary.label_set`.
    """

    def cost(log_temperature: float) -> float:
        return float(np.mean([likelihood(one.cosine, one.y, float(np.exp(log_temperature))) for one in held_out]))

    best = np.concatenate([one.cosine.max(1) for one in held_out])
    weight = np.concatenate([np.full(len(one.y), 1 / len(one.y)) for one in held_out])
    threshold = float(np.quantile(best, FALSE_UNKNOWN, weights=weight, method="inverted_cdf"))
    temperature = float(np.exp(minimize_scalar(cost, bounds=(-5, 0), method="bounded").x))
    return replace(known, temperature=temperature, unknown_threshold=threshold)


def measured(known: Vocabulary, held_out: Sequence[HeldOut]) -> dict[str, dict[str, float]]:
    """Label set -> macro-F1 among its names and with reworded names, fraction of windows accepted as known ("kept"),
    and the rank of the true name among all names of the bundle."""
    table = {}
    for one in held_out:
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
    """The calibrated vocabulary of a bundle, and its metrics.

    `trained` are names that pretraining saw in addition to those of `data`, such as titles of clips.
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
    held_out = held_out_windows(student, known, labels, data, spec)
    known = calibrated(known, held_out)
    return known, {"names": len(known.names), "label_sets": measured(known, held_out)}
