"""The generator of C tables: the shipped model, unsupported models, and damaged files."""

from __future__ import annotations

import copy
import math
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_edits import (
    B,
    Change,
    constant,
    operator,
    option,
    packed,
    scale,
    separable,
    shipped,
    tensor,
    tree,
    zero_point,
)

from mujo_edge.core import DataError
from mujo_edge.export.mcu import network
from mujo_edge.export.mcu.layers import quantized_multiplier

MODEL, SHIPPED = separable(), shipped()


def test_shipped_student_is_read() -> None:
    net = network.read(SHIPPED)
    assert (net.input.rows, net.input.channels) == (150, 6)
    assert (net.output.rows, net.output.channels) == (1, 96)
    # Rows x inputs x kernel x outputs of every convolution.
    convolutions = [(50, 6, 7, 40), (25, 40, 5, 64), (13, 64, 3, 80), (13, 80, 3, 88), (13, 88, 1, 160)]
    assert net.macs == sum(t * i * k * o for t, i, k, o in convolutions) + 160 * 96


def test_separable_student_is_read() -> None:
    net = network.read(MODEL)
    assert (net.input.rows, net.input.channels) == (150, 6)
    assert (net.output.rows, net.output.channels) == (1, 64)
    # 75 x 32 x 42 in the stem, then 5 a value of every depthwise and rows x in x out of every pointwise convolution.
    blocks = [(38, 32, 48), (38, 48, 64), (19, 64, 96), (19, 96, 96), (19, 96, 128)]
    assert net.macs == 75 * 32 * 42 + sum(t * i * (5 + o) for t, i, o in blocks) + 128 * 64
    assert [layer.kind for layer in net.layers].count("MUJO_ADD") == 1
    assert (net.layers[0].left, net.layers[0].right, net.layers[0].stride) == (3, 3, 2)


def test_header_has_the_numbers_of_the_file() -> None:
    text = network.header(network.read(SHIPPED))
    values = dict(re.findall(r"#define MUJO_(\w+) (\S+)", text))
    table = tree(SHIPPED)
    given, taken = (tensor(table, getattr(table.subgraphs[0], end)[0]) for end in ("inputs", "outputs"))
    for name, end in (("INPUT", given), ("OUTPUT", taken)):
        assert np.float32(values[f"{name}_SCALE"].rstrip("f")) == end.quantization.scale[0]
        assert int(values[f"{name}_ZERO"].strip("()")) == end.quantization.zeroPoint[0]
    assert (values["WINDOW"], values["CHANNELS"], values["EMBEDDING"]) == ("150", "6", "96")


@pytest.mark.parametrize("model", [MODEL, SHIPPED], ids=["separable", "shipped"])
def test_source_is_ascii_in_lines_of_120(model: bytes) -> None:
    text = network.source(network.read(model))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120
    assert text == network.source(network.read(model))


@pytest.mark.parametrize("model", [MODEL, SHIPPED], ids=["separable", "shipped"])
def test_live_signals_do_not_overlap(model: bytes) -> None:
    net = network.read(model)
    uses = [{signal.index for signal in layer.inputs} for layer in net.layers]
    live = {net.input.index}
    for n, layer in enumerate(net.layers):
        live |= {layer.output.index}
        needed = set().union(*uses[n:], {net.output.index}) & live
        spans = sorted(span(net, index) for index in needed)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert spans[0][0] >= 0
        assert spans[-1][1] <= net.arena_bytes


def span(net: network.Network, index: int) -> tuple[int, int]:
    """Bytes of a signal with its padding and the rows that a convolution reads after it."""
    signals = {signal.index: signal for layer in net.layers for signal in (*layer.inputs, layer.output)}
    readers = [layer for layer in net.layers if any(signal.index == index for signal in layer.inputs)]
    signal = signals[index]
    before = max((layer.left for layer in readers), default=0) * signal.channels
    after = max((layer.right for layer in readers), default=0) * signal.channels
    reads = [
        (layer.output.rows - 1) * layer.stride * signal.channels + layer.patch - layer.left * signal.channels
        for layer in readers
        if layer.patch
    ]
    start = net.places[index]
    return start - before, start + max(signal.rows * signal.channels + after, *reads, 0)


@pytest.mark.parametrize(
    ("real", "multiplier", "shift"),
    [
        (1.0, 2**30, 1),
        (0.5, 2**30, 0),
        (0.75, 3 * 2**29, 0),
        (1 - 2**-40, 2**30, 1),  # rounds up to 2**31
        (2**-31, 2**30, -30),
        (2**-33, 0, 0),  # too small for the shift
        (0.0, 0, 0),
    ],
)
def test_multipliers_of_known_numbers(real: float, multiplier: int, shift: int) -> None:
    assert quantized_multiplier(real) == (multiplier, shift)


@given(st.floats(2**-31, 2**10))
def test_multipliers_have_31_bit_precision(real: float) -> None:
    multiplier, shift = quantized_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    assert math.ldexp(multiplier, shift - 31) == pytest.approx(real, rel=2**-31)


@pytest.mark.parametrize("real", [-1.0, math.nan, math.inf])
def test_invalid_scales_are_rejected(real: float) -> None:
    with pytest.raises(DataError, match="a scale is"):
        quantized_multiplier(real)


def code_becomes(code: int, other: int) -> Change:
    def change(table: Any) -> None:
        entry = table.operatorCodes[operator(table, code).opcodeIndex]
        entry.builtinCode = entry.deprecatedBuiltinCode = other

    return change


def weights_with_a_zero_point(table: Any) -> None:
    tensor(table, operator(table, B.CONV_2D).inputs[1]).quantization.zeroPoint[0] = 1


def sum_too_large(table: Any) -> None:
    bias = table.buffers[tensor(table, operator(table, B.FULLY_CONNECTED).inputs[2]).buffer]
    bias.data = np.full(64, 2**30, "<i4").view(np.uint8)


def weights_gone(table: Any) -> None:
    table.buffers[tensor(table, operator(table, B.DEPTHWISE_CONV_2D).inputs[1]).buffer].data = None


def pad_of_channels(table: Any) -> None:
    constant(table, B.PAD, [[0, 0], [0, 0], [3, 3], [1, 0]])


def pad_before_an_addition(table: Any) -> None:
    padded, plain = operator(table, B.PAD, 1), operator(table, B.ADD)
    graph = table.subgraphs[0]
    extra = copy.deepcopy(tensor(table, plain.inputs[0]))
    extra.shape[2] += 4
    graph.tensors.append(extra)
    between = copy.deepcopy(padded)
    between.inputs[0], between.outputs[0] = plain.inputs[0], len(graph.tensors) - 1
    graph.operators.insert(graph.operators.index(plain), between)
    plain.inputs[0] = len(graph.tensors) - 1


def without_the_last_operator(table: Any) -> None:
    table.subgraphs[0].operators.pop()


def outputs_not_in_fours(table: Any) -> None:
    """A fully connected layer with 62 of its 64 outputs."""
    op = operator(table, B.FULLY_CONNECTED)
    for index, values in ((op.inputs[1], 62 * 128), (op.inputs[2], 62 * 4)):
        part = tensor(table, index)
        part.shape[0] = 62
        buffer = table.buffers[part.buffer]
        buffer.data = buffer.data[:values]
    tensor(table, op.outputs[0]).shape[1] = 62


REFUSED: list[tuple[str, Change]] = [
    ("operator SOFTMAX", code_becomes(B.MEAN, B.SOFTMAX)),
    ("operator MUL", code_becomes(B.ADD, B.MUL)),
    ("activation 3", option(B.CONV_2D, fusedActivationFunction=schema.ActivationFunctionType.RELU6)),
    ("with dilation", option(B.DEPTHWISE_CONV_2D, dilationWFactor=2)),
    ("from 150 to 75 rows", option(B.CONV_2D, strideW=1)),
    ("a convolution from", option(B.DEPTHWISE_CONV_2D, padding=schema.Padding.VALID)),
    ("FULLY_CONNECTED with weights", option(B.FULLY_CONNECTED, weightsFormat=1)),
    ("ReLU with the zero point 0", zero_point(B.CONV_2D, 0)),
    ("has the zero point 200", zero_point(B.FULLY_CONNECTED, 200)),
    ("PAD that changes", zero_point(B.PAD, 3)),
    ("TRANSPOSE that changes", scale(B.TRANSPOSE, 2.0)),
    ("scale that is not above 0", scale(B.CONV_2D, 0.0)),
    ("scale that is not above 0", scale(B.CONV_2D, math.inf)),
    ("less than twice that of the products", scale(B.CONV_2D, 1e-6)),
    ("ADD with too small an output scale", scale(B.ADD, 1e-9)),
    ("MEAN over 19 rows", scale(B.MEAN, 1e-6)),
    ("MEAN over the axes", lambda table: constant(table, B.MEAN, [1, 3])),
    ("TRANSPOSE other than that of the input", lambda table: constant(table, B.TRANSPOSE, [0, 1, 2, 3])),
    ("PAD of an axis other than time", pad_of_channels),
    ("PAD before an operator that is no convolution", pad_before_an_addition),
    ("weights with a zero point", weights_with_a_zero_point),
    ("a sum that does not fit", sum_too_large),
    ("is not a constant of int8", weights_gone),
    ("do not lead from the input", without_the_last_operator),
    ("FULLY_CONNECTED with 62 outputs", outputs_not_in_fours),
]


@pytest.mark.parametrize(("what", "change"), REFUSED, ids=[what for what, _ in REFUSED])
def test_unsupported_features_are_named(what: str, change: Change) -> None:
    table = tree(MODEL)
    change(table)
    with pytest.raises(DataError, match=f"cannot be written as C: .*{what}"):
        network.source(network.read(packed(table)))


def test_float_model_is_rejected() -> None:
    with pytest.raises(DataError, match="take the file with int8 input and output"):
        network.read(shipped("fp32"))


@pytest.mark.parametrize("model", [b"", b"no model", b"\0\0\0\0TFL3", MODEL[:5000]])
def test_damaged_file_is_a_data_error(model: bytes) -> None:
    with pytest.raises(DataError, match="export the bundle again"):
        network.read(model)


def test_any_bytes_are_read_or_rejected() -> None:
    # The tables that describe the network lie behind the weights, at the end of the file.
    tail = len(MODEL) - 8000
    pieces = damaged([MODEL[tail:]], 64).map(lambda end: MODEL[:tail] + end)

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged([MODEL]), pieces))
    def survives(model: bytes) -> None:
        try:
            net = network.read(model)
            network.source(net)
        except DataError:
            return
        assert net.layers

    survives()
