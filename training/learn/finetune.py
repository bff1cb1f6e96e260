"""Few labels: fit prototypes, and the encoder with them, to the labeled windows of one data set; with the windows
that nobody labeled beside them, where there are any."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, one_hot, softmax

from mujo_edge.bundle import fit_prototypes, l2_normalize
from mujo_edge.core import F32
from training.learn.augment import AugmentConfig, augment
from training.learn.loop import LoopConfig, Report, optimize
from training.models.inference import float_embeddings
from training.models.student import Student


@dataclass(frozen=True, slots=True)
class GuessConfig:
    """How a window without a label is learned: another change of it must get the label that the model guesses now
    (FixMatch, arXiv 2001.07685, with soft labels in place of a threshold), its guesses in the mean the classes' share
    of the labels (distribution alignment, arXiv 1911.09785).

    Guesses weigh nothing for `begin` batches, then more until they weigh `weight` after `ramp` more. They are sharpened
    by `temperature`; `momentum` is that of their running mean.
    """

    weight: float = 1.0
    temperature: float = 0.5
    momentum: float = 0.97
    begin: int = 100
    ramp: int = 200


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """`scale` is the inverse temperature of the cosine classifier, `mixup` both parameters of the Beta distribution
    of blends; steps grow with the windows, within bounds.

    A pretrained encoder is kept more of: with `keep_statistics` batch normalization stays as it was, and with
    `fresh_projection` the last layer begins anew, since the joint space is narrower than what the layer below knows.
    `guess` and new statistics are for what has unlabeled windows, too.
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
    guess: GuessConfig = field(default_factory=GuessConfig)

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
    """An encoder and one prototype a class; logits are scaled cosines, as the recognizer's."""

    def __init__(self, encoder: Student, prototypes: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.prototypes = nn.Parameter(prototypes)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, L) logits."""
        return self.scale * normalize(self.encoder(x), dim=1) @ normalize(self.prototypes, dim=1).T


class Guesses(nn.Module):
    """Soft labels of windows that have none, with the state that they need: a running mean, and batches so far."""

    def __init__(self, config: GuessConfig, shares: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("shares", shares)
        self.register_buffer("mean", shares.clone())
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        """(N, L) logits -> (N, L) weights of the classes, which sum to what a guess weighs by now."""
        found = softmax(logits, 1)
        self.mean.lerp_(found.mean(0), 1 - self.config.momentum)
        found = found * (self.shares / self.mean.clamp(min=1e-4)).clamp(max=5.0)
        sharp = (found / found.sum(1, keepdim=True)) ** (1 / self.config.temperature)
        grown = ((self.batches - self.config.begin) / self.config.ramp).clamp(0, 1)
        self.batches += 1
        return self.config.weight * grown * sharp / sharp.sum(1, keepdim=True)


def finetune(
    encoder: Student,
    x: F32,
    y: np.ndarray,
    classes: int,
    config: FinetuneConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
    unlabeled: F32 | None = None,
) -> PrototypeClassifier:
    """Train `encoder` (changed in place) and prototypes on windows `x` (N, 6, 1, T), prepared, with labels `y` (N,),
    and on the windows `unlabeled` (M, 6, 1, T).

    A class is drawn with the square root of its count. Mixup blends pairs of windows and their labels.
    """
    if config.fresh_projection:
        torch.manual_seed(config.loop.seed)
        encoder.project.reset_parameters()
    prototypes = torch.from_numpy(fit_prototypes(l2_normalize(float_embeddings(encoder, x)), y, classes))
    encoder.keep_statistics = config.keep_statistics and unlabeled is None
    model = PrototypeClassifier(encoder, prototypes, config.scale)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    counts = torch.bincount(targets, minlength=classes)
    weight = counts.clamp(min=1)[targets].rsqrt()
    # Drawn from torch's global state, which the loop seeds and keeps in its checkpoint.
    mix = torch.distributions.Beta(config.mixup, config.mixup)
    batch, again = config.loop.batch, len(y) < 8 * config.loop.batch

    parts: dict[str, nn.Module] = {"classifier": model}
    others = None if unlabeled is None else torch.from_numpy(unlabeled)
    if others is not None:
        parts["guesses"] = Guesses(config.guess, counts / counts.sum())

    def changed(windows: Tensor, generator: torch.Generator) -> Tensor:
        return augment(windows, config.augment, generator)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(weight, batch, replacement=again, generator=generator)
        share = mix.sample()
        other = torch.randperm(batch, generator=generator)
        seen, wanted = changed(inputs[rows], generator), one_hot(targets[rows], classes).float()
        seen = share * seen + (1 - share) * seen[other]
        wanted = share * wanted + (1 - share) * wanted[other]
        if others is not None:
            more = others[torch.randint(len(others), (batch,), generator=generator)]
            with torch.no_grad():
                logits = model(changed(more, generator).contiguous(memory_format=torch.channels_last))
            seen = torch.cat([seen, changed(more, generator)])
            wanted = torch.cat([wanted, parts["guesses"](logits)])
        logits = model(seen.contiguous(memory_format=torch.channels_last))
        return -(wanted * log_softmax(logits, 1)).sum() / batch

    trained = optimize(nn.ModuleDict(parts), loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, nn.ModuleDict)
    classifier = trained["classifier"]
    assert isinstance(classifier, PrototypeClassifier)
    return classifier
