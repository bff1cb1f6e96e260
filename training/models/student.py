"""The student: a small 1-D CNN of Conv2d(1, k) layers, which lowers to one XNNPACK subgraph.

Input (N, 6, 1, 150) from `mujo_edge.signal.prepare`, output (N, D): the embedding before L2 normalization, which the
runtime does in float.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """`blocks` are (channels, kernel, stride) of the blocks after the stem: depthwise-separable convolutions, or plain
    ones, which take more weights and less time for the same accuracy."""

    channels: int = 6
    stem: int = 32
    stem_kernel: int = 7
    stem_stride: int = 2
    separable: bool = True
    blocks: tuple[tuple[int, int, int], ...] = (
        (48, 5, 2),
        (64, 5, 1),
        (96, 5, 2),
        (96, 5, 1),
        (128, 5, 1),
    )
    embedding: int = 64
    dropout: float = 0.1


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    """Conv2d(1, kernel) + BatchNorm (+ ReLU), which fold into one quantized convolution."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class Block(nn.Module):
    """Depthwise, then pointwise convolution, with a residual connection if the shapes match."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise = conv(inputs, inputs, kernel, stride, groups=inputs)
        self.pointwise = conv(inputs, outputs, 1, relu=False)
        self.residual = inputs == outputs and stride == 1
        # A module, not torch.relu: LiteRT's quantizer fuses only this form with the addition.
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 1, T) -> (N, outputs, 1, T / stride)."""
        y = self.pointwise(self.depthwise(x))
        return self.activation(x + y if self.residual else y)


class Student(nn.Module):
    """IMU encoder of a few tens of thousands of parameters.

    Attributes:
        keep_statistics: freeze the statistics of batch normalization in training, for fine-tuning.
    """

    keep_statistics = False

    def __init__(self, config: StudentConfig = StudentConfig()) -> None:
        super().__init__()
        self.config = config
        self.stem = conv(config.channels, config.stem, config.stem_kernel, config.stem_stride)
        self.widths = (config.stem, *(width for width, _, _ in config.blocks))
        block = Block if config.separable else conv
        self.blocks = nn.Sequential(*(block(w, *own) for w, own in zip(self.widths, config.blocks, strict=False)))
        self.dropout = nn.Dropout(config.dropout)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.project = nn.Linear(self.widths[-1], config.embedding)

    def train(self, mode: bool = True) -> Student:
        """As in `nn.Module`, but batch normalization stays in eval mode with `keep_statistics`."""
        super().train(mode)
        if self.keep_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, D), not normalized."""
        return self.project(self.dropout(self.features(x)))

    def features(self, x: Tensor) -> Tensor:
        """(N, 6, 1, T) -> (N, widths[-1]): the last block's output, averaged over time."""
        return self.pool(self.blocks(self.stem(x))).flatten(1)


def macs(model: Student, window: int) -> int:
    """Multiply-accumulates for one window of `window` samples, padding zeros included.

    Half of the floating-point operations that PyTorch counts: convolutions and linear layers, without pooling,
    activations and residual additions.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(model).eval()(torch.zeros(1, model.config.channels, 1, window))
    return int(counter.get_total_flops() // 2)
