"""Heads of one row a label and more, fitted to a few windows."""

from __future__ import annotations

import numpy as np
import pytest

from mujo_edge.bundle import l2_normalize
from training.taught_heads import HEADS, predict


def clusters(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around three directions of six dimensions, and their classes."""
    y = np.repeat(np.arange(3), each)
    x = np.eye(6)[y] + np.random.default_rng(seed).normal(0, 0.15, (len(y), 6)) + 0.5
    return l2_normalize(x.astype(np.float32)), y


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("each", [1, 5])
def test_head_names_new_windows(name: str, each: int) -> None:
    z, y = clusters(each, 0)
    test, truth = clusters(50, 1)
    rows, owner, bias = HEADS[name](z, y, 3)
    assert len(rows) == len(owner) == len(bias)
    assert (predict((rows, owner, bias), test) == truth).mean() > (0.8 if each == 1 else 0.95)


@pytest.mark.parametrize("name", ["prototypes", "cosine softmax"])
def test_heads_of_label_sets_have_one_row_of_unit_length_a_label(name: str) -> None:
    rows, owner, bias = HEADS[name](*clusters(5, 0), 3)
    assert owner.tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert not bias.any()
