"""Running trials: label efficiency, zero-shot, and transfer between data sets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mujo_edge.core import F32, DataError
from training.corpora import CORPORA, PROTOCOL_V1, folds
from training.corpora.labels import Vocabulary, read_vocabulary
from training.evaluation.baselines import forest_predictions
from training.evaluation.encoders import PRETRAINED, SHARED_SUBJECTS, Evaluation, load_encoder, pretraining_data_of
from training.evaluation.trials import Score, Trial, confusion, prepared, split
from training.learn.finetune import PrototypeClassifier, finetune
from training.models.inference import float_embeddings
from training.models.sentence_embedding import embed_text, text_prototypes
from training.recipes.recipe import RECIPES
from training.release.quantize import quantized_embeddings

CALIBRATION_WINDOWS = 256

CLASSES_FILE = RECIPES / "transfer.toml"
"""Corresponding classes of different data sets."""

TARGETS = (*PROTOCOL_V1, "sp_sw_phone")
"""Data sets that a transfer may be tested on: at least five people show the movements, so that no fold is empty.
(muvr is one person, who does other exercises in each session.)"""

PLACES = {"wrist": ("wrist",), "thigh": ("thigh", "pocket")}
"""Place in `CLASSES_FILE` -> placements of windows that belong to it."""

Movements = dict[tuple[str, str], dict[str, tuple[str, ...]]]
"""(place, movement) -> data set -> its classes."""


def fit(
    trial: Trial, run: Evaluation, x: F32, y: np.ndarray, classes: int, chiral: bool, unlabeled: F32 | None = None
) -> PrototypeClassifier:
    """Fine-tune the encoder of a trial on prepared windows `x` (N, 6, 1, T) with labels `y` (N,), and on `unlabeled`
    ones (M, 6, 1, T)."""
    encoder, _ = load_encoder(trial, run)
    config = run.recipe.finetune_of(trial.method in PRETRAINED)
    return finetune(encoder, x, y, classes, config.for_windows(len(y), trial.seed, chiral), unlabeled=unlabeled)


def nearest(embeddings: F32, model: PrototypeClassifier) -> np.ndarray:
    """(N,) class of the prototype with the largest cosine."""
    prototypes = model.prototypes.detach().numpy()
    return np.asarray((embeddings @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T).argmax(1))


def run_trial(trial: Trial, run: Evaluation) -> list[Score]:
    """Train on the labeled windows of the trial and test on its held-out people."""
    torch.set_num_threads(1)
    data, x = prepared(trial.corpus, trial.channels)
    labeled, others, test = split(data, trial)
    classes = len(data.classes)

    def score(variant: str, predicted: np.ndarray) -> Score:
        return Score(trial, variant, confusion(data.y[test], predicted, classes))

    if trial.method == "forest":
        raw = data.x[:, : trial.channels]
        return [score("forest", forest_predictions(raw[labeled], data.y[labeled], raw[test], trial.seed))]
    chiral, unlabeled = trial.corpus in read_vocabulary().chiral, x[others] if trial.semi else None
    model = fit(trial, run, x[labeled], data.y[labeled], classes, chiral, unlabeled)
    scores = [score("fp32", nearest(float_embeddings(model.encoder, x[test]), model))]
    if "int8" in trial.variants:
        calibration = np.random.default_rng(trial.seed).permutation(labeled)[:CALIBRATION_WINDOWS]
        scores.append(score("int8", nearest(quantized_embeddings(model.encoder, x[calibration], x[test]), model)))
    return scores


def scores_by_fold(
    trials: Sequence[Trial], variant: str, y: np.ndarray, subject: np.ndarray, predicted: np.ndarray, classes: int
) -> Iterator[Score]:
    """The predictions (N,) for the test people of each trial as its score."""
    tests = [test for _, test in folds(y, subject)]
    for trial in trials:
        test = tests[trial.fold]
        yield Score(trial, variant, confusion(y[test], predicted[test], classes))


def zero_shot(trials: Sequence[Trial], run: Evaluation) -> list[Score]:
    """Scores of trials that differ only in their fold: windows are matched with the prompts of the classes, by an
    encoder that never saw the data set.

    Nothing is trained on any person of the set, so one model serves every fold; folds give the spread, and pairs for
    the differences.
    """
    torch.set_num_threads(1)
    trial = trials[0]
    data, x = prepared(trial.corpus, trial.channels)
    vocabulary = read_vocabulary(corpora=(*run.recipe.corpora, trial.corpus))
    labels = vocabulary.index(data.classes)
    if trial.method == "prompts":
        predicted = by_other_labels(trial, run, x, labels, vocabulary)
    else:
        encoder, text = load_encoder(trial, run)
        if text is None:
            raise ValueError(f"method {trial.method} has no text encoder")
        prototypes = text_prototypes(text, [embed_text(vocabulary.prompts[i]) for i in labels])
        predicted = (float_embeddings(encoder, x) @ prototypes.T).argmax(1)
    return list(scores_by_fold(trials, "fp32", data.y, data.subject, predicted, len(data.classes)))


def by_other_labels(trial: Trial, run: Evaluation, x: F32, labels: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """(N,) class of each window: the label that a classifier of the other data sets predicts, mapped to the class
    whose prompts are nearest to that label's in MiniLM's space.

    The classifier is the same network, trained by `finetune` from random initialization on all windows of those sets.
    """
    others = pretraining_data_of(trial, run.recipe, {}).windows
    sets = [prepared(name, trial.channels) for name in others]
    known, y = np.unique(np.concatenate([vocabulary.targets(data) for data, _ in sets]), return_inverse=True)
    chiral = any(name in vocabulary.chiral for name in others)
    model = fit(trial, run, np.concatenate([x for _, x in sets]), y, len(known), chiral)
    sentences = text_prototypes(nn.Identity(), [embed_text(prompts) for prompts in vocabulary.prompts])
    class_of_label = (sentences[known] @ sentences[labels].T).argmax(1)
    return np.asarray(class_of_label[nearest(float_embeddings(model.encoder, x), model)])


@cache
def movements(path: Path = CLASSES_FILE) -> Movements:
    """The table of corresponding classes. Raises `DataError` for a data set, class or place that does not exist."""
    table: Movements = {}
    for place, entries in tomllib.loads(path.read_text()).items():
        for movement, classes in entries.items():
            for name, own in classes.items():
                if place not in PLACES or name not in CORPORA or not set(own) <= set(CORPORA[name].classes):
                    raise DataError(f"{path.name}: {name} has no classes {own} at the {place}")
            table[place, movement] = {name: tuple(own) for name, own in classes.items()}
    return table


def shared(source: str, target: str) -> Movements:
    """The movements that two data sets both show; none if they were recorded from the same people."""
    if target in SHARED_SUBJECTS.get(source, (source,)):
        return {}
    return {key: classes for key, classes in movements().items() if source in classes and target in classes}


def sources_of(target: str) -> list[str]:
    """Data sets that share two movements or more with `target`."""
    return [name for name in CORPORA if len(shared(name, target)) > 1]


def examples(corpus: str, channels: int, wanted: Movements) -> tuple[F32, F32, np.ndarray, np.ndarray]:
    """Raw windows (N, C, T), prepared ones (N, 6, 1, T), movements (N,) as numbers and people (N,) of a data set."""
    data, x = prepared(corpus, channels)
    y = np.full(len(data), -1)
    for number, ((place, _), classes) in enumerate(wanted.items()):
        own = [data.classes.index(name) for name in classes[corpus]]
        y[np.isin(data.y, own) & np.isin(data.placement, PLACES[place])] = number
    rows = np.flatnonzero(y >= 0)
    return data.x[rows, :channels], x[rows], y[rows], data.subject[rows]


def transfer(trials: Sequence[Trial], run: Evaluation) -> list[Score]:
    """Scores of trials that differ only in their fold: trained on all people of the source, tested on those of the
    fold. Pretraining has seen nothing of the tested set."""
    torch.set_num_threads(1)
    trial = trials[0]
    wanted = shared(trial.source, trial.corpus)
    raw, x, y, _ = examples(trial.source, trial.channels, wanted)
    raw_test, x_test, y_test, people = examples(trial.corpus, trial.channels, wanted)
    if trial.method == "forest":
        predicted = forest_predictions(raw, y, raw_test, trial.seed)
        return list(scores_by_fold(trials, "forest", y_test, people, predicted, len(wanted)))
    model = fit(trial, run, x, y, len(wanted), chiral=trial.source in read_vocabulary().chiral)
    predicted = nearest(float_embeddings(model.encoder, x_test), model)
    return list(scores_by_fold(trials, "fp32", y_test, people, predicted, len(wanted)))
