"""Broad pretraining on every labeled window of many data sets, with a separate classifier for each.

Data sets differ in their labels and recording conditions, so no label is shared: the windows of one set and placement
(a task) are classified among the classes of that task only. A contrastive term on two augmentations of a window
(SimCLR, arXiv 2002.05709) uses all windows, also those of sets with a single label. The gyroscope has its own tower and
classifier, so that its signal is learned even where the accelerometer suffices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, log_softmax, normalize

from mujo_edge.core import F32
from mujo_edge.signal import InputSpec, prepare
from training.corpora import WindowSet
from training.learn.augment import AugmentConfig, augment
from training.learn.loop import LoopConfig, Report, optimize
from training.models.towers import Towers, TowersConfig


@dataclass(frozen=True, slots=True)
class BroadConfig:
    """`contrast_weight` and `temperature` belong to the contrastive term, `smoothing` is that of the labels, `dropout`
    that of the classifiers' input. Each window of a batch is augmented twice."""

    towers: TowersConfig = field(default_factory=TowersConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=4000, batch=256, weight_decay=0.02, ema=0.998))
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(gyro_drop_probability=0.3))
    contrast_weight: float = 0.2
    temperature: float = 0.15
    smoothing: float = 0.1
    dropout: float = 0.1
    projection: int = 128


@dataclass(frozen=True, slots=True)
class BroadPool:
    """Windows of many data sets. `x` (N, 6, 1, T) prepared; `y` (N,) classes, numbered consecutively; `task` (N,)
    the number of the set and placement; `own` (tasks, classes) the classes of each task; `weight` (N,) the relative
    frequency of draws: that of a task and of a class in it grows with the square root of its size."""

    x: Tensor
    y: Tensor
    task: Tensor
    own: Tensor
    weight: Tensor


def broad_pool(sets: Sequence[WindowSet], spec: InputSpec) -> BroadPool:
    """The pool of these windows. Raises `ValueError` for no windows at all."""
    if not any(map(len, sets)):
        raise ValueError("there are no windows to learn from")
    x: list[F32] = []
    y, task, spans = [], [], []
    total = 0
    for data in sets:
        for placement in np.unique(data.placement):
            rows = data.placement == placement
            x.append(prepare(data.x[rows], spec))
            y.append(data.y[rows] + total)
            task.append(np.full(rows.sum(), len(spans)))
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
    )


class BroadModel(nn.Module):
    """The towers and, for training only, a classifier for each of them and for both, and a projection."""

    def __init__(self, config: BroadConfig, classes: int) -> None:
        super().__init__()
        self.towers = Towers(config.towers)
        acc, gyro = self.towers.widths
        self.by_acc, self.by_gyro = nn.Linear(acc, classes), nn.Linear(gyro, classes)
        self.by_both = nn.Linear(acc + gyro, classes)
        self.project = nn.Sequential(nn.Linear(acc + gyro, 256), nn.ReLU(), nn.Linear(256, config.projection))

    def loss(self, x: Tensor, y: Tensor, task: Tensor, own: Tensor, config: BroadConfig) -> Tensor:
        """Of two changes of the same windows, one after the other: `x` (2n, 6, 1, T), `y` and `task` (2n,)."""
        has_gyro = (x[:, 3:].abs().amax((1, 2, 3)) > 0).float()
        features = self.towers(x)
        acc, gyro = features.split(self.towers.widths, 1)
        gyro = gyro * has_gyro[:, None]
        both = torch.cat([acc, gyro], 1)
        others = ~own[task]

        def classify(head: nn.Linear, features: Tensor, weight: Tensor | None = None) -> Tensor:
            logits = head(dropout(features, config.dropout)).masked_fill(others, -1e4)
            losses = smooth_cross_entropy(logits, y, others, config.smoothing)
            if weight is None:
                return losses.mean()
            return (losses * weight).sum() / weight.sum().clamp(min=1)

        labels = (
            classify(self.by_acc, acc) + classify(self.by_gyro, gyro, has_gyro) + classify(self.by_both, both)
        ) / 2
        return labels + config.contrast_weight * contrast(self.project(both), config.temperature)


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
) -> Towers:
    """Train the towers on a pool; goes on from `checkpoint` where there is one (see `optimize`)."""
    torch.manual_seed(config.loop.seed)
    model = BroadModel(config, pool.own.shape[1])

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(pool.weight, config.loop.batch, replacement=True, generator=generator)
        views = torch.cat([augment(pool.x[rows], config.augment, generator) for _ in range(2)])
        rows = torch.cat([rows, rows])
        return model.loss(views, pool.y[rows], pool.task[rows], pool.own, config)

    return optimize(model, loss_of, config.loop, report, checkpoint).towers  # type: ignore[return-value]
