"""Labels of one data set, tested on another with the same movements at the same place (`recipes/transfer.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mujo_edge.core import F32, DataError
from training.corpora import CORPORA, PROTOCOL_V1
from training.corpora.labels import read_vocabulary
from training.evaluation.baselines import forest_predictions
from training.evaluation.cells import Cell, Score, prepared
from training.evaluation.encoders import SHARED_SUBJECTS, Evaluation
from training.evaluation.train import fit, nearest
from training.evaluation.zero_shot import by_fold
from training.models.inference import float_embeddings

CLASSES_FILE = Path(__file__).parents[1] / "recipes" / "transfer.toml"

TARGETS = (*PROTOCOL_V1, "sp_sw_phone")
"""Data sets that may be tested: those with five people or more who show the movements, so that every fold has some.
(muvr is one person, who does other exercises in each session.)"""

PLACES = {"wrist": ("wrist",), "thigh": ("thigh", "pocket")}
"""Placements of windows that count as one place."""

Movements = dict[tuple[str, str], dict[str, tuple[str, ...]]]
"""(place, movement) -> data set -> its classes."""


@cache
def movements(path: Path = CLASSES_FILE) -> Movements:
    """The table of corresponding classes. Raises `DataError` for a data set, class or place that does not exist."""
    found: Movements = {}
    for place, table in tomllib.loads(path.read_text()).items():
        for movement, classes in table.items():
            for name, own in classes.items():
                if place not in PLACES or name not in CORPORA or not set(own) <= set(CORPORA[name].classes):
                    raise DataError(f"{path.name}: {name} has no classes {own} at the {place}")
            found[place, movement] = {name: tuple(own) for name, own in classes.items()}
    return found


def shared(source: str, target: str) -> Movements:
    """The movements that two data sets both show; none where they are of the same people."""
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


def transfer(cells: Sequence[Cell], run: Evaluation) -> list[Score]:
    """Scores of cells that differ in their fold alone: learned from all people of the source, tested on those of the
    fold. An encoder has seen nothing of the tested set."""
    torch.set_num_threads(1)
    cell = cells[0]
    wanted = shared(cell.source, cell.corpus)
    raw, x, y, _ = examples(cell.source, cell.channels, wanted)
    raw_test, x_test, y_test, people = examples(cell.corpus, cell.channels, wanted)
    if cell.row == "forest":
        predicted = forest_predictions(raw, y, raw_test, cell.seed)
        return list(by_fold(cells, "forest", y_test, people, predicted, len(wanted)))
    model = fit(cell, run, x, y, len(wanted), chiral=cell.source in read_vocabulary().chiral)
    predicted = nearest(float_embeddings(model.encoder, x_test), model)
    return list(by_fold(cells, "fp32", y_test, people, predicted, len(wanted)))
