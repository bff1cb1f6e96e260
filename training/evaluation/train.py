"""A cell of the label-efficiency table: fine-tune on labeled windows, test on people who were not seen."""

from __future__ import annotations

import numpy as np
import torch

from mujo_edge.core import F32
from training.corpora.labels import read_vocabulary
from training.evaluation.baselines import forest_predictions
from training.evaluation.cells import Cell, Score, confusion, prepared, split
from training.evaluation.encoders import PRETRAINED, Evaluation, load_encoder
from training.learn.finetune import PrototypeClassifier, finetune
from training.models.inference import float_embeddings
from training.release.quantize import quantized_embeddings

CALIBRATION_WINDOWS = 256


def fit(
    cell: Cell, run: Evaluation, x: F32, y: np.ndarray, classes: int, chiral: bool, unlabeled: F32 | None = None
) -> PrototypeClassifier:
    """Fine-tune the encoder of a cell on prepared windows `x` (N, 6, 1, T) with labels `y` (N,), and `unlabeled` ones
    (M, 6, 1, T)."""
    encoder, _ = load_encoder(cell, run)
    config = run.recipe.finetune_of(cell.row in PRETRAINED)
    return finetune(encoder, x, y, classes, config.for_windows(len(y), cell.seed, chiral), unlabeled=unlabeled)


def run_cell(cell: Cell, run: Evaluation) -> list[Score]:
    """Train on the cell's labeled windows and test on its held-out people."""
    torch.set_num_threads(1)
    data, x = prepared(cell.corpus, cell.channels)
    rows, others, test = split(data, cell)
    classes = len(data.classes)

    def score(variant: str, predicted: np.ndarray) -> Score:
        return Score(cell, variant, confusion(data.y[test], predicted, classes))

    if cell.row == "forest":
        raw = data.x[:, : cell.channels]
        return [score("forest", forest_predictions(raw[rows], data.y[rows], raw[test], cell.seed))]
    chiral, unlabeled = cell.corpus in read_vocabulary().chiral, x[others] if cell.semi else None
    model = fit(cell, run, x[rows], data.y[rows], classes, chiral, unlabeled)
    scores = [score("fp32", nearest(float_embeddings(model.encoder, x[test]), model))]
    if "int8" in cell.variants:
        some = np.random.default_rng(cell.seed).permutation(rows)[:CALIBRATION_WINDOWS]
        scores.append(score("int8", nearest(quantized_embeddings(model.encoder, x[some], x[test]), model)))
    return scores


def nearest(embeddings: F32, model: PrototypeClassifier) -> np.ndarray:
    """(N,) class of the prototype with the largest cosine."""
    prototypes = model.prototypes.detach().numpy()
    return np.asarray((embeddings @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T).argmax(1))
