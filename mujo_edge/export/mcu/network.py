"""The int8 .tflite as C tables: mujo_model.h and mujo_model.c for `firmware_bridge/firmware/student/mujo_network.c`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np

from mujo_edge.export.mcu.layers import PATCH, Layer, Signal, layers, unsupported, up

WRITTEN = "Written by mujo-edge export; see mujo_network.h."

ALIGNED = "union {{\n    int8_t values[{}];\n    int32_t aligned;\n}}"
"""Declaration of bytes with the alignment of an int32_t."""


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in order, and `places`: signal -> offset in the arena in bytes of its first value after the padding."""

    layers: tuple[Layer, ...]
    places: dict[int, int]
    arena_bytes: int

    @property
    def input(self) -> Signal:
        """The signal of the window."""
        return self.layers[0].inputs[0]

    @property
    def output(self) -> Signal:
        """The signal of the embedding."""
        return self.layers[-1].output

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one window."""
        return sum(layer.macs for layer in self.layers)


def read(model: bytes) -> Network:
    """The network of a .tflite file. Raises `DataError` as `layers`."""
    chain = layers(model)
    return Network(chain, *_places(chain))


def _places(layers: Sequence[Layer]) -> tuple[dict[int, int], int]:
    """Offset of each signal in the arena, and the arena's size in bytes.

    Greedy by size: each signal, largest first, at the lowest offset that is free during its lifetime.
    """
    born = {layers[0].inputs[0].index: -1} | {layer.output.index: at for at, layer in enumerate(layers)}
    signals = {signal.index: signal for layer in layers for signal in (*layer.inputs, layer.output)}
    dies, left, right = dict(born), dict.fromkeys(signals, 0), dict.fromkeys(signals, 0)
    for at, layer in enumerate(layers):
        for signal in layer.inputs:
            dies[signal.index] = at
            left[signal.index] = max(left[signal.index], layer.left * signal.channels)
            right[signal.index] = max(right[signal.index], layer.right * signal.channels)
    dies[layers[-1].output.index] = len(layers)
    # A convolution reads its last patch in multiples of eight.
    size = {i: up(left[i] + s.rows * s.channels + right[i] + PATCH - 1, 4) for i, s in signals.items()}
    starts: dict[int, int] = {}
    for i in sorted(signals, key=lambda i: (-size[i], i)):
        taken = sorted((starts[j], size[j]) for j in starts if born[j] <= dies[i] and born[i] <= dies[j])
        start = 0
        for other, length in taken:
            if start + size[i] <= other:
                break
            start = max(start, other + length)
        starts[i] = start
    total = max(starts[i] + size[i] for i in signals)
    return {i: starts[i] + left[i] for i in signals}, total


def header(network: Network) -> str:
    """mujo_model.h: the constants of the network."""
    source, target = network.input, network.output
    values = {
        "WINDOW": source.rows,
        "CHANNELS": source.channels,
        "INPUT_SCALE": f"{np.float32(source.scale)!s}f",
        "INPUT_ZERO": f"({source.zero})",
        "EMBEDDING": target.channels,
        "OUTPUT_SCALE": f"{np.float32(target.scale)!s}f",
        "OUTPUT_ZERO": f"({target.zero})",
        "LAYERS": len(network.layers),
        "ARENA_BYTES": network.arena_bytes,
        "LONGEST_PATCH": max(layer.patch for layer in network.layers),
        "MACS": network.macs,
    }
    lines = "".join(f"#define MUJO_{name} {value}\n" for name, value in values.items())
    return f"/* {WRITTEN} */\n#ifndef MUJO_MODEL_H\n#define MUJO_MODEL_H\n\n{lines}\n#endif\n"


def source(network: Network) -> str:
    """mujo_model.c: weights and the table of layers."""
    tables, entries = [], []
    for n, layer in enumerate(network.layers):
        entry = {
            "kind": layer.kind,
            "weights": f"weights_{n}.values" if layer.weights else "0",
            "scales": f"scales_{n}",
        }
        if layer.weights:
            values = _lines(map(str, layer.weights))
            tables.append(f"static const {ALIGNED.format(len(layer.weights))} weights_{n} = {{{{\n{values}}}}};\n")
        scales = _lines(f"{{{scale.bias}, {scale.multiplier}, {scale.shift}}}" for scale in layer.scales)
        tables.append(f"static const mujo_scale scales_{n}[{len(layer.scales)}] = {{\n{scales}}};\n")
        for name, (value, most) in _numbers(layer, network.places).items():
            if not 0 <= value <= most:
                raise unsupported(f"layer {n} has {name} {value}")
            entry[name] = str(value)
        entry |= {"zero": str(layer.inputs[0].zero), "zero_out": str(layer.output.zero)}
        entries.append(_lines(f".{name} = {value}" for name, value in entry.items()))
    listed = "".join(f"    {{\n{entry}}},\n" for entry in entries)
    tables.append(f"const mujo_layer mujo_layers[MUJO_LAYERS] = {{\n{listed}}};\n")
    return f'/* {WRITTEN} */\n#include "mujo_network.h"\n\n' + "\n".join(tables)


def _numbers(layer: Layer, places: Mapping[int, int]) -> dict[str, tuple[int, int]]:
    """Fields of `mujo_layer`, each with its largest possible value."""
    signal, other = layer.inputs[0], layer.inputs[-1]
    short = {
        "in": places[signal.index] - layer.left * signal.channels,
        "other": places[other.index],
        "out": places[layer.output.index],
        "rows_in": signal.rows,
        "rows": layer.output.rows,
        "channels_in": signal.channels,
        "channels": layer.output.channels,
    }
    byte = {"kernel": layer.kernel, "stride": layer.stride, "left": layer.left, "right": layer.right}
    return {name: (value, 0xFFFF) for name, value in short.items()} | {name: (v, 0xFF) for name, v in byte.items()}


def _lines(items: Iterable[str]) -> str:
    """Items separated by commas, on lines of at most 120 characters."""
    return fill(", ".join(items), 120, initial_indent="    ", subsequent_indent="    ") + "\n"
