"""The network of a .tflite file as layers for which `firmware_bridge/firmware/student/mujo_network.c` has kernels.

Operators: TRANSPOSE to time-first (the layout of the window in C), PAD in time (merged into the next convolution),
CONV_2D and DEPTHWISE_CONV_2D with kernel (1, k), ADD, MEAN over time, FULLY_CONNECTED; each with ReLU or without.

Multipliers are computed as in TensorFlow Lite, in float64 from the float32 scales of the file: kernel_util.cc
(`PopulateConvolutionQuantizationParams`), internal/quantization_util.cc (`QuantizeMultiplier`), add.cc, and
internal/reference/reduce.h (`QuantizedMeanOrSum`), all in tensorflow/lite/kernels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mujo_edge.core import DataError

Ints = npt.NDArray[np.int64]

ADD_BITS = 20
"""`left_shift` in add.cc: bits by which both inputs are scaled up before they are brought to one scale."""

PATCH = 8
"""Inputs that the kernels multiply in one step."""

SUM_LIMIT = 2**30
"""Bound of the absolute value of a sum: the kernels double it in int32 before they multiply."""

TIME_FIRST = [0, 2, 3, 1]
"""Permutation (1, C, 1, T) -> (1, 1, T, C)."""


@dataclass(frozen=True, slots=True)
class Signal:
    """An int8 tensor (rows in time, channels); real value = scale * (q - zero)."""

    index: int
    rows: int
    channels: int
    scale: float
    zero: int


class Scale(NamedTuple):
    """An entry of `mujo_scale` in mujo_network.h."""

    bias: int
    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True)
class Layer:
    """An entry of `mujo_layers`; mujo_network.h describes the fields at `mujo_layer`."""

    kind: str
    inputs: tuple[Signal, ...]
    output: Signal
    scales: tuple[Scale, ...]
    weights: tuple[int, ...] = ()
    kernel: int = 1
    stride: int = 1
    left: int = 0
    right: int = 0

    @property
    def patch(self) -> int:
        """Input values of one output of a convolution, rounded up to a multiple of eight; 0 for other layers."""
        return up(self.kernel * self.inputs[0].channels, PATCH) if self.kind == "MUJO_CONV" else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates, not counting those with padding weights."""
        per_output = {"MUJO_CONV": self.kernel * self.inputs[0].channels, "MUJO_DEPTHWISE": self.kernel}
        return self.output.rows * self.output.channels * per_output.get(self.kind, 0)


def layers(model: bytes) -> tuple[Layer, ...]:
    """Layers in order of a .tflite file with int8 input (1, C, 1, T) or (1, 1, T, C) and int8 output (1, D).

    Raises:
        DataError: the file is damaged, or has an operator, a shape or a scale that the C kernels do not support.
    """
    if model[4:8] != b"TFL3":
        raise DataError("the model file is no .tflite file; export the bundle again")
    from ai_edge_litert import schema_py_generated as schema

    try:
        return _Reader(schema, schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))).layers()
    except (struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise DataError(f"the .tflite file is damaged ({error}); export the bundle again") from error


def quantized_multiplier(real: float) -> tuple[int, int]:
    """`QuantizeMultiplier`: real = multiplier / 2**31 * 2**shift, multiplier in 2**30 ... 2**31 - 1, or 0."""
    if not (math.isfinite(real) and real >= 0):
        raise unsupported(f"a scale is {real}")
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def unsupported(feature: str) -> DataError:
    """The error for a feature that the kernels do not support."""
    return DataError(f"the model cannot be written as C: {feature}. Train the student of this version of mujo-edge")


def up(n: int, unit: int) -> int:
    """`n` rounded up to a multiple of `unit`."""
    return -(-n // unit) * unit


class _Reader:
    """Follows the operators of a file's only subgraph."""

    def __init__(self, schema: Any, table: Any) -> None:
        self.schema, self.table, self.graph = schema, table, table.subgraphs[0]
        self.names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        # Tensor -> its signal, with the padding before and after it that the next convolution has to do.
        self.signals: dict[int, tuple[Signal, int, int]] = {}
        self.done: list[Layer] = []

    def layers(self) -> tuple[Layer, ...]:
        (source,), (target,) = self.graph.inputs.tolist(), self.graph.outputs.tolist()
        shape = self.shape(source)
        rows, channels = (shape[3], shape[1]) if shape[2] == 1 else (shape[2], shape[3])
        self.signals[source] = (self.signal(source, (rows, channels)), 0, 0)
        readers = {
            "TRANSPOSE": self.transpose,
            "PAD": self.pad,
            "CONV_2D": self.conv,
            "DEPTHWISE_CONV_2D": self.depthwise,
            "ADD": self.add,
            "MEAN": self.mean,
            "FULLY_CONNECTED": self.fully_connected,
        }
        for operator in self.graph.operators:
            code = self.table.operatorCodes[operator.opcodeIndex]
            name = self.names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unnamed")
            if name not in readers:
                raise unsupported(f"operator {name}")
            readers[name](operator.inputs.tolist(), int(operator.outputs[0]), operator.builtinOptions)
        if not self.done or self.done[-1].output.index != target or self.done[0].inputs[0].index != source:
            raise unsupported("its operators do not lead from the input to the output")
        return tuple(self.done)

    # Tensors

    def tensor(self, index: int) -> Any:
        if not 0 <= index < len(self.graph.tensors):
            raise IndexError(f"there is no tensor {index}")
        return self.graph.tensors[index]

    def shape(self, index: int) -> tuple[int, ...]:
        shape = tuple(int(n) for n in self.tensor(index).shape)
        if min(shape, default=0) < 1 or shape[0] != 1 or len(shape) not in (2, 4):
            raise unsupported(f"tensor {index} of shape {shape}")
        return shape

    def signal(self, index: int, shape: tuple[int, int] | None = None) -> Signal:
        """The signal of an int8 tensor, with `shape` (rows, channels) instead of the tensor's if given."""
        tensor, own = self.tensor(index), self.shape(index)
        if len(own) == 4 and own[1] != 1 and shape is None:
            raise unsupported(f"tensor {index} of shape {own}: height must be 1")
        rows, channels = shape or (1 if len(own) == 2 else own[2], own[-1])
        if tensor.type != self.schema.TensorType.INT8:
            raise unsupported(f"tensor {index} is not int8; take the file with int8 input and output")
        (scale,), (zero,) = self.scales(index), tensor.quantization.zeroPoint.tolist()
        if not -128 <= zero <= 127:
            raise unsupported(f"tensor {index} has the zero point {zero}")
        return Signal(index, rows, channels, scale, zero)

    def scales(self, index: int) -> list[float]:
        scales: list[float] = self.tensor(index).quantization.scale.astype(np.float64).tolist()
        if not all(math.isfinite(scale) and scale > 0 for scale in scales):
            raise unsupported(f"tensor {index} has a scale that is not above 0")
        return scales

    def constant(self, index: int, dtype: str) -> Ints:
        tensor = self.tensor(index)
        expected = self.schema.TensorType.INT8 if dtype == "i1" else self.schema.TensorType.INT32
        data = self.table.buffers[tensor.buffer].data
        if tensor.type != expected or data is None:
            raise unsupported(f"tensor {index} is not a constant of {'int8' if dtype == 'i1' else 'int32'}")
        return np.frombuffer(bytes(data), f"<{dtype}").reshape(tensor.shape).astype(np.int64)

    def plain(self, index: int) -> Signal:
        """The signal of a tensor without padding."""
        signal, left, right = self.signals[index]
        if left or right:
            raise unsupported("PAD before an operator that is no convolution")
        return signal

    def add_layer(self, layer: Layer, activation: int) -> None:
        kinds = self.schema.ActivationFunctionType
        if activation not in (kinds.NONE, kinds.RELU):
            raise unsupported(f"activation {activation}; only ReLU or none is supported")
        if activation == kinds.RELU and layer.output.zero != -128:
            raise unsupported(f"ReLU with the zero point {layer.output.zero}; it must be -128, the smallest int8")
        self.signals[layer.output.index] = (layer.output, 0, 0)
        self.done.append(layer)

    # Operators

    def transpose(self, inputs: list[int], output: int, options: Any) -> None:
        signal = self.plain(inputs[0])
        if self.constant(inputs[1], "i4").tolist() != TIME_FIRST or self.done or len(self.shape(output)) != 4:
            raise unsupported("a TRANSPOSE other than that of the input to time-first")
        self.same(self.signal(output), signal, "TRANSPOSE")
        self.signals[output] = (signal, 0, 0)

    def pad(self, inputs: list[int], output: int, options: Any) -> None:
        signal = self.plain(inputs[0])
        before, after = self.constant(inputs[1], "i4").reshape(-1, 2).T.tolist()
        left, right = before[2], after[2]
        if sum(before) != left or sum(after) != right or min(left, right) < 0 or len(self.shape(output)) != 4:
            raise unsupported("PAD of an axis other than time")
        padded = self.signal(output)
        self.same(padded, signal, "PAD", left + right)
        self.signals[output] = (signal, left, right)

    def same(self, output: Signal, signal: Signal, name: str, more: int = 0) -> None:
        if (output.rows - more, output.channels, output.scale, output.zero) != (
            signal.rows,
            signal.channels,
            signal.scale,
            signal.zero,
        ):
            raise unsupported(f"a {name} that changes the shape or the scale")

    def conv(self, inputs: list[int], output: int, options: Any) -> None:
        weights = self.constant(inputs[1], "i1")
        signal, result = self.signals[inputs[0]][0], self.signal(output)
        outputs, height, kernel, channels = weights.shape
        if height != 1 or channels != signal.channels or outputs != result.channels or outputs % 4:
            raise unsupported(
                f"CONV_2D with weights {weights.shape} on {signal.channels} channels; outputs must be a multiple of 4"
            )
        self.convolution("MUJO_CONV", inputs, result, options, kernel, weights.reshape(outputs, -1))

    def depthwise(self, inputs: list[int], output: int, options: Any) -> None:
        weights = self.constant(inputs[1], "i1")
        signal, result = self.signals[inputs[0]][0], self.signal(output)
        if (
            weights.shape[:2] != (1, 1)
            or not weights.shape[3] == signal.channels == result.channels
            or result.channels % 4
        ):
            raise unsupported(f"DEPTHWISE_CONV_2D with weights {weights.shape} on {signal.channels} channels")
        self.convolution("MUJO_DEPTHWISE", inputs, result, options, weights.shape[2], weights[0, 0].T)

    def fully_connected(self, inputs: list[int], output: int, options: Any) -> None:
        weights = self.constant(inputs[1], "i1")
        signal, result = self.plain(inputs[0]), self.signal(output)
        outputs, values = weights.shape
        if options.weightsFormat or (signal.rows, signal.channels) != (1, values) or outputs != result.channels:
            raise unsupported(f"FULLY_CONNECTED with weights {weights.shape} on {signal.rows} x {signal.channels}")
        if outputs % 4:
            raise unsupported(f"FULLY_CONNECTED with {outputs} outputs; it must be a multiple of four")
        self.add_layer(self.summing("MUJO_CONV", inputs, result, weights), options.fusedActivationFunction)

    def convolution(
        self, kind: str, inputs: list[int], result: Signal, options: Any, kernel: int, weights: Ints
    ) -> None:
        """Add a convolution; `weights` are (outputs, values of a patch)."""
        signal, left, right = self.signals[inputs[0]]
        stride = int(options.strideW)
        if options.dilationWFactor != 1 or stride < 1:
            raise unsupported("a convolution with dilation")
        if options.padding == self.schema.Padding.SAME:
            rows = signal.rows + left + right
            short = max((-(-rows // stride) - 1) * stride + kernel - rows, 0)
            left, right = left + short // 2, right + short - short // 2
        if (signal.rows + left + right - kernel) // stride + 1 != result.rows:
            raise unsupported(f"a convolution from {signal.rows} to {result.rows} rows")
        layer = self.summing(kind, inputs, result, weights)
        layer = replace(layer, kernel=kernel, stride=stride, left=left, right=right)
        self.add_layer(layer, options.fusedActivationFunction)

    def summing(self, kind: str, inputs: list[int], result: Signal, weights: Ints) -> Layer:
        """A layer of weighted sums, from weights (outputs, values): the input's zero point is folded into the bias, and
        the weights are put into the order in which the kernel reads them."""
        signal = self.signals[inputs[0]][0]
        outputs = len(weights)
        bias = np.zeros(outputs, np.int64)
        if len(inputs) > 2 and inputs[2] >= 0:
            bias = self.constant(inputs[2], "i4").reshape(outputs)
        bias = bias - signal.zero * weights.sum(1)
        if (np.abs(bias) + 128 * np.abs(weights).sum(1)).max() >= SUM_LIMIT:
            raise unsupported("a sum that does not fit 31 bits")
        if self.tensor(inputs[1]).quantization.zeroPoint.any():
            raise unsupported("weights with a zero point")
        reals = np.broadcast_to(self.scales(inputs[1]), outputs) * signal.scale / result.scale
        ordered = _interleaved(weights) if kind == "MUJO_CONV" else weights.T
        return Layer(kind, (signal,), result, _scales(bias.tolist(), reals.tolist()), tuple(ordered.ravel().tolist()))

    def add(self, inputs: list[int], output: int, options: Any) -> None:
        one, other, result = self.plain(inputs[0]), self.plain(inputs[1]), self.signal(output)
        if len({(signal.rows, signal.channels) for signal in (one, other, result)}) != 1:
            raise unsupported("ADD of different shapes")
        twice = 2 * max(one.scale, other.scale)
        reals = (one.scale / twice, other.scale / twice, twice / (2**ADD_BITS * result.scale))
        parts = [quantized_multiplier(real) for real in reals]
        if max(shift for _, shift in parts) > 0:
            raise unsupported("ADD with too small an output scale")
        biases = (-one.zero, -other.zero, result.zero)
        scales = tuple(Scale(bias, m, -shift) for bias, (m, shift) in zip(biases, parts, strict=True))
        self.add_layer(Layer("MUJO_ADD", (one, other), result, scales), options.fusedActivationFunction)

    def mean(self, inputs: list[int], output: int, options: Any) -> None:
        signal, result = self.plain(inputs[0]), self.signal(output)
        axes = {int(axis) % 4 for axis in self.constant(inputs[1], "i4").ravel()}
        if not {2} <= axes <= {1, 2} or (result.rows, result.channels) != (1, signal.channels):
            raise unsupported(f"MEAN over the axes {sorted(axes)}; only time is supported")
        multiplier, shift = quantized_multiplier(signal.scale / result.scale)
        bits = min(signal.rows.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // signal.rows, shift - bits
        if not -31 <= shift < 0 or signal.rows * 256 >= SUM_LIMIT:
            raise unsupported(f"MEAN over {signal.rows} rows from scale {signal.scale:g} to {result.scale:g}")
        scale = Scale(-signal.zero * signal.rows, multiplier, -shift - 1)
        self.add_layer(Layer("MUJO_MEAN", (signal,), result, (scale,)), self.schema.ActivationFunctionType.NONE)


def _scales(biases: Sequence[int], reals: Sequence[float]) -> tuple[Scale, ...]:
    """Scales of a layer's outputs. The kernels halve at least once, and round in the last halving."""
    parts = [quantized_multiplier(real) for real in reals]
    if any(shift >= 0 for multiplier, shift in parts if multiplier):
        raise unsupported("an output scale of less than twice that of the products")
    return tuple(Scale(bias, m, max(-shift - 1, 0)) for bias, (m, shift) in zip(biases, parts, strict=True))


def _interleaved(weights: Ints) -> Ints:
    """(outputs, values) -> (outputs / 2, values / 4, 2, 4), padded with zeros: two outputs in turns of four values."""
    outputs, values = weights.shape
    full = np.zeros((outputs, up(values, PATCH)), np.int64)
    full[:, :values] = weights
    return full.reshape(outputs // 2, 2, -1, 4).swapaxes(1, 2)
