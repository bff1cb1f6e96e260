"""The MuJo objective: pairwise symmetric InfoNCE over any set of modalities (arXiv 2406.03857, section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import log
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

MAX_LOGIT_SCALE = log(100.0)
"""CLIP's bound on the learned inverse temperature (arXiv 2103.00020, section 2.5)."""


def info_nce(a: Tensor, b: Tensor, scale: Tensor, group: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of matched rows of `a` and `b`, each (N, D) and L2-normalized -> scalar.

    Row i of `b` is the positive of row i of `a`. Rows with the same `group` (N,) int, such as clips of the same title,
    are not negatives of each other.
    """
    logits = scale * a @ b.T
    if group is not None:
        same = (group[:, None] == group[None, :]) & ~torch.eye(len(group), dtype=torch.bool, device=group.device)
        logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(a), device=a.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


class PairwiseInfoNCE(nn.Module):
    """Sum of InfoNCE over every pair of modalities, with one learned temperature.

    Samples may lack modalities: each pair uses the rows where both are present, weighted by their fraction of the
    batch, so that a rare modality neither vanishes nor dominates. `weights` scales pairs by name ("imu-text", in
    alphabetical order; default 1).
    """

    def __init__(self, temperature: float = 0.07, weights: Mapping[str, float] = MappingProxyType({})) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-log(temperature)))
        self.weights = dict(weights)

    @property
    def scale(self) -> Tensor:
        """Inverse temperature."""
        return self.log_scale.clamp(max=MAX_LOGIT_SCALE).exp()

    def pairs(
        self, embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor], group: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, InfoNCE and fraction of the batch of every pair that at least two samples have."""
        if len(embeddings) < 2:
            raise ValueError(f"a contrastive loss needs two modalities or more, got {sorted(embeddings)}")
        unit = {name: normalize(value, dim=1) for name, value in embeddings.items()}
        for a, b in combinations(sorted(unit), 2):
            both = present[a] & present[b]
            if int(both.sum()) < 2:
                continue
            rows = None if group is None else group[both]
            yield f"{a}-{b}", info_nce(unit[a][both], unit[b][both], self.scale, rows), both.float().mean()

    def forward(
        self, embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor], group: Tensor | None = None
    ) -> Tensor:
        """`embeddings` name -> (N, D); `present` name -> (N,) bool; `group` (N,) int -> scalar loss.

        Pairs with fewer than two samples are left out.

        Raises:
            ValueError: fewer than two modalities.
        """
        total = torch.zeros((), device=self.log_scale.device)
        for name, value, share in self.pairs(embeddings, present, group):
            total = total + self.weights.get(name, 1.0) * share * value
        return total


def relational(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosine matrices of two (N, D) batches (relational distillation,
    arXiv 1904.05068, on cosine similarity); D may differ."""
    s, t = normalize(student, dim=1), normalize(teacher, dim=1)
    return (s @ s.T - t @ t.T).square().mean()
