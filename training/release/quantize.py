"""Quantization of a trained student to static int8 files, with a quantizer per target.

A graph annotated for one runtime does not convert for another, so each function starts from the float model and the
same calibration windows, (N, 6, 1, T) float32 prepared by `mujo_edge.signal.prepare`, and returns the file content.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mujo_edge.core import F32
from mujo_edge.runtimes import open_model
from training.models.inference import frozen
from training.models.student import Student
from training.release.equalize import equalize
from training.release.metadata import ModelMetadata
from training.support.quiet import quiet

CALIBRATION_BATCH = 64


def example(calibration: F32) -> tuple[Tensor]:
    """The (1, C, 1, T) example input that determines the shapes of an exported graph."""
    return (torch.from_numpy(np.ascontiguousarray(calibration[:1])),)


def observe(prepared: nn.Module, calibration: F32) -> None:
    """Run every calibration window through a prepared graph, in batches of any size."""
    with torch.no_grad():
        for start in range(0, len(calibration), CALIBRATION_BATCH):
            prepared(torch.from_numpy(np.ascontiguousarray(calibration[start : start + CALIBRATION_BATCH])))


@quiet()
def float_litert(model: nn.Module, calibration: F32) -> bytes:
    """The float32 .tflite, input (1, C, 1, T)."""
    import litert_torch

    return short_names(litert_torch.convert(frozen(model), example(calibration)).model_content())


@quiet()
def quantize_litert(model: nn.Module, calibration: F32) -> bytes:
    """Static int8 .tflite with int8 input and output: runs in LiteRT, tflite-runtime and tflite-micro."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    graph = torch.export.export(frozen(model), example(calibration)).module(check_guards=False)
    prepared = prepare_pt2e(graph, quantizer)
    observe(prepared, calibration)
    return convert_litert(prepared, quantizer, calibration)


@quiet()
def convert_litert(prepared: nn.Module, quantizer: Any, calibration: F32) -> bytes:
    """The .tflite of a graph that `quantizer` annotated, after calibration or quantization-aware training."""
    import litert_torch
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    converted = convert_pt2e(prepared, fold_quantize=False)
    edge = litert_torch.convert(converted, example(calibration), quant_config=QuantConfig(pt2e_quantizer=quantizer))
    return short_names(edge.model_content())


def short_names(model: bytes) -> bytes:
    """A .tflite with tensors renamed to t0, t1, ...: names of Python modules would take 10 KB."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(model), 0))
    for graph in tree.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"t{index}".encode()
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@quiet()
def quantize_executorch(model: nn.Module, calibration: F32, model_metadata: ModelMetadata) -> bytes:
    """Static int8 .pte for XNNPACK, float input and output, with `model_metadata` as constant methods.

    Raises:
        ValueError: the graph did not lower to exactly one XNNPACK subgraph.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = torch.export.export(frozen(model), example(calibration)).module(check_guards=False)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    observe(prepared, calibration)
    program = torch.export.export(convert_pt2e(prepared), example(calibration))
    lowered = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods=model_metadata.constants()
    )
    info = get_delegation_info(lowered.exported_program().graph_module)
    if info.num_delegated_subgraphs != 1:
        raise ValueError(
            f"the .pte has {info.num_delegated_subgraphs} XNNPACK subgraphs instead of 1; "
            f"change the operators of the student:\n{info.get_summary()}"
        )
    return bytes(lowered.to_executorch().buffer)


@quiet()
def float_onnx(model: nn.Module, calibration: F32) -> Any:
    """The float32 `onnx.ModelProto`, batch of any length, without source paths in its metadata."""
    program = torch.onnx.export(
        frozen(model),
        example(calibration),
        input_names=["imu"],
        output_names=["embedding"],
        dynamo=True,
        external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    proto = program.model_proto
    for owner in (
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.value_info,
        *proto.graph.input,
        *proto.graph.output,
    ):
        owner.ClearField("metadata_props")
        owner.ClearField("doc_string")
    return proto


@quiet()
def quantize_onnx(model: nn.Module, calibration: F32, model_metadata: ModelMetadata) -> bytes:
    """Static int8 .onnx in QDQ form: float input and output, any batch size, metadata as property "mujo.json"."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.starts = iter(range(0, len(calibration), CALIBRATION_BATCH))

        def get_next(self) -> dict[str, F32] | None:
            start = next(self.starts, None)
            return None if start is None else {"imu": calibration[start : start + CALIBRATION_BATCH]}

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "student.onnx"
        quantize_static(
            float_onnx(model, calibration),
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        proto = onnx.load(out)
    onnx.helper.set_model_props(proto, {"mujo.json": model_metadata.mujo_json()})
    return bytes(proto.SerializeToString())


def quantized_embeddings(model: Student, calibration: F32, windows: F32) -> F32:
    """(N, 6, 1, T) prepared windows -> (N, D) of the int8 .tflite for release, run in LiteRT; not normalized."""
    return open_model(quantize_litert(equalize(model, calibration), calibration), "litert").run(windows)
