"""The int8 file of each target agrees with the float network, in its own runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from mujo_edge.bundle.manifest import Label
from mujo_edge.runtimes import open_model
from mujo_edge.signal import prepare
from training.models.inference import float_embeddings, frozen
from training.models.student import Student, StudentConfig, macs
from training.release.bundle import load_checkpoint
from training.release.equalize import equalize
from training.release.metadata import ModelMetadata
from training.release.quantize import (
    float_litert,
    float_onnx,
    quantize_executorch,
    quantize_litert,
    quantize_onnx,
    quantized_embeddings,
)
from training.release.tflite_micro import attempt, least_arena


def snr_db(y: np.ndarray, actual: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(y).sum() / np.square(y - actual).sum()))


@pytest.fixture(scope="module")
def trained(checkpoint: Path) -> tuple[Student, np.ndarray, np.ndarray]:
    """Network, prepared calibration windows, other prepared windows."""
    model, spec, calibration, gate, _ = load_checkpoint(checkpoint)
    return model, prepare(calibration, spec), prepare(gate.x, spec)[::10]


@pytest.fixture(scope="module")
def model_metadata(checkpoint: Path) -> ModelMetadata:
    spec, release = load_checkpoint(checkpoint)[1], load_checkpoint(checkpoint)[4]
    return ModelMetadata("small", "1", spec, 64, release.label_sets, release.default_label_set)


def test_quantized_embeddings_are_those_of_the_exported_file(trained: tuple[Student, np.ndarray, np.ndarray]) -> None:
    model, calibration, windows = trained
    actual = quantized_embeddings(model, calibration, windows)
    assert actual.shape == (len(windows), 64)
    assert snr_db(float_embeddings(model, windows), actual) > 25
    again = open_model(quantize_litert(equalize(model, calibration), calibration)).run(windows)
    np.testing.assert_array_equal(actual, again)


def test_quantizing_does_not_change_the_model(trained: tuple[Student, np.ndarray, np.ndarray]) -> None:
    model, calibration, _ = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    quantize_litert(model, calibration[:32])
    assert model.training
    model.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_residual_blocks_in_a_row_stay_int8() -> None:
    """Quantizers fuse an addition with its activation only in one form of the block."""
    torch.manual_seed(0)
    model = Student(StudentConfig(blocks=((32, 5, 2), (32, 5, 1), (32, 5, 1), (32, 3, 1))))
    calibration = np.random.default_rng(0).standard_normal((32, 6, 1, 150), np.float32)
    content = quantize_litert(model, calibration)
    opened = open_model(content)
    assert opened.is_one_partition()
    names = {op["op_name"] for op in opened._interpreter._get_ops_details()}
    assert not names & {"QUANTIZE", "DEQUANTIZE"}
    assert least_arena(content, calibration[:1]) <= 32 * 1024


def test_files_carry_no_paths_and_no_module_names(trained: tuple[Student, np.ndarray, np.ndarray]) -> None:
    model, calibration, _ = trained
    for content in (float_litert(model, calibration), float_onnx(model, calibration).SerializeToString()):
        assert b"training" not in content
        assert str(Path(__file__).parents[3]).encode() not in content


def test_pte_describes_its_input(
    trained: tuple[Student, np.ndarray, np.ndarray], model_metadata: ModelMetadata
) -> None:
    model, calibration, _ = trained
    constants = open_model(quantize_executorch(model, calibration[:32], model_metadata), "executorch").constants()
    assert (constants["rate_hz"], constants["window"], constants["clip"]) == (50.0, 150, 4.0)
    np.testing.assert_allclose(constants["scale"], model_metadata.spec.scale, rtol=1e-6)
    assert json.loads(constants["swings-wrist.labels"]) == ["slow swing", "fast swing"]


def test_labels_in_any_language_survive_the_round_trip(
    trained: tuple[Student, np.ndarray, np.ndarray], model_metadata: ModelMetadata
) -> None:
    model, calibration, _ = trained
    names = ("Kniebeuge \u00fc", "\u6df1\u8e72", 'say "squat"', "\U0001f3cb", "a\nb")
    labels = replace(
        model_metadata.label_sets[0],
        labels=tuple(Label(name, ()) for name in names),
        prototypes=np.eye(5, 64, dtype=np.float32),
    )
    strange = replace(model_metadata, label_sets=(labels,))
    constants = open_model(quantize_executorch(model, calibration[:32], strange), "executorch").constants()
    assert tuple(json.loads(constants["motion-wrist.labels"])) == names
    table = json.loads(strange.mujo_json())
    assert tuple(table["label_sets"]["motion-wrist"]["labels"]) == names


def test_onnx_describes_its_input_and_runs_unchanged(
    trained: tuple[Student, np.ndarray, np.ndarray], model_metadata: ModelMetadata
) -> None:
    model, calibration, windows = trained
    content = quantize_onnx(equalize(model, calibration), calibration, model_metadata)
    properties = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    assert json.loads(properties["mujo.json"]) == json.loads(model_metadata.mujo_json())
    assert snr_db(float_embeddings(model, windows), open_model(content, "onnx").run(windows)) > 25


class Running(nn.Module):
    """A cumulative sum over time, which XNNPACK has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(6, 8, (1, 3)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).cumsum(3).mean((2, 3)))


def test_network_that_does_not_lower_to_one_subgraph_is_refused(model_metadata: ModelMetadata) -> None:
    windows = np.random.default_rng(0).standard_normal((32, 6, 1, 150), np.float32)
    assert not open_model(float_litert(Running(), windows)).is_one_partition()
    with pytest.raises(ValueError, match="XNNPACK subgraphs instead of 1"):
        quantize_executorch(Running(), windows, model_metadata)


def test_frozen_is_a_copy_without_dropout() -> None:
    model = Student()
    copy = frozen(model)
    assert not copy.training
    assert not any(isinstance(part, nn.Dropout) for part in copy.modules())
    assert any(isinstance(part, nn.Dropout) for part in model.modules())


def test_too_small_arena_is_reported_without_a_crash(trained: tuple[Student, np.ndarray, np.ndarray]) -> None:
    model, calibration, windows = trained
    content = quantize_litert(model, calibration[:32])
    assert isinstance(attempt(content, windows[:1], 2048), str)
    assert isinstance(attempt(content, windows[:1], 64 * 1024), np.ndarray)


def test_macs_equal_a_count_by_hand() -> None:
    """Each convolution: outputs x kernel x inputs of its group; strides of 2 halve 150 to 75 and 38."""
    model = Student(StudentConfig(stem=8, stem_kernel=3, blocks=((16, 5, 2), (16, 5, 1)), embedding=4))
    stem = 75 * 8 * 3 * 6
    blocks = 38 * (8 * 5 + 16 * 8) + 38 * (16 * 5 + 16 * 16)
    assert macs(model, 150) == stem + blocks + 16 * 4
    assert macs(Student(), 150) == 848_928


def test_counting_macs_does_not_change_the_model() -> None:
    model = Student()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.training
    macs(model, 150)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
