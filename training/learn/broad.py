"""Broad pretraining on every labeled window of many data sets, with a separate classifier for each.

Data sets differ in their labels and recording conditions, so no label is shared: the windows of one set and placement
(a task) are classified among the classes of that task only. A contrastive term on two augmentations of a window
(SimCLR, arXiv 2002.05709) uses all windows, also those of sets with a single label. Finally, the embedding is a
whitened projection of the features, computed in closed form (`whiten`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, log_softmax, normalize

from mujo_edge.core import F32
from mujo_edge.signal import InputSpec, prepare
from training.corpora import WindowSet
from training.corpora.labels import read_vocabulary
from training.learn.augment import AugmentConfig, augment
from training.learn.loop import LoopConfig, Report, optimize
from training.models.student import Student, StudentConfig

SAMPLED = 60
"""Windows of each class and placement that the projection is computed from."""

RIDGE = 1.0
"""Share of the mean variance that is added to every direction of the covariance."""


@dataclass(frozen=True, slots=True)
class BroadConfig:
    """`contrast_weight` and `temperature` belong to the contrastive term, `smoothing` is that of the labels, `dropout`
    that of the classifier's input, `projection` the size of the contrasted vectors. Each window of a batch is augmented
    twice. A fraction `gyro_drop` of the windows lose their gyroscope in both views: contrasting a view with it and one
    without would teach the network to ignore it. bf16 is autocast of the encoder, nearly twice as fast on processors
    with AMX."""

    student: StudentConfig = field(
        default_factory=lambda: StudentConfig(
            stem=40,
            stem_stride=3,
            separable=False,
            blocks=((64, 5, 2), (80, 3, 2), (88, 3, 1), (160, 1, 1)),
            embedding=96,
            dropout=0.0,
        )
    )
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=8000, batch=256, weight_decay=0.02, ema=0.998))
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(gyro_drop_probability=0))
    gyro_drop: float = 0.5
    contrast_weight: float = 1.0
    temperature: float = 0.15
    smoothing: float = 0.1
    dropout: float = 0.1
    projection: int = 128
    precision: Literal["fp32", "bf16"] = "bf16"


@dataclass(frozen=True, slots=True)
class BroadPool:
    """Windows of many data sets. `x` (N, 6, 1, T) prepared; `y` (N,) classes, numbered consecutively; `task` (N,)
    the number of the set and placement; `own` (tasks, classes) the classes of each task; `weight` (N,) the relative
    frequency of draws: that of a task and of a class in it grows with the square root of its size; `chiral` (N,) bool,
    windows that are never mirrored."""

    x: Tensor
    y: Tensor
    task: Tensor
    own: Tensor
    weight: Tensor
    chiral: Tensor


def broad_pool(sets: Sequence[WindowSet], spec: InputSpec) -> BroadPool:
    """The pool of these windows. Raises `ValueError` for no windows at all."""
    if not any(map(len, sets)):
        raise ValueError("there are no windows to learn from")
    x: list[F32] = []
    y, task, spans, chiral = [], [], [], []
    total, left_right = 0, read_vocabulary().chiral
    for data in sets:
        for placement in np.unique(data.placement):
            rows = data.placement == placement
            x.append(prepare(data.x[rows], spec))
            y.append(data.y[rows] + total)
            task.append(np.full(rows.sum(), len(spans)))
            chiral.append(np.full(rows.sum(), data.corpus in left_right))
            spans.append((total, total + len(data.classes)))
            total += len(data.classes)
    labels, tasks = np.concatenate(y), np.concatenate(task)
    own = np.zeros((len(spans), total), bool)
    for number, (first, stop) in enumerate(spans):
        own[number, first:stop] = True
    weight = 1 / np.sqrt(np.bincount(labels, minlength=total))[labels]
    weight *= (np.sqrt(np.bincount(tasks)) / np.bincount(tasks, weights=weight))[tasks]
    return BroadPool(
        torch.from_numpy(np.concatenate(x)),
        torch.from_numpy(labels),
        torch.from_numpy(tasks),
        torch.from_numpy(own),
        torch.from_numpy(weight / weight.sum()),
        torch.from_numpy(np.concatenate(chiral)),
    )


class BroadModel(nn.Module):
    """The student and, for training only, a classifier of all classes and a projection."""

    def __init__(self, config: BroadConfig, classes: int) -> None:
        super().__init__()
        self.student = Student(config.student)
        width = self.student.widths[-1]
        self.classify = nn.Linear(width, classes)
        self.project = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, config.projection))

    def loss(self, x: Tensor, y: Tensor, task: Tensor, own: Tensor, config: BroadConfig) -> Tensor:
        """Of two changes of the same windows, one after the other: `x` (2n, 6, 1, T), `y` and `task` (2n,)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            features = self.student.features(x.contiguous(memory_format=torch.channels_last)).float()
        others = ~own[task]
        logits = self.classify(dropout(features, config.dropout)).masked_fill(others, -1e4)
        labels = smooth_cross_entropy(logits, y, others, config.smoothing).mean()
        return labels + config.contrast_weight * contrast(self.project(features), config.temperature)


def smooth_cross_entropy(logits: Tensor, y: Tensor, others: Tensor, smoothing: float) -> Tensor:
    """(n,) cross-entropy, the label's share 1 - `smoothing` and the rest even over all classes but `others`."""
    log_p = log_softmax(logits, 1)
    even = log_p.masked_fill(others, 0).sum(1) / (~others).sum(1)
    return -(1 - smoothing) * log_p.gather(1, y[:, None])[:, 0] - smoothing * even


def contrast(z: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss of (2n, D): rows i and n + i are two changes of one window."""
    z = normalize(z, dim=1)
    n = len(z) // 2
    similarity = (z @ z.T / temperature).fill_diagonal_(-1e4)
    return cross_entropy(similarity, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def pretrain_broad(
    pool: BroadPool, config: BroadConfig, report: Report | None = None, checkpoint: Path | None = None
) -> Student:
    """Train a student on a pool; resumes from `checkpoint` if it exists (see `optimize`)."""
    torch.manual_seed(config.loop.seed)
    model = BroadModel(config, pool.own.shape[1])

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(pool.weight, config.loop.batch, replacement=True, generator=generator)
        x = pool.x[rows]
        x[torch.rand(len(rows), generator=generator) < config.gyro_drop, 3:] = 0
        views = torch.cat([augment(x, config.augment, generator, pool.chiral[rows]) for _ in range(2)])
        rows = torch.cat([rows, rows])
        return model.loss(views, pool.y[rows], pool.task[rows], pool.own, config)

    trained = optimize(model, loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, BroadModel)
    return whiten(trained.student, *sample(pool))


def sample(pool: BroadPool) -> tuple[Tensor, Tensor]:
    """Up to `SAMPLED` windows (N, 6, 1, T) of every class and their classes (N,). Those with a gyroscope are
    repeated without it, as separate classes, so that the projection serves both kinds of wearables."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(pool.y))
    y = pool.y.numpy()[order]
    rank = np.empty(len(y), np.int64)
    for label in np.unique(y):
        own = y == label
        rank[own] = np.arange(own.sum())
    rows = torch.from_numpy(np.sort(order[rank < SAMPLED]))
    x, labels = pool.x[rows], pool.y[rows]
    with_gyro = x[:, 3:].abs().amax((1, 2, 3)) > 0
    without = x[with_gyro].clone()
    without[:, 3:] = 0
    return torch.cat([x, without]), torch.cat([labels, labels[with_gyro] + len(pool.own[0])])


@torch.no_grad()
def whiten(student: Student, x: Tensor, y: Tensor) -> Student:
    """`student` with the projection after which windows `x` (N, 6, 1, T) of one class `y` (N,) vary alike in every
    direction (within-class covariance normalization; Hatch et al., Interspeech 2006), reduced to the embedding's
    dimensions by principal components. The mean of `x` becomes the origin."""
    student.eval()
    features = torch.cat([student.features(part) for part in x.split(512)]).double().numpy()
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-6, spread, 1)
    scaled = (features - mean) / spread
    number = np.unique(y.numpy(), return_inverse=True)[1]
    sums = np.zeros((number.max() + 1, scaled.shape[1]))
    np.add.at(sums, number, scaled)
    inner = scaled - (sums / np.bincount(number)[:, None])[number]
    covariance = inner.T @ inner / len(inner)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    white = vectors / np.sqrt(values) @ vectors.T
    _, directions = np.linalg.eigh(white.T @ np.cov(scaled.T) @ white)
    matrix = (white @ directions[:, : -student.config.embedding - 1 : -1]).T / spread
    # Embeddings of length one in the mean: the runtime normalizes them anyway, and int8 needs a range.
    matrix /= np.linalg.norm((features - mean) @ matrix.T, axis=1).mean()
    student.project.weight.copy_(torch.from_numpy(matrix))
    student.project.bias.copy_(torch.from_numpy(-matrix @ mean))
    return student
