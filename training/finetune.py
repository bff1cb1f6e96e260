"""Few labels: fit prototypes, and the encoder with them, to the labelled windows of one data set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, one_hot

from mujo_edge.bundle import fit_prototypes, normalise
from mujo_edge.core import F32
from training.augment import AugmentConfig, augment
from training.loop import LoopConfig, Report, optimise
from training.quantize import float_embeddings
from training.student import Student


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """`scale` is the inverse temperature of the cosine classifier, `mixup` both parameters of the Beta distribution
    of blends; steps grow with the windows, within bounds.

    A pretrained encoder is kept more of: with `keep_statistics` batch normalisation stays as it was, and with
    `fresh_projection` the last layer begins anew, since the joint space is narrower than what the layer below knows.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(gyro_drop_probability=0.0))
    scale: float = 16.0
    mixup: float = 0.2
    epochs: int = 200
    least_steps: int = 500
    most_steps: int = 1200
    keep_statistics: bool = False
    fresh_projection: bool = False

    def for_windows(self, n: int, seed: int, chiral: bool) -> FinetuneConfig:
        """The same recipe with its number of steps for `n` windows, its seed, and no mirroring where `chiral`."""
        steps = int(np.clip(self.epochs * n / self.loop.batch, self.least_steps, self.most_steps))
        mirror = 0.0 if chiral else self.augment.mirror_probability
        return replace(
            self,
            loop=replace(self.loop, steps=steps, seed=seed),
            augment=replace(self.augment, mirror_probability=mirror),
        )


class PrototypeClassifier(nn.Module):
    """An encoder and one prototype a class; logits are scaled cosines, as the recogniser's."""

    def __init__(self, encoder: Student, prototypes: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.prototypes = nn.Parameter(prototypes)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, L) logits."""
        return self.scale * normalize(self.encoder(x), dim=1) @ normalize(self.prototypes, dim=1).T


def finetune(
    encoder: Student,
    x: F32,
    y: np.ndarray,
    classes: int,
    config: FinetuneConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> PrototypeClassifier:
    """Train `encoder` (changed in place) and prototypes on windows `x` (N, 6, 1, T), prepared, with labels `y` (N,).

    A class is drawn with the square root of its count. Mixup blends pairs of windows and their labels.
    """
    if config.fresh_projection:
        torch.manual_seed(config.loop.seed)
        encoder.project.reset_parameters()
    prototypes = torch.from_numpy(fit_prototypes(normalise(float_embeddings(encoder, x)), y, classes))
    encoder.keep_statistics = config.keep_statistics
    model = PrototypeClassifier(encoder, prototypes, config.scale)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    weight = torch.bincount(targets, minlength=classes).clamp(min=1)[targets].rsqrt()
    # Drawn from torch's global state, which the loop seeds and keeps in its checkpoint.
    mix = torch.distributions.Beta(config.mixup, config.mixup)
    batch, again = config.loop.batch, len(y) < 8 * config.loop.batch

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(weight, batch, replacement=again, generator=generator)
        share = mix.sample()
        other = torch.randperm(batch, generator=generator)
        seen, wanted = augment(inputs[rows], config.augment, generator), one_hot(targets[rows], classes).float()
        seen = (share * seen + (1 - share) * seen[other]).contiguous(memory_format=torch.channels_last)
        wanted = share * wanted + (1 - share) * wanted[other]
        return -(wanted * log_softmax(model(seen), 1)).sum(1).mean()

    trained = optimise(model, loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, PrototypeClassifier)
    return trained
