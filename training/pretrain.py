"""Contrastive pretraining of an IMU encoder against language: `python -m training.pretrain`.

Every window is matched with the words of its activity by symmetric InfoNCE (MuJo's objective; video and
pose join the same loss as further modalities). A second term asks each window to find its own label
among the labels of its corpus, which short class lists need: in a batch most rows are then easy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mujo_edge.signal import InputSpec, prepare
from training.augment import AugmentConfig, augment
from training.corpora.base import WindowSet
from training.labels import Vocabulary
from training.loop import LoopConfig, Report, optimise
from training.losses import PairwiseInfoNCE
from training.student import Student, StudentConfig
from training.text import TextProjection, embed_text


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """`label_weight` scales the classification term beside InfoNCE."""

    encoder: StudentConfig = field(default_factory=StudentConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=4000, batch=192, ema=0.998))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    label_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Windows of several corpora in one array, with their words.

    `x` (N, 6, 1, 150) prepared; `y` (N,) vocabulary number; `corpus` (N,) number of the corpus;
    `weight` (N,) sampling weight; `chiral` (N,) bool, never to be mirrored; `allowed` (corpora, V)
    bool, the labels that each corpus has.
    """

    x: Tensor
    y: Tensor
    corpus: Tensor
    weight: Tensor
    chiral: Tensor
    allowed: Tensor

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) rows by weight, each at most once unless there are fewer than `n`."""
        return torch.multinomial(self.weight, n, replacement=n > len(self.weight), generator=generator)


def make_pool(sets: Sequence[WindowSet], vocabulary: Vocabulary, spec: InputSpec) -> Pool:
    """Join the sets. A class is drawn with the square root of its count: rare ones are seen, none dominates."""
    targets = [vocabulary.targets(s) for s in sets]
    allowed = torch.zeros(len(sets), len(vocabulary.names), dtype=torch.bool)
    weights = []
    for number, y in enumerate(targets):
        allowed[number, torch.from_numpy(y)] = True
        weights.append(1 / np.sqrt(np.bincount(y, minlength=len(vocabulary.names))[y]))
    return Pool(
        torch.from_numpy(np.concatenate([prepare(s.x, spec) for s in sets])),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.repeat(np.arange(len(sets)), [len(s) for s in sets])),
        torch.from_numpy(np.concatenate(weights)),
        torch.from_numpy(np.repeat([s.corpus in vocabulary.chiral for s in sets], [len(s) for s in sets])),
        allowed,
    )


class JointModel(nn.Module):
    """IMU encoder and text projection into one space, with the objective's temperature."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.imu = Student(config)
        self.text = TextProjection(config.embedding)
        self.objective = PairwiseInfoNCE()


@dataclass(frozen=True, slots=True)
class Words:
    """Sentence embeddings of a vocabulary: `vectors` (P, 384), rows `first[i]:first[i + 1]` say label i."""

    vectors: Tensor
    first: Tensor

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Words:
        """Embed every prompt of the vocabulary."""
        counts = torch.tensor([0, *map(len, vocabulary.prompts)])
        return cls(embed_text([p for prompts in vocabulary.prompts for p in prompts]), counts.cumsum(0))

    def draw(self, generator: torch.Generator) -> Tensor:
        """(V, 384): one prompt of each label at random."""
        low, high = self.first[:-1], self.first[1:]
        pick = low + (torch.rand(len(low), generator=generator) * (high - low)).long()
        return self.vectors[pick]


def label_loss(imu: Tensor, text: Tensor, scale: Tensor, y: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of each row of `imu` (N, D) over the labels `text` (V, D) that its corpus has (N, V)."""
    return cross_entropy((scale * imu @ text.T).masked_fill(~allowed, float("-inf")), y)


def pretrain(
    pool: Pool, words: Words, config: PretrainConfig, report: Report | None = None, checkpoint: Path | None = None
) -> JointModel:
    """Train a `JointModel` on the pool; deterministic for a seed."""
    torch.manual_seed(config.loop.seed)
    model = JointModel(config.encoder)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = pool.draw(config.loop.batch, generator)
        x = augment(pool.x[rows], config.augment, generator, pool.chiral[rows])
        x = x.contiguous(memory_format=torch.channels_last)
        imu = model.imu(x)
        bank = model.text(words.draw(generator))
        y = pool.y[rows]
        everyone = torch.ones(len(y), dtype=torch.bool)
        loss = model.objective({"imu": imu, "text": bank[y]}, {"imu": everyone, "text": everyone}, group=y)
        allowed = pool.allowed[pool.corpus[rows]]
        own = label_loss(normalize(imu, dim=1), normalize(bank, dim=1), model.objective.scale, y, allowed)
        return loss + config.label_weight * own

    trained = optimise(model, loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, JointModel)
    return trained


def with_seed(config: PretrainConfig, seed: int) -> PretrainConfig:
    """The same recipe from another seed."""
    return replace(config, loop=replace(config.loop, seed=seed))


if __name__ == "__main__":
    from training.command import run
    from training.run import pretrain_step

    run(pretrain_step)
