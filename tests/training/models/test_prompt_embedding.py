"""Sentence embeddings follow the recipe of the model card, independent of the batch, and are cached."""

from __future__ import annotations

import pytest
import torch

from mujo_edge.core import MissingExtraError
from training.models import sentence_embedding as text
from training.models.sentence_embedding import TEXT_DIM, TextProjection, embed_once, embed_text

SENTENCES = ["a person walking", "going for a walk on foot", "playing the violin in an orchestra of eighty people"]


def test_embeddings_are_unit_vectors_and_reflect_meaning():
    e = embed_text(SENTENCES)
    assert e.shape == (3, TEXT_DIM)
    torch.testing.assert_close(e.norm(dim=1), torch.ones(3))
    assert e[0] @ e[1] > 0.5 > 0.3 > e[0] @ e[2]
    assert not e.requires_grad


def test_padding_does_not_change_an_embedding():
    """A short sentence in a batch with a long one has the same embedding as alone."""
    alone = torch.cat([embed_text([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(embed_text(SENTENCES), alone, atol=1e-5, rtol=0)


def test_projection_is_linear_into_the_joint_space():
    torch.manual_seed(0)
    project, a, b = TextProjection(16), torch.randn(5, TEXT_DIM), torch.randn(5, TEXT_DIM)
    assert project(a).shape == (5, 16)
    torch.testing.assert_close(project((a + b) / 2), (project(a) + project(b)) / 2)


def test_without_the_package_the_error_has_the_pip_command(monkeypatch):
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    text._model.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install .*\[train\]'"):
        embed_text(["walking"])


def test_sentences_are_embedded_once(cache, monkeypatch):
    """A second call, a damaged file and other sentences."""
    calls: list[list[str]] = []
    real = embed_text

    def counted(sentences):
        calls.append(list(sentences))
        return real(sentences)

    monkeypatch.setattr(text, "embed_text", counted)
    monkeypatch.setenv("MUJO_CACHE", str(cache / "once"))
    first = embed_once(SENTENCES)
    torch.testing.assert_close(first, real(SENTENCES), atol=1e-5, rtol=0)
    assert torch.equal(embed_once(SENTENCES), first)
    assert len(calls) == 1
    (cached,) = (cache / "once" / "sentences").iterdir()
    cached.write_bytes(cached.read_bytes()[:40])
    torch.testing.assert_close(embed_once(SENTENCES), first, atol=1e-5, rtol=0)
    embed_once(SENTENCES[:2])
    assert [len(call) for call in calls] == [3, 3, 2]


def test_more_sentences_than_one_batch_keep_their_order(monkeypatch):
    monkeypatch.setattr(text, "BATCH", 2)
    torch.testing.assert_close(
        embed_text([*SENTENCES, "a"]), torch.cat([embed_text([s]) for s in [*SENTENCES, "a"]]), atol=1e-5, rtol=0
    )
    assert embed_text([]).shape == (0, TEXT_DIM)
