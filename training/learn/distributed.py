"""Training in several processes: `torchrun --nproc-per-node 2 -m training.pretrain`. Each draws its part of the batch;
embeddings, batch statistics and gradients are those of the joint batch.

Gradients are averaged over the processes: each computes the same loss of all embeddings, and the backward pass of the
collective operations sums the gradients of all processes, so each process holds the gradient of its own rows times the
number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank_and_world() -> tuple[int, int]:
    """Rank of this process and number of processes; (0, 1) outside `together`."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@contextmanager
def together(device: str) -> Iterator[None]:
    """Join the processes that torchrun started (by its environment variables); without torchrun, do nothing."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if on_gpu := device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # so that "cuda" is the own GPU of each process
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


class Sum(torch.autograd.Function):
    """Sum over the processes: of values forward, of gradients backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape, the same in every process."""
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum of the gradients of all processes."""
        return Sum.forward(ctx, gradient)


def gather(x: Tensor) -> Tensor:
    """(N, ...) of every process, with equal N -> (world * N, ...) in order of ranks, with gradients."""
    rank, world = rank_and_world()
    if world == 1:
        return x
    if x.dtype.is_floating_point:
        every = x.new_zeros(world, *x.shape)
        every[rank] = x
        return Sum.apply(every).flatten(0, 1)
    parts = [torch.empty_like(x) for _ in range(world)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def of_first(value: bool) -> bool:
    """`value` of the first process, in every process."""
    if rank_and_world()[1] == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """`value` of every process, by rank."""
    _, world = rank_and_world()
    values = [value] * world
    if world > 1:
        dist.all_gather_object(values, value)
    return values


@torch.no_grad()
def fill_and_average(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes, and missing gradients by zero, with one process too, so that
    the optimizer treats both cases alike."""
    parameters = [p for p in parameters if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    _, world = rank_and_world()
    if world > 1:
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        for p, part in zip(parameters, flat.div_(world).split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view(p.shape)


class JointBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the rows of all processes. PyTorch's `SyncBatchNorm` requires GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape; N may differ between processes."""
        if not self.training:
            return super().forward(x)
        sums = torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])])
        sums = Sum.apply(sums.float())
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = square - mean.square()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]


def join_batch_norms(model: nn.Module) -> None:
    """Make every BatchNorm2d of `model` use the rows of all processes; no effect with one process."""
    if rank_and_world()[1] > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                # Same parameters, buffers and names, so that weights load and save as before.
                module.__class__ = JointBatchNorm
