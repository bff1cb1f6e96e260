"""The peer networks have the published sizes, and normalize as PyTorch does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.peers import AXES, CLASSES, PEERS, WINDOW, CrossMapNorm, exported, interleaved
from mujo_edge.runtimes import open_model


@pytest.mark.parametrize(("name", "parameters"), [("CNN-HAR", 39_566), ("TinierHAR", 4_981)])
def test_peers_have_the_published_size_and_shape(name: str, parameters: int) -> None:
    """Parameter counts of WHAR Arena's implementations for three axes and six classes."""
    model = PEERS[name]().eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.randn(2, AXES, 1, WINDOW)).shape == (2, CLASSES)


def test_normalization_equals_torchs() -> None:
    x = torch.randn(2, 20, 9, 3)
    torch.testing.assert_close(CrossMapNorm()(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)(x))


def test_models_are_timed_equally_often() -> None:
    x = torch.randn(1, AXES, 1, WINDOW).numpy()
    content = exported(PEERS["CNN-HAR"]())
    timings = interleaved({"a": content, "b": content}, {"a": x, "b": x})
    assert {name: timing.calls for name, timing in timings.items()} == {"a": 3000, "b": 3000}


@pytest.mark.parametrize("name", list(PEERS))
def test_exported_file_equals_the_network(name: str) -> None:
    torch.manual_seed(0)
    model = PEERS[name]().eval()
    x = torch.randn(3, AXES, 1, WINDOW)
    actual = open_model(exported(model), "litert").run(x.numpy())
    torch.testing.assert_close(torch.from_numpy(actual), model(x).detach(), atol=1e-5, rtol=1e-4)
