"""The bundle's int8 .tflite for apps: with float32 input and output, and with metadata that describes its use.

A .tflite file is a flatbuffer. Layout: tensorflow/compiler/mlir/lite/schema/schema.fbs of TensorFlow, read and written
with the code that ships in ai-edge-litert. TensorFlow Lite's standard metadata is a flatbuffer in a metadata buffer of
the file; its layout is metadata_schema.fbs of TensorFlow's tflite-support, version 1.0.0.
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
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mujo_edge.core import DataError
from mujo_edge.export import CONTRACT, Job, contract

SIGNATURE = "embed"
INPUT, OUTPUT = "imu", "embedding"
"""Name of the file's only signature, and of its tensors."""

METADATA, IDENTIFIER = "TFLITE_METADATA", b"M001"
"""Name of the buffer with the standard metadata, and its file identifier."""

# Numbers of the metadata schema: enumerators, and members of unions.
DESCRIPTIONS = 1
FEATURE_PROPERTIES = 1
NORMALIZATION_OPTIONS = 1


def float_io(model: bytes) -> bytes:
    """An int8 .tflite file -> the same network with float32 input and output.

    A QUANTIZE is added in front and a DEQUANTIZE behind. In LiteRT they equal what `mujo_edge.runtimes.tflite` does
    around the int8 file bit for bit: XNNPACK multiplies by 1 / scale and rounds halves to even, as `numpy.rint` does.
    The reference kernels of TensorFlow Lite (tflite-runtime, tflite-micro) divide and round halves away from zero, so
    that a sample within a float32 rounding of the middle of two steps may be one step off there.
    The signature becomes `SIGNATURE` with input "imu" and output "embedding", with unchanged shapes.

    Raises:
        DataError: not a whole .tflite file with one int8 input and one int8 output.
    """
    with _data_errors():
        table, graph = _unpack(model)
        for end, index in (("input", graph.inputs[0]), ("output", graph.outputs[0])):
            if graph.tensors[index].type != schema.TensorType.INT8:
                raise ValueError(f"its {end} is not int8")
        float_in, float_out = _float_twin(graph, graph.inputs[0], INPUT), _float_twin(graph, graph.outputs[0], OUTPUT)
        quantize = _operator(table, schema.BuiltinOperator.QUANTIZE, 1, float_in, graph.inputs[0])
        dequantize = _operator(table, schema.BuiltinOperator.DEQUANTIZE, 2, graph.outputs[0], float_out)
        graph.operators = [quantize, *graph.operators, dequantize]
        graph.inputs, graph.outputs = [float_in], [float_out]
        table.signatureDefs = [_signature(float_in, float_out)]
        return _pack(table)


def described(model: bytes, job: Job) -> bytes:
    """A .tflite file -> the same network with metadata.

    Added are mujo.json (`mujo_edge.export.contract`) as a metadata buffer of that name, and TensorFlow Lite's standard
    metadata with the label files. These are in a zip archive that is appended to the flatbuffer, as TensorFlow's
    metadata tools do it: any unzip program opens the .tflite file.

    Raises:
        DataError: not a whole .tflite file with one input and one output.
    """
    text = json.dumps(contract(job), ensure_ascii=False, separators=(",", ":"))
    with _data_errors():
        table, _ = _unpack(model)
        _embed(table, CONTRACT, text.encode())
        _embed(table, METADATA, metadata(job))
        packed = io.BytesIO(_pack(table))
    with zipfile.ZipFile(packed, "a") as archive:
        for name, content in label_files(job).items():
            archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980, so that exports are reproducible
    return packed.getvalue()


def embedded(model: bytes, name: str) -> bytes | None:
    """A .tflite file's metadata buffer of that name; None where it has none. Raises `DataError`."""
    with _data_errors():
        table, _ = _unpack(model)
        indices = [entry.buffer for entry in table.metadata or () if entry.name == name.encode()]
        return bytes(table.buffers[indices[0]].data) if indices else None


@contextmanager
def _data_errors() -> Iterator[None]:
    """Turn the errors of reading and writing broken flatbuffers into `DataError`."""
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise DataError(f"the model file is damaged or unsupported: {error}. Export the bundle again") from error


def _unpack(model: bytes) -> tuple[Any, Any]:
    """The file as objects: the model and its only graph, which has one input and one output."""
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


def _operator(table: Any, builtin: int, version: int, source: int, target: int) -> Any:
    """An operator of one input and one output; `version` from TensorFlow's lite/tools/versioning/op_version.cc."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    table.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(table.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _signature(source: int, target: int) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.inputs, signature.outputs = [_named(INPUT, source)], [_named(OUTPUT, target)]
    return signature


def _named(name: str, index: int) -> Any:
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name, index
    return tensor


def _embed(table: Any, name: str, content: bytes) -> None:
    """Add a metadata buffer, or replace the content of that name."""
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
    """A buffer at a multiple of 16 bytes, which schema.fbs requires and the generated code does not ensure."""

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
    """The file of a model's objects."""
    table.buffers = [_Aligned(buffer.data, buffer.offset, buffer.size) for buffer in table.buffers]
    builder = flatbuffers.Builder(1 << 17)
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def label_files(job: Job) -> dict[str, bytes]:
    """One file per label set, by name, with one label per line in the order of the prototypes."""
    return {
        label_file(name): "".join(f"{label.name}\n" for label in labels.labels).encode()
        for name, labels in job.manifest.label_sets.items()
    }


def label_file(label_set: str) -> str:
    """Name of a label set's label file."""
    return f"labels-{label_set}.txt"


def metadata(job: Job) -> bytes:
    """The flatbuffer ModelMetadata of a model of the bundle, whose graph has one input and one output.

    The input's process unit has the first step of `mujo_edge.signal.prepare`, (x - 0) / scale; its range has the
    limits to which x is clipped next. The label files belong to the model and not to the output, which has no axis of
    labels.
    """
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write(builder, _model(job)), IDENTIFIER)
    return bytes(builder.Output())


def _model(job: Job) -> tuple[Any, ...]:
    """ModelMetadata in the form that `_write` takes: a tuple is a table, with its fields in the order of the schema."""
    manifest, spec = job.manifest, job.manifest.input
    labels = [
        (label_file(name), f"labels of {name} in the order of its prototypes", DESCRIPTIONS)
        for name in manifest.label_sets
    ]
    clip = np.full(1, spec.clip, np.float32)
    normalization = (np.zeros(len(spec.channels), np.float32), np.array(spec.scale, np.float32))
    input_tensor = (
        "imu",
        f"{spec.window} samples at {spec.rate_hz:g} Hz of {' '.join(spec.channels)}: m/s2 with gravity, rad/s, 0 where "
        f"there is no gyroscope; each divided by its scale, then clipped to +-{spec.clip:g}",
        ["batch", "channel", "row", "time"],
        _CONTENT,
        [(NORMALIZATION_OPTIONS, normalization)],
        (clip, -clip),
    )
    output_tensor = (
        "embedding",
        "divide by its length; its dot product with each prototype in the metadata buffer mujo.json is a cosine",
        ["batch", "feature"],
        _CONTENT,
    )
    graph = ("embed", None, [input_tensor], [output_tensor])
    description = (
        f"Human activity from a window of {spec.window / spec.rate_hz:g} s of a wearable's IMU. The metadata buffer "
        "mujo.json has rate, units, axes, scale, label sets with prototypes and thresholds, and smoothing."
    )
    license = "Apache-2.0; for the data it was trained on see LICENSES.md and MODEL_CARD.md, which come with it"
    author = "The mujo-edge authors"
    return (manifest.name, description, manifest.version, [graph], author, license, labels, "1.0.0")


_CONTENT = (FEATURE_PROPERTIES, ())
"""Content of a tensor that is neither an image nor a box."""


def _write(builder: Any, value: str | tuple[Any, ...] | list[Any] | Any) -> int:
    """Write a string, a table (tuple: fields in order, None absent, int as a byte), a vector of these (list) or a
    vector of numbers (array) -> its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    fields = [field if field is None or isinstance(field, int) else (_write(builder, field),) for field in value]
    builder.StartObject(len(fields))
    for number, field in enumerate(fields):
        if isinstance(field, tuple):
            builder.PrependUOffsetTRelativeSlot(number, field[0], 0)
        elif field is not None:
            builder.PrependInt8Slot(number, field, 0)
    return int(builder.EndObject())
