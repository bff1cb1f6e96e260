"""Equalization keeps the fp32 function and improves int8 if channels differ in range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.models.inference import float_embeddings
from training.models.student import Student, StudentConfig
from training.release.equalize import channel_peaks, equalize, folded
from training.release.quantize import quantize_litert, quantized_embeddings

CONFIGS = {
    "shipped": StudentConfig(),
    "no residual": StudentConfig(blocks=((48, 5, 2), (64, 3, 1))),
    "residual from the stem to the end": StudentConfig(stem=32, blocks=((32, 5, 1), (32, 5, 1), (32, 3, 1))),
    "two chains": StudentConfig(blocks=((48, 5, 2), (48, 5, 1), (48, 5, 1), (64, 5, 2), (64, 3, 1))),
    "one block": StudentConfig(blocks=((32, 5, 2),)),
    "plain": StudentConfig(stem=16, stem_stride=3, separable=False, blocks=((32, 5, 2), (48, 3, 2), (64, 1, 1))),
}


def uneven(config: StudentConfig) -> Student:
    """A network whose channel ranges differ by orders of magnitude, as in trained networks with folded BatchNorm."""
    torch.manual_seed(0)
    model = Student(config)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            with torch.no_grad():
                layer.weight.copy_(torch.exp(torch.randn_like(layer.weight)))
                layer.bias.copy_(0.1 * torch.randn_like(layer.bias))
    return model.eval()


def windows(n: int, seed: int) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(seed).normal(0, 0.2, (n, 6, 1, 150)), axis=-1)
    return np.clip(walk, -4, 4).astype(np.float32)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_equalizing_keeps_the_function(config: StudentConfig) -> None:
    model, x = uneven(config), windows(32, seed=1)
    before = float_embeddings(model, x)
    after = float_embeddings(equalize(model, windows(64, seed=0)), x)
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def test_equalizing_does_not_change_the_model_itself() -> None:
    model = uneven(StudentConfig())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    equalize(model, windows(16, seed=0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_folding_leaves_no_batchnorm() -> None:
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded(Student()).modules())


def test_channels_become_more_even() -> None:
    model, calibration = uneven(CONFIGS["two chains"]), windows(64, seed=0)

    def unevenness(network: Student) -> float:
        _, outer = channel_peaks(network, calibration)
        return float(np.mean([(peaks.max() / peaks.clamp_min(1e-6).median()).item() for peaks in outer]))

    assert unevenness(equalize(model, calibration)) < 0.5 * unevenness(folded(model))


def test_equalizing_improves_int8() -> None:
    from mujo_edge.runtimes import open_model

    model, calibration, x = uneven(StudentConfig()), windows(128, seed=0), windows(200, seed=1)
    truth = float_embeddings(model, x)

    def snr_db(actual: np.ndarray) -> float:
        return 10 * float(np.log10(np.square(truth).sum() / np.square(truth - actual).sum()))

    plain = open_model(quantize_litert(model, calibration)).run(x)
    assert snr_db(quantized_embeddings(model, calibration, x)) > snr_db(plain) + 1


def test_dead_channel_keeps_outputs_finite() -> None:
    model = uneven(StudentConfig())
    with torch.no_grad():
        model.stem[1].weight[3] = 0
        model.stem[1].bias[3] = -1
    after = float_embeddings(equalize(model, windows(32, seed=0)), windows(8, seed=1))
    assert np.isfinite(after).all()
