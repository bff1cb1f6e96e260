"""A .tflite unpacked, modified and packed again (schema of tensorflow/compiler/mlir/lite)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mujo_edge.bundle.manifest import read_manifest

B = schema.BuiltinOperator
Change = Callable[[Any], None]


def shipped(precision: str = "int8") -> bytes:
    manifest = read_manifest(None)
    (file,) = (m.file for m in manifest.models if m.runtime == "litert" and m.precision == precision)
    return (manifest.folder / file).read_bytes()


def separable() -> bytes:
    """The student of bundle 0.4.0: depthwise convolutions, an addition and paddings, which the shipped one has not."""
    return (Path(__file__).parent / "networks" / "separable_int8.tflite").read_bytes()


def tree(model: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))


def packed(table: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 17)
    builder.Finish(table.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator(table: Any, code: int, nth: int = 0) -> Any:
    """The nth operator of a kind."""
    matching = [op for op in table.subgraphs[0].operators if table.operatorCodes[op.opcodeIndex].builtinCode == code]
    return matching[nth]


def tensor(table: Any, index: int) -> Any:
    return table.subgraphs[0].tensors[index]


def output(table: Any, code: int, nth: int = 0) -> Any:
    return tensor(table, operator(table, code, nth).outputs[0])


def constant(table: Any, code: int, values: Any) -> None:
    """Other content of an operator's second input, int32."""
    data = np.asarray(values, "<i4").ravel().view(np.uint8)
    table.buffers[tensor(table, operator(table, code).inputs[1]).buffer].data = data


def zero_point(code: int, zero: int, nth: int = 0) -> Change:
    def change(table: Any) -> None:
        output(table, code, nth).quantization.zeroPoint[:] = zero

    return change


def scale(code: int, factor: float, nth: int = 0) -> Change:
    def change(table: Any) -> None:
        output(table, code, nth).quantization.scale *= np.float32(factor)

    return change


def option(code: int, **values: int) -> Change:
    return lambda table: vars(operator(table, code).builtinOptions).update(values)
