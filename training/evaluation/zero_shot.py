"""No labels of the tested set: windows meet the words of its classes, placed by an encoder that never saw the set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mujo_edge.bundle import l2_normalize
from mujo_edge.core import F32
from training.corpora import folds
from training.corpora.labels import Vocabulary, read_vocabulary
from training.evaluation.cells import Cell, Score, confusion, prepared
from training.evaluation.encoders import Evaluation, load_encoder, pretraining_data_of
from training.evaluation.train import fit, nearest
from training.models.inference import float_embeddings
from training.models.sentence_embedding import embed_text
from training.release.calibrate import text_prototypes


def zero_shot(cells: Sequence[Cell], run: Evaluation) -> list[Score]:
    """Scores of cells that differ in their fold alone. Nothing is trained on any person of the set, so one model
    serves every fold; the folds are kept for their spread, and for pairs with the other tables."""
    torch.set_num_threads(1)
    cell = cells[0]
    data, x = prepared(cell.corpus, cell.channels)
    vocabulary = read_vocabulary(corpora=(*run.recipe.corpora, cell.corpus))
    labels = vocabulary.index(data.classes)
    if cell.row == "prompts":
        predicted = by_other_labels(cell, run, x, labels, vocabulary)
    else:
        encoder, text = load_encoder(cell, run)
        if text is None:
            raise ValueError(f"row {cell.row} knows no words")
        bank = text_prototypes(text, [vocabulary.prompts[i] for i in labels])
        predicted = (float_embeddings(encoder, x) @ bank.T).argmax(1)
    return list(by_fold(cells, "fp32", data.y, data.subject, predicted, len(data.classes)))


def by_fold(
    cells: Sequence[Cell], variant: str, y: np.ndarray, subject: np.ndarray, predicted: np.ndarray, classes: int
) -> Iterator[Score]:
    """The predictions (N,) of each cell's test people as its score."""
    tests = [test for _, test in folds(y, subject)]
    for cell in cells:
        test = tests[cell.fold]
        yield Score(cell, variant, confusion(y[test], predicted[test], classes))


def by_other_labels(cell: Cell, run: Evaluation, x: F32, labels: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """(N,) class of each window: the label that a classifier of the other data sets gives it, then the class whose
    words are nearest to that label's in MiniLM's space.

    The classifier is the same network, trained as `finetune` trains from random init on all windows of those sets.
    """
    others = pretraining_data_of(cell, run.recipe, {}).windows
    sets = [prepared(name, cell.channels) for name in others]
    known, y = np.unique(np.concatenate([vocabulary.targets(data) for data, _ in sets]), return_inverse=True)
    chiral = any(name in vocabulary.chiral for name in others)
    model = fit(cell, run, np.concatenate([x for _, x in sets]), y, len(known), chiral)
    words = l2_normalize(np.stack([embed_text(prompts).mean(0).numpy() for prompts in vocabulary.prompts]))
    translated = (words[known] @ words[labels].T).argmax(1)
    return np.asarray(translated[nearest(float_embeddings(model.encoder, x), model)])
