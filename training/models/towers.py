"""An IMU encoder of plain convolutions whose features carry to other data sets: a tower for the accelerometer, and one
for both sensors.

Input (N, 6, 1, T) as `mujo_edge.signal.prepare` makes it, output (N, D): mean and maximum over time of the last layer
of each tower, the accelerometer's first. Without a gyroscope only those are used: they never depend on it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from training.models.student import conv

Layers = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TowersConfig:
    """(channels, kernel, stride) of every layer of the accelerometer's tower `acc` and of that of both, `gyro`."""

    acc: Layers = ((40, 7, 3), (64, 5, 2), (80, 3, 2), (112, 3, 1))
    gyro: Layers = ((32, 7, 3), (48, 5, 2), (64, 3, 2))


def tower(inputs: int, layers: Layers) -> nn.Sequential:
    """Convolutions one after the other."""
    widths = (inputs, *(channels for channels, _, _ in layers))
    return nn.Sequential(
        *(conv(w, channels, kernel, stride) for w, (channels, kernel, stride) in zip(widths, layers, strict=False))
    )


class Towers(nn.Module):
    """Some 75,000 parameters as it stands. `widths` are the numbers of features of the two towers, `planes` how many
    of the input the accelerometer's reads."""

    def __init__(self, config: TowersConfig = TowersConfig()) -> None:
        super().__init__()
        self.config = config
        self.planes = 3
        self.acc, self.gyro = tower(self.planes, config.acc), tower(6, config.gyro)
        self.widths = (2 * config.acc[-1][0], 2 * config.gyro[-1][0])
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, sum of `widths`)."""
        pooled = []
        for y in (self.acc(x[:, : self.planes]), self.gyro(x)):
            # Not the adaptive kind: LiteRT does not lower it.
            pooled += [self.mean(y), max_pool2d(y, (1, y.shape[3]))]
        return torch.cat(pooled, 1).flatten(1)


def without_slice(towers: Towers) -> Towers:
    """A copy that gives the same features, whose accelerometer's tower reads all six planes with weights of zero for
    the gyroscope's: LiteRT's quantizer does not convert a slice of the input before a padded convolution."""
    wide = copy.deepcopy(towers)
    wide.planes = 6
    first = wide.acc[0][0]
    padded = nn.Conv2d(6, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False)
    with torch.no_grad():
        padded.weight.zero_()
        padded.weight[:, :3] = first.weight
    wide.acc[0][0] = padded
    return wide
