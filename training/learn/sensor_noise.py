"""Mounting and sensor errors for an ideal signal, such as that of `training.fimad.virtual_imu`.

Mounting: twisted about the limb, reversed. Sensor: low-pass filter, bias, noise, limited range. On batches of prepared
model input (N, 6, 1, T), with an explicit generator, before `training.learn.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from mujo_edge.core import STANDARD_GRAVITY
from mujo_edge.signal import DEFAULT_INPUT
from training.learn.augment import turns

RANGES_G, RANGES_DPS = (2.0, 4.0, 8.0, 16.0), (250.0, 500.0, 1000.0, 2000.0)
"""Full-scale ranges of accelerometers and gyroscopes in watches and phones (data sheets of LSM6DSO, BMI270)."""


@dataclass(frozen=True, slots=True)
class SensorConfig:
    """Standard deviations, bounds of uniform draws (`lowpass_hz`), and probabilities if so named.

    Noise and bias defaults are above those of the sensors: zero-g offsets of 20 to 60 mg, zero-rate offsets of about
    1 deg/s after calibration, noise in a 25-Hz band of about 1 mg and 0.05 deg/s. Twist and filter defaults had the
    best scores on UTD-MHAD, trained on virtual and tested on real signals; skeletons from cameras are smooth already.
    """

    twist_deg: float = 20.0
    reverse_probability: float = 0.25
    lowpass_hz: tuple[float, float] = (5.0, 25.0)
    lowpass_probability: float = 0.1
    bias_mps2: float = 0.3
    bias_radps: float = 0.02
    noise_mps2: float = 0.05
    noise_radps: float = 0.005
    ranges: bool = True


def along_limb(placements: Sequence[str]) -> Tensor:
    """(N, 3) the axis along the limb in the frames of `training.fimad.virtual_imu`: x at the wrists, else y."""
    axes = torch.tensor([0 if placement.endswith("wrist") else 1 for placement in placements], dtype=torch.long)
    return torch.nn.functional.one_hot(axes, 3).float()


def lowpass(x: Tensor, cutoff_hz: Tensor, rate_hz: float) -> Tensor:
    """(N, C, T) filtered with the amplitude response of a second-order Butterworth low-pass at `cutoff_hz` (N,), zero
    phase."""
    length = x.shape[2]
    padded = torch.cat([x, x.flip(2)], 2)  # periodic, without a step at the edge
    frequency = torch.fft.rfftfreq(2 * length, 1 / rate_hz)
    gain = (1 + (frequency / cutoff_hz[:, None]) ** 4).rsqrt()
    return torch.fft.irfft(torch.fft.rfft(padded, dim=2) * gain[:, None], 2 * length, dim=2)[:, :, :length]


def sense(x: Tensor, along: Tensor, config: SensorConfig, generator: torch.Generator) -> Tensor:
    """(N, 6, 1, T) -> same shape, with the errors of a randomly drawn mounting and sensor.

    `along` (N, 3) is the axis along the limb in each window. An absent gyroscope (all zero) stays absent.
    """
    n, spec = len(x), DEFAULT_INPUT
    scale = torch.tensor(spec.scale)[:, None]

    def normal(acceleration: float, rate: float, *shape: int) -> Tensor:
        sd = torch.tensor([acceleration] * 3 + [rate] * 3)[:, None] / scale
        return torch.randn(n, 6, *shape, generator=generator) * sd

    def chance(probability: float) -> Tensor:
        return torch.rand(n, generator=generator) < probability

    y = x[:, :, 0]
    has_gyro = (y[:, 3:].abs().amax((1, 2), keepdim=True) > 0).float()
    turn = turns(along, torch.randn(n, generator=generator) * config.twist_deg * pi / 180)
    # Reversed: half a turn about z, which points out of the screen.
    back = torch.where(chance(config.reverse_probability), pi, 0.0)
    turn = turns(torch.tensor([[0.0, 0.0, 1.0]]).expand(n, 3), back) @ turn
    y = torch.cat([turn @ y[:, :3], turn @ y[:, 3:]], 1)
    low, high = config.lowpass_hz
    cutoff_hz = low + (high - low) * torch.rand(n, generator=generator)
    filtered = lowpass(y, cutoff_hz, spec.rate_hz)
    y = torch.where(chance(config.lowpass_probability)[:, None, None], filtered, y)
    y = y + normal(config.bias_mps2, config.bias_radps, 1)
    y = y + normal(config.noise_mps2, config.noise_radps, y.shape[2])
    if config.ranges:
        full = torch.tensor([RANGES_G, RANGES_DPS]) * torch.tensor([[STANDARD_GRAVITY], [pi / 180]])
        chosen = torch.stack([row[torch.randint(len(row), (n,), generator=generator)] for row in full], 1)
        limit = chosen.repeat_interleave(3, 1)[:, :, None] / scale
        y = torch.minimum(torch.maximum(y, -limit), limit)
    return torch.cat([y[:, :3], y[:, 3:] * has_gyro], 1).clamp(-spec.clip, spec.clip)[:, :, None]
