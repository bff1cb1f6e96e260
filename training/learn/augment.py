"""Label-preserving augmentation: mounting, side of the body, strength, tempo, noise, a missing gyroscope.

On batches of prepared model input (N, 6, 1, T), with an explicit generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Standard deviations of the changes, and probabilities if so named."""

    rotation_deg: float = 15.0
    scale: float = 0.1
    warp: float = 0.15
    shift: float = 0.1
    noise: float = 0.02
    gyro_drop_probability: float = 0.5
    mirror_probability: float = 0.5


def turns(axis: Tensor, angle: Tensor) -> Tensor:
    """(n, 3, 3) rotations about unit vectors (n, 3) by `angle` (n,) rad (Rodrigues' formula)."""
    angle = angle[:, None, None]
    x, y, z = axis.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * cross @ cross


def rotations(n: int, sd_deg: float, generator: torch.Generator) -> Tensor:
    """(n, 3, 3) rotations about uniformly drawn axes, angle normal with `sd_deg`."""
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    return turns(axis, torch.randn(n, generator=generator) * sd_deg * pi / 180)


def resample_time(x: Tensor, tempo: Tensor, shift: Tensor) -> Tensor:
    """(N, C, T) played at `tempo` (N,) about the center and shifted by `shift` (N,) windows; edges repeat."""
    length = x.shape[2]
    grid = torch.linspace(-1, 1, length)
    at = ((grid * tempo[:, None] + 2 * shift[:, None] + 1) * (length - 1) / 2).clamp(0, length - 1)
    low = at.floor().long().clamp(max=length - 2)
    part = (at - low)[:, None]
    low = low[:, None].expand(-1, x.shape[1], -1)
    return x.gather(2, low) * (1 - part) + x.gather(2, low + 1) * part


MIRROR = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
"""Signs for the other side of the body, for a sensor whose x axis runs along the limb or across the pocket: a
reflection in x, under which angular rate, an axial vector, keeps only its x component."""


def augment(x: Tensor, config: AugmentConfig, generator: torch.Generator, chiral: Tensor | None = None) -> Tensor:
    """(N, 6, 1, T) -> augmented, same shape. An absent gyroscope (all zero) stays absent.

    `chiral` (N,) bool marks windows whose label distinguishes left and right: they are never mirrored.
    """
    n = len(x)

    def normal(sd: float, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * sd

    y = x[:, :, 0]
    has_gyro = (y[:, 3:].abs().amax((1, 2)) > 0).float()
    has_gyro *= (torch.rand(n, generator=generator) >= config.gyro_drop_probability).float()
    mirrored = torch.rand(n, generator=generator) < config.mirror_probability
    if chiral is not None:
        mirrored &= ~chiral
    y = torch.where(mirrored[:, None, None], y * MIRROR[:, None], y)
    tempo = torch.exp(normal(config.warp, n))
    shift = normal(config.shift, n)
    y = resample_time(y, tempo, shift)
    turn = rotations(n, config.rotation_deg, generator)
    acc, gyro = turn @ y[:, :3], turn @ y[:, 3:] * tempo[:, None, None]
    y = torch.cat([acc, gyro], 1) * (1 + normal(config.scale, n, 1, 1))
    y = y + normal(config.noise, *y.shape)
    y[:, 3:] *= has_gyro[:, None, None]
    return y.clamp(-4, 4)[:, :, None]
