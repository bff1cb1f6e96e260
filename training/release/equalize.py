"""Cross-layer equalization: the same function, with channels of similar range, so that int8 resolves all of them.

int8 has one scale for all channels of an activation, so a channel with a hundredth of the largest range keeps one or
two bits. Since relu(s x) = s relu(x) for s > 0, the output of a layer can be divided by s, and the input of the next
one multiplied by s, without changing the network's function. Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019, section 4.1, here with ranges of activations over the calibration windows.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mujo_edge.core import F32
from training.models.student import Block, Student

SMALLEST = 1e-3
"""Lower bound of a channel's range relative to the largest, so that a dead channel is not amplified."""


def equalize(model: Student, calibration: F32) -> Student:
    """A copy with folded BatchNorm and equalized channels; the same function up to rounding.

    Args:
        model: a student.
        calibration: (N, C, 1, T) prepared windows.
    """
    student = folded(model)
    inner, outer = channel_peaks(student, calibration)
    scales = tied_scales(student, outer)
    with torch.no_grad():
        divide_outputs(student.stem[0], scales[0])
        for block, peak, (before, after) in zip(student.blocks, inner, pairwise(scales), strict=True):
            if not isinstance(block, Block):
                multiply_inputs(block[0], before)
                divide_outputs(block[0], after)
                continue
            multiply_inputs(block.depthwise[0], before)
            divide_outputs(block.pointwise[0], after)
            middle = balanced(peak, block.pointwise[0].weight)
            divide_outputs(block.depthwise[0], middle)
            multiply_inputs(block.pointwise[0], middle)
        multiply_inputs(student.project, scales[-1])
    return student


def folded(model: Student) -> Student:
    """A copy in eval mode with BatchNorm layers folded into the convolutions before them."""
    student = Student(model.config)
    student.load_state_dict(model.state_dict())
    student.eval()
    for layer in student.modules():
        if isinstance(layer, nn.Sequential) and len(layer) > 1 and isinstance(layer[1], nn.BatchNorm2d):
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return student


def channel_peaks(student: Student, calibration: F32) -> tuple[list[Tensor], list[Tensor]]:
    """Largest |value| of each channel: after the depthwise half of every separable block (empty for a plain one), and
    between blocks (stem first)."""
    with torch.no_grad():
        x = student.stem(torch.from_numpy(calibration))
        inner, outer = [], [peak(x)]
        for block in student.blocks:
            if not isinstance(block, Block):
                x = block(x)
                inner.append(x.new_empty(0))
                outer.append(peak(x))
                continue
            inner.append(peak(block.depthwise(x)))
            branch = block.pointwise(block.depthwise(x))
            x = block(x)
            # With a residual, the branch is an activation too, with the same channel scales.
            outer.append(torch.maximum(peak(x), peak(branch)) if block.residual else peak(x))
    return inner, outer


def peak(x: Tensor) -> Tensor:
    """(N, C, 1, T) -> (C,)."""
    return x.abs().amax((0, 2, 3))


def tied_scales(student: Student, outer: list[Tensor]) -> list[Tensor]:
    """Channel scales between blocks; the same scales along a chain of residual blocks."""
    chains: list[list[Tensor]] = []
    for position, own in enumerate(outer):
        if position and getattr(student.blocks[position - 1], "residual", False):
            chains[-1].append(own)
        else:
            chains.append([own])
    readers = [*student.blocks, student.project]  # of the stem's output, of the first block's, ...
    scales, position = [], 0
    for chain in chains:
        position += len(chain)
        reader, joint = readers[position - 1], torch.stack(chain).amax(0)
        # Depthwise weights are quantized per channel, so their range needs no balancing.
        separable = isinstance(reader, Block)
        weight = reader.weight if isinstance(reader, nn.Linear) else reader[0].weight if not separable else None
        scales += [spread(joint) if weight is None else balanced(joint, weight)] * len(chain)
    return scales


def balanced(peaks: Tensor, weight: Tensor) -> Tensor:
    """sqrt(activation range / weight range) per channel, which balances the resolution of both.

    `weight` (out, in, ...) is quantized for each output on its own.
    """
    flat = weight.detach().abs().flatten(2).amax(2) if weight.dim() > 2 else weight.detach().abs()
    share = (flat / flat.amax(1, keepdim=True)).amax(0)
    return spread((peaks.clamp_min(SMALLEST * peaks.max()) / share.clamp_min(SMALLEST)).sqrt())


def spread(scale: Tensor) -> Tensor:
    """(C,) scales bounded from below, with geometric mean 1."""
    scale = scale.clamp_min(SMALLEST * scale.max())
    return scale / scale.log().mean().exp()


def divide_outputs(layer: nn.Conv2d, scale: Tensor) -> None:
    """Divide every output channel by `scale`."""
    layer.weight /= scale[:, None, None, None]
    layer.bias /= scale


def multiply_inputs(layer: nn.Conv2d | nn.Linear, scale: Tensor) -> None:
    """Multiply the weights of every input channel by `scale`."""
    if isinstance(layer, nn.Linear):
        layer.weight *= scale
    elif layer.groups > 1:
        layer.weight *= scale[:, None, None, None]
    else:
        layer.weight *= scale[None, :, None, None]
