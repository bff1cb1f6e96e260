"""The bundle's int8 .tflite as apps want it: float32 input and output.

A .tflite file is a flatbuffer. Layout: tensorflow/compiler/mlir/lite/schema/schema.fbs of TensorFlow, read and
written with the code that ships in ai-edge-litert.
"""

from __future__ import annotations

import struct
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from ai_edge_litert import schema_py_generated as schema

from mujo_edge.core import DataError

SIGNATURE = "embed"
INPUT, OUTPUT = "imu", "embedding"
"""The one signature of the file, and what its tensors are called."""


def float_io(model: bytes) -> bytes:
    """An int8 .tflite file -> the same network with float32 input and output.

    A QUANTIZE is put in front and a DEQUANTIZE behind, which do what `mujo_edge.runtimes.tflite` does around the
    int8 file. The signature becomes `SIGNATURE` with input "imu" and output "embedding", shapes as before.

    Raises:
        DataError: not a whole .tflite file with one int8 input and one int8 output.
    """
    table = _unpack(model)
    graph = table.subgraphs[0]
    given, taken = _float_twin(graph, graph.inputs[0], INPUT), _float_twin(graph, graph.outputs[0], OUTPUT)
    front = _operator(table, schema.BuiltinOperator.QUANTIZE, 1, given, graph.inputs[0])
    behind = _operator(table, schema.BuiltinOperator.DEQUANTIZE, 2, graph.outputs[0], taken)
    graph.operators = [front, *graph.operators, behind]
    graph.inputs, graph.outputs = [given], [taken]
    table.signatureDefs = [_signature(given, taken)]
    return _pack(table)


def _float_twin(graph: Any, index: int, name: str) -> int:
    """A float32 tensor of the same shape, added to the graph -> its index."""
    tensor = schema.TensorT()
    tensor.name = name
    tensor.shape, tensor.shapeSignature = graph.tensors[index].shape, graph.tensors[index].shapeSignature
    tensor.type, tensor.hasRank = schema.TensorType.FLOAT32, True
    tensor.buffer = 0  # no content, by the schema's convention
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(table: Any, builtin: int, version: int, given: int, taken: int) -> Any:
    """An operator of one input and one output; `version` by TensorFlow's lite/tools/versioning/op_version.cc."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    table.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(table.operatorCodes) - 1
    operator.inputs, operator.outputs = [given], [taken]
    return operator


def _signature(given: int, taken: int) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.inputs, signature.outputs = [_named(INPUT, given)], [_named(OUTPUT, taken)]
    return signature


def _named(name: str, index: int) -> Any:
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name, index
    return tensor


def _unpack(model: bytes) -> Any:
    """The file as objects. Raises `DataError`."""
    try:
        if model[4:8] != b"TFL3":
            raise ValueError("it does not have TFL3 at byte 4")
        table = schema.ModelT.InitFromPackedBuf(model, 0)
        (graph,) = table.subgraphs
        for name, (index,) in (("input", graph.inputs), ("output", graph.outputs)):
            if graph.tensors[index].type != schema.TensorType.INT8:
                raise ValueError(f"its {name} is not int8")
    except (ValueError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise DataError(f"the model is no int8 .tflite file with one input and one output: {error}") from error
    return table


class _Aligned(schema.BufferT):  # type: ignore[misc]
    """A buffer that is written at a multiple of 16 bytes, as schema.fbs asks and the generated code does not."""

    def Pack(self, builder: Any) -> int:  # noqa: N802
        if self.data is None:
            return int(super().Pack(builder))
        content = bytes(self.data)
        builder.StartVector(1, len(content), 16)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        builder.vectorNumElems = len(content)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def _pack(table: Any) -> bytes:
    table.buffers = [_Aligned(buffer.data, buffer.offset, buffer.size) for buffer in table.buffers]
    builder = flatbuffers.Builder(1 << 17)
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())
