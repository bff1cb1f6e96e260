"""Several processes as one: `torchrun --nproc-per-node 2 -m training.pretrain`. Each draws its share of the batch; the
embeddings, the batch statistics and the gradients are those of the joined batch.

Why the mean over the processes is the gradient: each computes the same loss of all embeddings, and the backward pass
of the collective operations sums what all of them ask for, so each process holds its own rows' part as many times as
there are processes.
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
    """Number of this process and of all; (0, 1) outside `together`."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@contextmanager
def together(device: str) -> Iterator[None]:
    """Join the processes that torchrun started (its variables are in the environment); alone, do nothing."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if on_gpu := device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" is then each one's own
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


class Sum(torch.autograd.Function):
    """The sum over the processes, of values and on the way back of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape, the same in every process."""
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """What all processes ask for."""
        return Sum.forward(ctx, gradient)


def gather(x: Tensor) -> Tensor:
    """(N, ...) of every process, as many rows in each -> (world * N, ...), in the order of ranks, with gradients."""
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
    """What the first process says, in all of them."""
    if rank_and_world()[1] == 1:
        return value
    said = [value]
    dist.broadcast_object_list(said, 0)
    return said[0]


def of_all(value: Any) -> list[Any]:
    """What each process says, by rank."""
    _, world = rank_and_world()
    said = [value] * world
    if world > 1:
        dist.all_gather_object(said, value)
    return said


@torch.no_grad()
def fill_and_average(parameters: Iterable[nn.Parameter]) -> None:
    """Gradients -> their mean over the processes; zero where a batch did not touch a parameter, so that alone and
    together it is treated alike."""
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
    """BatchNorm over the rows of all processes. Torch's own (`SyncBatchNorm`) runs on GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same; N may differ between processes."""
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
    """Make every BatchNorm2d of `model` count the rows of all processes; nothing to do alone."""
    if rank_and_world()[1] > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                # Same parameters, buffers and names: weights go in and out as before.
                module.__class__ = JointBatchNorm
