"""Files lowered for Core ML and Cortex-M, as far as they can be checked without the devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import training.release.lower
from mujo_edge.core import F32
from mujo_edge.runtimes import open_model
from mujo_edge.signal import prepare
from training.models.inference import float_embeddings
from training.models.student import Student
from training.release.bundle import load_checkpoint
from training.release.equalize import equalize
from training.release.lower import BACKENDS, Lowered, left_out, lower_coreml, lower_cortex_m
from training.release.metadata import ModelMetadata

COREML, CORTEX_M = BACKENDS


@pytest.fixture(scope="module")
def trained(checkpoint: Path) -> tuple[Student, F32, F32, ModelMetadata]:
    """Equalized network, prepared calibration windows, other prepared windows, metadata."""
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    model_metadata = ModelMetadata("small", "1", spec, 64, release.label_sets, release.default_label_set)
    prepared = prepare(calibration, spec)
    return equalize(model, prepared), prepared, prepare(gate.x, spec)[::13], model_metadata


@pytest.fixture(scope="module")
def coreml(trained: tuple[Student, F32, F32, ModelMetadata]) -> Lowered:
    if COREML.obstacle:
        pytest.skip(COREML.obstacle)
    model, calibration, windows, model_metadata = trained
    return lower_coreml(model, calibration, model_metadata, windows)


@pytest.fixture(scope="module")
def cortex_m(trained: tuple[Student, F32, F32, ModelMetadata]) -> Lowered:
    if CORTEX_M.obstacle:
        pytest.skip(CORTEX_M.obstacle)
    model, calibration, windows, model_metadata = trained
    return lower_cortex_m(model, calibration, model_metadata, windows)


def snr_db(y: F32, actual: F32) -> float:
    return 10 * float(np.log10(np.square(y).sum() / np.square(y - actual).sum()))


def forward_of(content: bytes):  # type: ignore[no-untyped-def]
    """The `forward` plan of a .pte, read without loading its backend."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = deserialize_pte_binary(content).program
    return next(plan for plan in program.execution_plan if plan.name == "forward")


def test_float16_keeps_the_embeddings(trained: tuple[Student, F32, F32, ModelMetadata], coreml: Lowered) -> None:
    y = float_embeddings(trained[0], trained[2])
    assert coreml.embeddings.dtype == np.float32
    assert snr_db(y, coreml.embeddings) > 45
    assert np.abs(y - coreml.embeddings).max() > 0, "float16 was not what ran"


def test_whole_network_is_lowered_to_core_ml(coreml: Lowered) -> None:
    plan = forward_of(coreml.content)
    assert [delegate.id for delegate in plan.delegates] == ["CoreMLBackend"]
    assert plan.operators == []
    assert set(coreml.operators) == {"cast", "conv", "relu", "add", "reduce_mean", "reshape", "linear"}


def test_core_ml_file_is_read_but_not_run_on_linux(coreml: Lowered) -> None:
    """The file is opened for its metadata only; the runtime on this system has no Core ML backend."""
    from executorch.extension.pybindings import portable_lib

    assert "CoreMLBackend" not in portable_lib._get_registered_backend_names()
    opened = open_model(coreml.content, "executorch")
    assert (opened.input_shape, opened.output_shape) == ((1, 6, 1, 150), (1, 64))


class Distances(nn.Module):
    """Has an operator in its middle that Core ML lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(6, 8, (1, 3)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).flatten(2)
        return self.last(torch.cdist(y, y).mean(2))


def test_network_that_is_not_one_core_ml_program_is_found(trained: tuple[Student, F32, F32, ModelMetadata]) -> None:
    if COREML.obstacle:
        pytest.skip(COREML.obstacle)
    with pytest.raises(ValueError, match="Core ML programs instead of 1"):
        lower_coreml(Distances(), trained[1], trained[3], trained[2])


def test_cmsis_nn_runs_every_operator(cortex_m: Lowered) -> None:
    assert cortex_m.operators == tuple(
        f"cortex_m.{name}"
        for name in (
            *("quantize_per_tensor", "quantized_conv2d", "quantized_depthwise_conv2d", "quantized_add"),
            *("quantized_avg_pool2d", "quantized_linear", "dequantize_per_tensor"),
        )
    )
    assert len(cortex_m.content) < 100_000


def test_cortex_m_input_is_time_major(cortex_m: Lowered) -> None:
    plan = forward_of(cortex_m.content)
    planned = plan.values[plan.inputs[0]].val
    assert list(planned.sizes) == [1, 6, 1, 150]
    assert list(planned.dim_order) == [0, 2, 3, 1]


def test_lowered_graph_computes_what_the_network_does(
    trained: tuple[Student, F32, F32, ModelMetadata], cortex_m: Lowered
) -> None:
    model, _, windows, _ = trained
    assert cortex_m.embeddings.shape == (len(windows), 64)
    assert snr_db(float_embeddings(model, windows), cortex_m.embeddings) > 22


def test_batch_size_does_not_change_the_file_or_its_embeddings(
    trained: tuple[Student, F32, F32, ModelMetadata], cortex_m: Lowered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings measured in batches equal those of single windows."""
    model, calibration, windows, model_metadata = trained
    monkeypatch.setattr(training.release.lower, "BATCH", 1)
    one = lower_cortex_m(model, calibration, model_metadata, windows[:5])
    np.testing.assert_array_equal(one.embeddings, cortex_m.embeddings[:5])
    assert one.content == cortex_m.content


def test_files_that_cannot_be_made_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.release.lower, "find_spec", lambda name: None)
    assert left_out() == [
        "student_coreml.pte is left out: coremltools is not installed. Install it with: pip install coremltools==9.0",
        "student_cortex_m.pte is left out: tosa_serializer is not installed. "
        "Install it with: pip install --no-deps tosa-tools==2026.5.0",
    ]
    assert all(backend.obstacle for backend in BACKENDS)
