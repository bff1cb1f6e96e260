"""The C student against TensorFlow Lite's reference kernels, bit for bit, on this machine and on a Cortex-M in QEMU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_edits import B, Change, operator, option, packed, scale, separable, tensor, tree, zero_point

from firmware_bridge.simulator import student
from firmware_bridge.simulator.student import Int8
from mujo_edge.bundle import ModelBundle
from mujo_edge.export.mcu import network
from mujo_edge.export.mcu.layers import Signal
from mujo_edge.recordings.reader import open_recording
from mujo_edge.signal import prepare
from mujo_edge.sources.replay import shipped_recording

HOP = 7
GENERATED = 200
TRAPPED = ("-g", "-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined")
"""clang's sanitizer without its runtime, which is a Debian package of its own."""

COMPILERS = [("gcc", "-O2"), ("gcc", "-Os"), ("clang", "-O2"), ("gcc", *student.SANITIZED), ("clang", *TRAPPED)]
MACHINES = [
    ["g++", "-x", "c++", "-std=c++11"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mcpu=cortex-m0plus", "-mthumb"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mcpu=cortex-m33", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mcpu=cortex-m4", "-mthumb", "-mbig-endian"],
    ["clang", "--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-ffreestanding"],
    ["clang", "--target=riscv32", "-ffreestanding"],
    ["clang", "--target=msp430", "-ffreestanding"],  # int of 16 bits
]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


@pytest.fixture(scope="module")
def model(bundle: ModelBundle) -> bytes:
    return (bundle.manifest.folder / bundle.manifest.model("litert").file).read_bytes()


@pytest.fixture(scope="module")
def net(model: bytes) -> network.Network:
    return network.read(model)


def written(net: network.Network, folder: Path) -> Path:
    """The sources of the network as in a microcontroller's artifact."""
    for name in ("mujo_network.c", "mujo_network.h"):
        shutil.copy(student.FIRMWARE / "student" / name, folder)
    (folder / "mujo_model.h").write_text(network.header(net))
    (folder / "mujo_model.c").write_text(network.source(net))
    return folder


@pytest.fixture(scope="module")
def sources(net: network.Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(net, tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def windows(bundle: ModelBundle, net: network.Network) -> Int8:
    """(N, T, C): more than 1,000 real windows, then generated ones."""
    x = np.concatenate([chunk.x for chunk in open_recording(shipped_recording(), None).chunks(1 << 18)])
    cut = np.lib.stride_tricks.sliding_window_view(x, bundle.input.window, axis=0)[::HOP]
    with np.load(bundle.manifest.folder / "reference.npz") as reference:
        real = np.concatenate([cut.astype(np.float32), reference["x"]])
    assert len(real) >= 1000
    return np.concatenate([quantized(prepare(real, bundle.input)[:, :, 0], net), generated(net)])


def quantized(x: np.ndarray, net: network.Network) -> Int8:
    """(N, C, T) prepared -> (N, T, C) int8, see docs/bundles.md."""
    values = np.clip(np.rint(x / net.input.scale) + net.input.zero, -128, 127).astype(np.int8)
    return np.ascontiguousarray(values.swapaxes(1, 2))


def generated(net: network.Network) -> Int8:
    """Noise of every loudness, all -128, all 127, and both at random."""
    rng = np.random.default_rng(5)
    shape = (GENERATED, net.input.rows, net.input.channels)
    loud = rng.normal(0, rng.uniform(1, 90, (GENERATED, 1, 1)), shape).clip(-128, 127).astype(np.int8)
    extremes = np.where(rng.random(shape) < 0.5, -128, 127).astype(np.int8)
    ends = np.stack([np.full(shape[1:], value, np.int8) for value in (-128, 127)])
    return np.concatenate([loud, rng.integers(-128, 128, shape, np.int8), extremes[:20], ends])


def model_input(window: Int8) -> Int8:
    """(T, C) -> (1, C, 1, T)"""
    return np.ascontiguousarray(window.T)[None, :, None]


@pytest.fixture(scope="module")
def expected(model: bytes, windows: Int8) -> Int8:
    """(N, D) from tflite-micro, whose x86 build has the reference kernels."""
    return micro(model, windows)


def micro(model: bytes, windows: Int8) -> Int8:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 18)
    rows = []
    for window in windows:
        interpreter.set_input(model_input(window), 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0)[0].copy())
    return np.array(rows)


class Library:
    """The student as a shared library."""

    def __init__(self, sources: Path, net: network.Network, folder: Path) -> None:
        path = folder / "student.so"
        files = [sources / name for name in student.FILES]
        subprocess.run(["gcc", "-std=c99", "-O2", "-shared", "-fPIC", *files, "-o", path], check=True)
        self.c, self.net = ctypes.CDLL(str(path)), net
        self.arena = np.zeros(net.arena_bytes, np.int8)

    def run(self, ring: Int8, oldest: int) -> Int8:
        embedding = np.zeros(self.net.output.channels, np.int8)
        self.c.mujo_network_run(pointer(ring), ctypes.c_uint16(oldest), pointer(embedding), pointer(self.arena))
        return embedding

    def signal(self, signal: Signal) -> Int8:
        """The values of a signal in the arena, (rows, channels)."""
        place = self.net.places[signal.index]
        return self.arena[place : place + signal.rows * signal.channels].reshape(signal.rows, signal.channels)


def pointer(array: Int8) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.fixture
def library(sources: Path, net: network.Network, tmp_path: Path) -> Library:
    return Library(sources, net, tmp_path)


def with_tool(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


@pytest.mark.parametrize("compiler", COMPILERS, ids=" ".join)
def test_network_equals_the_reference_kernels(
    compiler: tuple[str, ...], sources: Path, windows: Int8, expected: Int8
) -> None:
    cc, *flags = compiler
    with_tool(cc)
    np.testing.assert_array_equal(student.host(sources, windows, cc, flags), expected)


def test_network_equals_litert_reference_kernels_within_the_last_rounding(
    model: bytes, library: Library, net: network.Network, windows: Int8, expected: Int8
) -> None:
    """Every signal of LiteRT's reference resolver but the last is the same. Its FULLY_CONNECTED with a scale a channel
    rounds once, as common.cc does with TFLITE_SINGLE_ROUNDING; tflite-micro's rounds twice, as all others in both."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    *before, last = net.layers
    (weights,) = [
        interpreter.get_tensor(detail["index"]).astype(np.int64)
        for detail in interpreter.get_tensor_details()
        if tuple(detail["shape"]) == (last.output.channels, last.inputs[0].channels)
    ]
    scales = np.array(last.scales, np.int64)
    for window, embedding in zip(windows[::4], expected[::4], strict=True):
        interpreter.set_tensor(input_index, model_input(window))
        interpreter.invoke()
        library.c.mujo_network_load(pointer(window), 0, pointer(library.arena))
        for n, layer in enumerate(before):
            library.c.mujo_network_layer(n, pointer(library.arena))
            reference = interpreter.get_tensor(layer.output.index).reshape(layer.output.rows, layer.output.channels)
            np.testing.assert_array_equal(library.signal(layer.output), reference)
        bias, multiplier, shift = scales.T
        sums = weights @ library.signal(last.inputs[0])[0].astype(np.int64) + bias
        once = ((sums * multiplier >> (31 + shift)) + 1) >> 1
        taken = interpreter.get_tensor(last.output.index)[0]
        np.testing.assert_array_equal(taken, np.clip(once + last.output.zero, -128, 127))
        assert np.abs(taken.astype(int) - embedding).max() <= 1


def test_ring_may_start_at_any_row(library: Library, windows: Int8, expected: Int8) -> None:
    rows = len(windows[0])
    for n, oldest in enumerate((0, 1, 77, rows - 1)):
        ring = np.roll(windows[n], oldest, axis=0)
        before = ring.copy()
        np.testing.assert_array_equal(library.run(ring, oldest), expected[n])
        np.testing.assert_array_equal(ring, before)


def test_previous_content_of_the_arena_does_not_matter(library: Library, windows: Int8, expected: Int8) -> None:
    rng = np.random.default_rng(1)
    for n in range(20):
        library.arena[:] = rng.integers(-128, 128, len(library.arena))
        np.testing.assert_array_equal(library.run(windows[n], 0), expected[n])


def test_layers_run_one_by_one_give_the_same_embedding(
    library: Library, net: network.Network, windows: Int8, expected: Int8
) -> None:
    ring = windows[3].copy()
    library.c.mujo_network_load(pointer(ring), 0, pointer(library.arena))
    ring[:] = 0
    for layer in range(len(net.layers)):
        library.c.mujo_network_layer(ctypes.c_uint16(layer), pointer(library.arena))
    embedding = np.zeros_like(expected[3])
    library.c.mujo_network_take(pointer(embedding), pointer(library.arena))
    np.testing.assert_array_equal(embedding, expected[3])


def same_padding(table: Any) -> None:
    """The stem with the padding that TensorFlow calls SAME: 2 rows before and 3 after, in place of 3 and 3."""
    option(B.CONV_2D, padding=schema.Padding.SAME)(table)
    stem, pad = operator(table, B.CONV_2D), operator(table, B.PAD)
    stem.inputs = np.array([pad.inputs[0], *stem.inputs[1:]], np.int32)
    table.subgraphs[0].operators.remove(pad)


def an_output_without_weights(table: Any) -> None:
    """A channel that is always zero: its scale and its multiplier are almost zero."""
    weights = tensor(table, operator(table, B.CONV_2D).inputs[1])
    table.buffers[weights.buffer].data[: 7 * 6] = 0
    weights.quantization.scale[0] = np.float32(1e-12)


def input_zero_point(table: Any) -> None:
    tensor(table, table.subgraphs[0].inputs[0]).quantization.zeroPoint[:] = 17


CHANGES: dict[str, Sequence[Change]] = {
    "mean": [scale(B.MEAN, 1.37), zero_point(B.MEAN, -97)],
    "smaller mean": [scale(B.MEAN, 0.61)],
    "addition": [scale(B.ADD, 0.83), scale(B.CONV_2D, 0.31, 4), zero_point(B.CONV_2D, -41, 4)],
    "addition without ReLU": [
        option(B.ADD, fusedActivationFunction=schema.ActivationFunctionType.NONE),
        zero_point(B.ADD, 11),
    ],
    "input": [input_zero_point, zero_point(B.TRANSPOSE, 17), zero_point(B.PAD, 17)],
    "padding": [same_padding],
    "no weights": [an_output_without_weights],
}


@pytest.mark.parametrize("name", CHANGES)
def test_random_scales_zero_points_and_paddings_equal_the_reference(name: str, tmp_path: Path) -> None:
    table = tree(separable())
    for change in CHANGES[name]:
        change(table)
    model = packed(table)
    net = network.read(model)
    windows = generated(net)
    expected = micro(model, windows)
    assert len(np.unique(expected, axis=0)) > GENERATED
    np.testing.assert_array_equal(student.host(written(net, tmp_path), windows), expected)


def test_student_of_another_shape_equals_the_reference(tmp_path: Path) -> None:
    """Odd rows, other kernels, two additions, an embedding of 24."""
    import torch

    from training.models.student import Student, StudentConfig
    from training.release.quantize import quantize_litert

    torch.manual_seed(0)
    blocks = ((24, 3, 1), (24, 7, 1), (32, 3, 2), (32, 5, 1))
    other = Student(StudentConfig(stem=16, stem_kernel=5, blocks=blocks, embedding=24)).eval()
    calibration = np.random.default_rng(0).normal(0, 1, (16, 6, 1, 131)).astype(np.float32)
    model = quantize_litert(other, calibration)
    net = network.read(model)
    assert (net.input.rows, net.output.channels) == (131, 24)
    assert [layer.kind for layer in net.layers].count("MUJO_ADD") == 2
    windows = generated(net)
    np.testing.assert_array_equal(student.host(written(net, tmp_path), windows), micro(model, windows))


@pytest.mark.parametrize("machine", MACHINES, ids=" ".join)
def test_network_compiles_without_warnings(machine: list[str], sources: Path, tmp_path: Path) -> None:
    with_tool(machine[0])
    if machine[0] == "g++":
        command = [*student.STRICT[1:], "-fsyntax-only", sources / "mujo_network.h"]
    else:
        command = [*student.STRICT, "-O2", "-c", *(sources / name for name in student.FILES)]
    done = subprocess.run([*machine, *command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.qemu
def test_cortex_m4_gives_the_same_embedding_in_fewer_than_3_instructions_per_product(
    sources: Path, net: network.Network, windows: Int8, expected: Int8
) -> None:
    with_tool("arm-none-eabi-gcc")
    with_tool("qemu-system-arm")
    some = np.r_[0 : len(windows) : 5, len(windows) - 30 : len(windows)]
    batch = student.cortex_m(sources, windows[some])
    np.testing.assert_array_equal(batch.embeddings, expected[some])
    assert len(some) >= 300
    # What is counted does not depend on the machine that counts.
    assert batch.instructions.max() < 3 * net.macs
    assert abs(batch.layers.sum() / batch.instructions[0] - 1) < 0.01
    assert 0 < batch.stack_bytes < 2048


@pytest.mark.qemu
@pytest.mark.parametrize("flags", ["-O2", "-Os"])
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
def test_other_cortex_m_builds_give_the_same_embedding(
    cpu: str, flags: str, sources: Path, windows: Int8, expected: Int8
) -> None:
    with_tool("arm-none-eabi-gcc")
    with_tool("qemu-system-arm")
    some = np.r_[0 : len(windows) : 100, len(windows) - 4 : len(windows)]
    np.testing.assert_array_equal(student.cortex_m(sources, windows[some], cpu, [flags]).embeddings, expected[some])


def test_network_fits_its_size_limits(sources: Path, net: network.Network) -> None:
    with_tool("arm-none-eabi-gcc")
    actual = student.sizes(sources)
    assert actual.text + actual.rodata <= 92_000
    assert (actual.data, actual.bss) == (0, 0)
    assert net.arena_bytes <= 12 * 1024


def test_compiler_errors_are_reported(sources: Path, windows: Int8, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(sources, broken)
    (broken / "mujo_model.c").write_text("int")
    with pytest.raises(OSError, match=r"gcc failed:\n.*mujo_model\.c"):
        student.host(broken, windows[:1])
    with pytest.raises(FileNotFoundError, match="no-such-cc is not installed"):
        student.host(sources, windows[:1], cc="no-such-cc")
    (broken / "mujo_model.h").write_text("")
    with pytest.raises(OSError, match="does not define MUJO_EMBEDDING; export again"):
        student.host(broken, windows[:1])


def test_sanitizer_errors_are_reported(sources: Path, windows: Int8, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(sources, broken)
    header = broken / "mujo_model.h"
    header.write_text(header.read_text().replace("#define MUJO_ARENA_BYTES ", "#define MUJO_ARENA_BYTES 99 //"))
    with pytest.raises(OSError, match="Sanitizer"):
        student.host(broken, windows[:1], flags=student.SANITIZED)
