"""The bundle's int8 .tflite as apps want it: float32 input and output, and all that must be known inside the file.

A .tflite file is a flatbuffer. Layout: tensorflow/compiler/mlir/lite/schema/schema.fbs of TensorFlow, read and
written with the code that ships in ai-edge-litert. For what is put into it see `described`.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from mujo_edge.core import DataError
from mujo_edge.export import CONTRACT, Job, contract
from mujo_edge.export.tflite_metadata import METADATA, label_files, metadata

SIGNATURE = "embed"
INPUT, OUTPUT = "imu", "embedding"
"""The one signature of the file, and what its tensors are called."""


def float_io(model: bytes) -> bytes:
    """An int8 .tflite file -> the same network with float32 input and output.

    A QUANTIZE is put in front and a DEQUANTIZE behind. In LiteRT they do to the bit what `mujo_edge.runtimes.tflite`
    does around the int8 file: XNNPACK multiplies by 1 / scale and rounds halves to even, as `numpy.rint`. The
    reference kernels of TensorFlow Lite (tflite-runtime, tflite-micro) divide and round halves away from zero, so
    that a sample within a float32 rounding of the middle of two steps may come out one step off there.
    The signature becomes `SIGNATURE` with input "imu" and output "embedding", shapes as before.

    Raises:
        DataError: not a whole .tflite file with one int8 input and one int8 output.
    """
    with _whole():
        table, graph = _unpack(model)
        for what, index in (("input", graph.inputs[0]), ("output", graph.outputs[0])):
            if graph.tensors[index].type != schema.TensorType.INT8:
                raise ValueError(f"its {what} is not int8")
        given, taken = _float_twin(graph, graph.inputs[0], INPUT), _float_twin(graph, graph.outputs[0], OUTPUT)
        front = _operator(table, schema.BuiltinOperator.QUANTIZE, 1, given, graph.inputs[0])
        behind = _operator(table, schema.BuiltinOperator.DEQUANTIZE, 2, graph.outputs[0], taken)
        graph.operators = [front, *graph.operators, behind]
        graph.inputs, graph.outputs = [given], [taken]
        table.signatureDefs = [_signature(given, taken)]
        return _pack(table)


def described(model: bytes, job: Job) -> bytes:
    """A .tflite file -> the same with what must be known to use it. It computes what it computed.

    Put in are mujo.json (`mujo_edge.export.contract`) as a metadata buffer of that name, and TensorFlow Lite's standard
    metadata with the label files, see `mujo_edge.export.tflite_metadata`. Label files stand in a zip archive that is
    appended to the flatbuffer, as TensorFlow's metadata tools do it: any unzip program opens the .tflite file.

    Raises:
        DataError: not a whole .tflite file with one input and one output.
    """
    text = json.dumps(contract(job), ensure_ascii=False, separators=(",", ":"))
    with _whole():
        table, _ = _unpack(model)
        _embed(table, CONTRACT, text.encode())
        _embed(table, METADATA, metadata(job))
        packed = io.BytesIO(_pack(table))
    with zipfile.ZipFile(packed, "a") as archive:
        for name, content in label_files(job).items():
            archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980, so that an export can be repeated
    return packed.getvalue()


def embedded(model: bytes, name: str) -> bytes | None:
    """A .tflite file's metadata buffer of that name; None where it has none. Raises `DataError`."""
    with _whole():
        table, _ = _unpack(model)
        found = [entry.buffer for entry in table.metadata or () if entry.name == name.encode()]
        return bytes(table.buffers[found[0]].data) if found else None


@contextmanager
def _whole() -> Iterator[None]:
    """What reading and writing broken flatbuffers raises, as `DataError`."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise DataError(f"the model is not as it should be: {error}. Export the bundle again") from error


def _unpack(model: bytes) -> tuple[Any, Any]:
    """The file as objects: the model and its one graph, of one input and one output."""
    if model[4:8] != b"TFL3":
        raise ValueError("it is no .tflite file (no TFL3 at byte 4)")
    table = schema.ModelT.InitFromPackedBuf(model, 0)
    (graph,) = table.subgraphs
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError("it has more than one input or output")
    return table, graph


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


def _embed(table: Any, name: str, content: bytes) -> None:
    """Add a metadata buffer; one of the same name gets the new content."""
    for entry in table.metadata or ():
        if entry.name == name.encode():
            table.buffers[entry.buffer].data = content
            return
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = content
    entry.name, entry.buffer = name, len(table.buffers)
    table.buffers.append(buffer)
    table.metadata = [*(table.metadata or ()), entry]


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
    """The objects as a file."""
    table.buffers = [_Aligned(buffer.data, buffer.offset, buffer.size) for buffer in table.buffers]
    builder = flatbuffers.Builder(1 << 17)
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())
