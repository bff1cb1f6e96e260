"""Fine-tuning of an encoder and class prototypes on the labeled windows of one data set, and optionally on unlabeled
windows (semi-supervised)."""

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
class PseudoLabelConfig:
    """Pseudo-labels of unlabeled windows: two augmentations of a window must agree (FixMatch, arXiv 2001.07685, with
    soft labels instead of a threshold), and the mean pseudo-label must match the class frequencies of the labels
    (distribution alignment, arXiv 1911.09785).

    Their weight is 0 for `begin` batches, then grows to `weight` over `ramp` batches. They are sharpened by
    `temperature`; `momentum` is that of their running mean.
    """

    weight: float = 1.0
    temperature: float = 0.5
    momentum: float = 0.97
    begin: int = 100
    ramp: int = 200


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """`scale` is the inverse temperature of the cosine classifier, `mixup` both parameters of the Beta distribution
    of mixup; the number of steps is `epochs` over the windows, between `least_steps` and `most_steps`.

    For pretrained encoders: `keep_statistics` freezes the statistics of batch normalization, and `fresh_projection`
    reinitializes the last layer, since the joint space holds less than the features below it. With unlabeled windows,
    statistics are always updated, and `pseudo_label` applies.
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
    pseudo_label: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)

    def for_windows(self, n: int, seed: int, chiral: bool) -> FinetuneConfig:
        """These settings with the number of steps for `n` windows, a seed, and without mirroring if `chiral`."""
        steps = int(np.clip(self.epochs * n / self.loop.batch, self.least_steps, self.most_steps))
        mirror = 0.0 if chiral else self.augment.mirror_probability
        return replace(
            self,
            loop=replace(self.loop, steps=steps, seed=seed),
            augment=replace(self.augment, mirror_probability=mirror),
        )


class PrototypeClassifier(nn.Module):
    """An encoder and one prototype per class; logits are scaled cosines, as in the recognizer."""

    def __init__(self, encoder: Student, prototypes: Tensor, scale: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.prototypes = nn.Parameter(prototypes)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, L) logits."""
        return self.scale * normalize(self.encoder(x), dim=1) @ normalize(self.prototypes, dim=1).T


class PseudoLabels(nn.Module):
    """Soft labels of unlabeled windows; state: a running mean of the predictions, and the number of batches so far."""

    def __init__(self, config: PseudoLabelConfig, shares: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("shares", shares)
        self.register_buffer("mean", shares.clone())
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        """(N, L) logits -> (N, L) class weights, which sum to the current weight of a pseudo-label."""
        predicted = softmax(logits, 1)
        self.mean.lerp_(predicted.mean(0), 1 - self.config.momentum)
        aligned = predicted * (self.shares / self.mean.clamp(min=1e-4)).clamp(max=5.0)
        sharp = (aligned / aligned.sum(1, keepdim=True)) ** (1 / self.config.temperature)
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
    """Train `encoder` (changed in place) and prototypes on prepared windows `x` (N, 6, 1, T) with labels `y` (N,), and
    on `unlabeled` ones (M, 6, 1, T).

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
        parts["pseudo_labels"] = PseudoLabels(config.pseudo_label, counts / counts.sum())

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
            wanted = torch.cat([wanted, parts["pseudo_labels"](logits)])
        logits = model(seen.contiguous(memory_format=torch.channels_last))
        return -(wanted * log_softmax(logits, 1)).sum() / batch

    trained = optimize(nn.ModuleDict(parts), loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, nn.ModuleDict)
    classifier = trained["classifier"]
    assert isinstance(classifier, PrototypeClassifier)
    return classifier
