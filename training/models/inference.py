"""Inference with a trained float network, in the form that is exported."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from mujo_edge.core import F32


def frozen(model: nn.Module) -> nn.Module:
    """A copy in eval mode without dropout layers, which the quantizers would observe."""
    model = copy.deepcopy(model).cpu().eval()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, nn.Identity())
    return model


def float_embeddings(model: nn.Module, windows: F32, batch: int = 512) -> F32:
    """(N, 6, 1, T) prepared windows -> (N, D) of the float model; not normalized."""
    model = frozen(model)
    with torch.no_grad():
        parts = [model(torch.from_numpy(windows[i : i + batch])).numpy() for i in range(0, len(windows), batch)]
    return np.concatenate(parts)
