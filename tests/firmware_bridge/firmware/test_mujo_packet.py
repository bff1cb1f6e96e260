"""The C header compared with golden bytes and its Python twin, with sanitizers, for several architectures."""

from __future__ import annotations

import ctypes
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import MANY, damaged
from hypothesis import given
from hypothesis import strategies as st

import firmware_bridge
from firmware_bridge.protocol import packet, predictions
from firmware_bridge.protocol.framing import cobs_decode, cobs_encode
from firmware_bridge.stream import DEG, CodecError, DeviceModelInfo, DevicePrediction, G

FIRMWARE = Path(firmware_bridge.__file__).parent / "firmware"
HERE = Path(__file__).parent
GOLDEN = json.loads((HERE.parents[1] / "golden" / "packets.json").read_text())
PAYLOADS = [bytes.fromhex(case["payload"]) for case in GOLDEN["packets"]]
FRAMES = [bytes.fromhex(case["frame"])[:-1] for kind in ("packets", "cobs") for case in GOLDEN[kind]]
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Werror", "-pedantic", f"-I{FIRMWARE}"]
EXPORTED = '#define MUJO_API\n#include "mujo_packet.h"\n'
MACHINES = [
    ["gcc"],
    ["clang"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mcpu=cortex-m0", "-mthumb"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    ["arm-none-eabi-gcc", "-ffreestanding", "-mbig-endian"],
    [
        "clang",
        "--target=avr",
        "-mmcu=atmega328p",
        "-ffreestanding",
        "-nostdlib",
        "-Wno-avr-rtlib-linking-quirks",
    ],  # int of 16 bits, double of 32
    ["clang", "--target=msp430", "-ffreestanding"],
    ["clang", "--target=s390x", "-ffreestanding"],  # big endian
]


class Decoded(ctypes.Structure):
    _fields_ = (
        ("channels", ctypes.c_uint8),
        ("samples", ctypes.c_uint8),
        ("seq", ctypes.c_uint16),
        ("tick", ctypes.c_uint32),
        ("counts", ctypes.c_int16 * 96),
    )


class Batch(ctypes.Structure):
    _fields_ = (
        ("channels", ctypes.c_uint8),
        ("per_packet", ctypes.c_uint8),
        ("samples", ctypes.c_uint8),
        ("seq", ctypes.c_uint16),
        ("counts", ctypes.c_int16 * 96),
    )


class CDeviceModel(ctypes.Structure):
    _fields_ = (
        ("model", ctypes.c_char_p),
        ("label_set", ctypes.c_char_p),
        ("labels", ctypes.POINTER(ctypes.c_char_p)),
        ("classes", ctypes.c_uint8),
        ("channels", ctypes.c_uint8),
        ("hop_ms", ctypes.c_uint16),
        ("samples", ctypes.c_bool),
    )

    @classmethod
    def of(cls, model: DeviceModelInfo) -> CDeviceModel:
        listed = [label.encode() for label in model.labels]
        return cls(
            model.model.encode(),
            model.label_set.encode(),
            (ctypes.c_char_p * len(listed))(*listed),
            len(listed),
            6 if model.gyroscope else 3,
            round(model.hop_s * 1000),
            model.samples,
        )


def pieces(c: ctypes.CDLL, model: DeviceModelInfo) -> list[bytes]:
    """`predictions.encode_device_model` in C."""
    out, pieces = (ctypes.c_uint8 * 107)(), []
    while size := c.mujo_encode_device_model(ctypes.byref(CDeviceModel.of(model)), len(pieces), out):
        pieces.append(bytes(out[:size]))
    return pieces


def label(c: ctypes.CDLL, prediction: DevicePrediction, check: int, number: int, tick: int) -> bytes:
    """`predictions.encode` in C."""
    out = (ctypes.c_uint8 * 16)()
    head = ctypes.c_uint16(check), ctypes.c_uint16(number), ctypes.c_uint32(tick)
    if prediction.reason:
        reason = predictions.REASONS.index(prediction.reason)
        size = c.mujo_encode_gap(*head, ctypes.c_uint32(prediction.start_tick), reason, out)
    else:
        took = round(prediction.inference_s / 64e-6)
        size = c.mujo_encode_label(
            *head, prediction.label, prediction.raw_label, ctypes.c_float(prediction.score), took, out
        )
    return bytes(out[:size])


def compiled(arguments: list[str], source: str = "") -> None:
    """Runs a compiler; skips if it is not installed."""
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    done = subprocess.run(arguments, input=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The header as a shared library."""
    library = tmp_path_factory.mktemp("mujo") / "mujo_packet.so"
    compiled(["gcc", *STRICT, "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], EXPORTED)
    loaded = ctypes.CDLL(str(library))
    sizes = ("mujo_encode", "mujo_cobs_encode", "mujo_batch_add", "mujo_encode_device_model", "mujo_encode_label")
    for name in (*sizes, "mujo_encode_gap"):
        getattr(loaded, name).restype = ctypes.c_size_t
    for name in ("mujo_decode", "mujo_cobs_decode"):
        getattr(loaded, name).restype = ctypes.c_bool
    for name in ("mujo_acceleration", "mujo_angular_rate", "mujo_from_raw"):
        getattr(loaded, name).restype = ctypes.c_int16
    loaded.mujo_crc16.restype = loaded.mujo_device_model_check.restype = ctypes.c_uint16
    for name in ("mujo_acceleration", "mujo_angular_rate"):
        getattr(loaded, name).argtypes = [ctypes.c_float]
    loaded.mujo_tick.restype = ctypes.c_uint32
    return loaded


def encode(c: ctypes.CDLL, x: np.ndarray, seq: int, tick: int) -> bytes:
    """`packet.encode` in C."""
    n, channels = x.shape
    units = [c.mujo_acceleration] * 3 + [c.mujo_angular_rate] * 3
    counts = (ctypes.c_int16 * x.size)(*[unit(v) for row in x.tolist() for unit, v in zip(units, row, strict=False)])
    out = (ctypes.c_uint8 * (8 + 2 * x.size))()
    size = c.mujo_encode(counts, n, channels, ctypes.c_uint16(seq), ctypes.c_uint32(tick), out)
    return bytes(out[:size])


def decode(c: ctypes.CDLL, data: bytes) -> tuple[int, int, list[int], int] | None:
    """(seq, tick, counts, channels) of a packet, or None."""
    decoded = Decoded()
    if not c.mujo_decode(data, ctypes.c_size_t(len(data)), ctypes.byref(decoded)):
        return None
    return decoded.seq, decoded.tick, decoded.counts[: decoded.samples * decoded.channels], decoded.channels


def python_decode(data: bytes) -> tuple[int, int, list[int], int] | None:
    """The same by the Python twin."""
    try:
        (decoded,) = packet.decode(data)
    except CodecError:
        return None
    counts = np.rint(decoded.x / packet.UNIT[: decoded.x.shape[1]]).astype(int)
    assert decoded.seq is not None
    assert decoded.tick is not None
    return decoded.seq, decoded.tick, counts.ravel().tolist(), decoded.x.shape[1]


def uncobs(c: ctypes.CDLL, frame: bytes) -> bytes | None:
    out, size = (ctypes.c_uint8 * (len(frame) + 1))(), ctypes.c_size_t()
    good = c.mujo_cobs_decode(frame, ctypes.c_size_t(len(frame)), out, ctypes.byref(size))
    return bytes(out[: size.value]) if good else None


def python_uncobs(frame: bytes) -> bytes | None:
    try:
        return cobs_decode(frame)
    except CodecError:
        return None


@pytest.mark.parametrize("machine", MACHINES, ids=" ".join)
def test_header_compiles_without_warnings(machine: list[str], tmp_path: Path) -> None:
    output = ["-fsyntax-only"] if "--target" in " ".join(machine) else ["-c", "-o", str(tmp_path / "mujo.o")]
    compiled([*machine, *STRICT, *output, "-x", "c", "-"], EXPORTED)


def test_header_compiles_as_cpp() -> None:
    strict = ["-std=c++11", *STRICT[1:]]
    compiled(["g++", *strict, "-fsyntax-only", "-x", "c++", "-"], EXPORTED)


def test_readme_example_compiles(tmp_path: Path) -> None:
    readme = (FIRMWARE / "README.md").read_text()
    example = readme.partition("```c\n")[2].partition("```")[0]
    around = "static float ax, ay, az, gx, gy, gz; uint32_t micros(void); void uart_write(const uint8_t *, size_t);"
    source = f"#include <stddef.h>\n#include <stdint.h>\n{around} void every_20_ms(void);\n{example}"
    compiled(["gcc", *STRICT, "-c", "-x", "c", "-", "-o", str(tmp_path / "example.o")], source)


@pytest.mark.parametrize("case", GOLDEN["packets"], ids=lambda case: case["name"])
def test_golden_packets_are_reproduced(c: ctypes.CDLL, case: dict[str, Any]) -> None:
    payload, frame = bytes.fromhex(case["payload"]), bytes.fromhex(case["frame"])
    x = np.array(case["x"], np.float32)
    assert encode(c, x, case["seq"], case["tick"]) == payload
    assert decode(c, payload) == (
        case["seq"] % 2**16,
        case["tick"] % 2**24,
        np.ravel(case["counts"]).tolist(),
        x.shape[1],
    )
    out = (ctypes.c_uint8 * len(frame))()
    assert c.mujo_cobs_encode(payload, ctypes.c_size_t(len(payload)), out) == len(frame)
    assert bytes(out) == frame
    assert uncobs(c, frame[:-1]) == payload


@pytest.mark.parametrize("case", GOLDEN["refused"], ids=lambda case: case["name"])
def test_invalid_packets_are_rejected(c: ctypes.CDLL, case: dict[str, Any]) -> None:
    assert decode(c, bytes.fromhex(case["payload"])) is None


def golden_model(key: str) -> DeviceModelInfo:
    table = dict(GOLDEN["device_models"][key])
    given = {name: table[name] for name in ("model", "label_set", "hop_s", "gyroscope", "samples")}
    return DeviceModelInfo(**given, labels=tuple(table["labels"]))


@pytest.mark.parametrize("key", ["few", "many"])
def test_golden_model_is_reproduced(c: ctypes.CDLL, key: str) -> None:
    assert [piece.hex() for piece in pieces(c, golden_model(key))] == GOLDEN["device_models"][key]["pieces"]
    assert (
        c.mujo_device_model_check(ctypes.byref(CDeviceModel.of(golden_model(key))))
        == GOLDEN["device_models"][key]["check"]
    )


@pytest.mark.parametrize("case", GOLDEN["labels"], ids=lambda case: case["name"])
def test_golden_labels_are_reproduced(c: ctypes.CDLL, case: dict[str, Any]) -> None:
    check = GOLDEN["device_models"][case["device_model"]]["check"]
    assert (
        label(c, DevicePrediction(**case["prediction"]), check, case["number"], case["tick"]).hex() == case["payload"]
    )


def test_any_prediction_encodes_as_in_python(c: ctypes.CDLL) -> None:
    model = golden_model("few")
    places, ticks = st.integers(0, 2), st.integers(0, 2**24 - 1)
    labels = st.builds(
        DevicePrediction, places, places, st.integers(0, 65535).map(lambda n: n / 65535), st.floats(0, 9)
    )
    gaps = st.builds(DevicePrediction, reason=st.sampled_from(predictions.REASONS), start_tick=ticks)

    @MANY
    @given(st.one_of(labels, gaps), st.integers(0, 65535), ticks)
    def same(prediction: DevicePrediction, number: int, tick: int) -> None:
        assert label(c, prediction, predictions.checksum(model), number, tick) == predictions.encode(
            prediction, model, number, tick
        )

    same()


def test_scores_out_of_range_are_clipped(c: ctypes.CDLL) -> None:
    for score, sent in ((float("nan"), 0), (-1.0, 0), (2.0, 65535), (float("inf"), 65535)):
        payload = label(c, DevicePrediction(0, 0, score), 0, 0, 0)
        assert int.from_bytes(payload[10:12], "little") == sent


def test_packets_are_marked_as_of_a_board_that_recognizes(c: ctypes.CDLL) -> None:
    x = np.ones((2, 6), np.float32)
    out = (ctypes.c_uint8 * 32).from_buffer_copy(packet.encode(x, 7, 9))
    c.mujo_mark_labeled(out, ctypes.c_size_t(32))
    assert bytes(out) == packet.encode(x, 7, 9, packet.LABELED)
    assert (
        decode(c, bytes(out)) == python_decode(bytes(out)) == (7, 9, [200] * 3 + [900] * 3 + [200] * 3 + [900] * 3, 6)
    )


def test_any_samples_encode_as_in_python(c: ctypes.CDLL) -> None:
    sizes = st.tuples(st.integers(1, 16), st.sampled_from([3, 6]))

    @MANY
    @given(sizes, st.randoms(use_true_random=False), st.booleans(), st.integers(0, 2**17), st.integers(0, 2**26))
    def same(size: tuple[int, int], rng: random.Random, ties: bool, seq: int, tick: int) -> None:
        data = rng.randbytes(4 * size[0] * size[1])
        # Halves of a count, which must be rounded alike, or floats of any size.
        x = np.frombuffer(data, "<i2")[::2] / 16 if ties else np.nan_to_num(np.frombuffer(data, "<f4"))
        x = x.astype(np.float32).reshape(size)
        assert encode(c, x, seq, tick) == packet.encode(x, seq, tick)

    same()


def test_hostile_packets_are_decoded_or_rejected(c: ctypes.CDLL) -> None:
    @MANY
    @given(damaged(PAYLOADS))
    def same(data: bytes) -> None:
        assert decode(c, data) == python_decode(data)

    same()


def test_hostile_frames_are_decoded_or_rejected(c: ctypes.CDLL) -> None:
    @MANY
    @given(damaged(FRAMES))
    def same(data: bytes) -> None:
        assert uncobs(c, data) == python_uncobs(data)

    same()


def test_any_bytes_are_framed_as_in_python(c: ctypes.CDLL) -> None:
    runs = st.lists(st.one_of(st.binary(max_size=20), st.integers(250, 512).map(lambda n: b"x" * n)), max_size=4)

    @MANY
    @given(runs.map(b"".join))
    def same(data: bytes) -> None:
        out = (ctypes.c_uint8 * (len(data) + len(data) // 254 + 2))()
        size = c.mujo_cobs_encode(data, ctypes.c_size_t(len(data)), out)
        assert bytes(out[:size]) == cobs_encode(data)
        assert uncobs(c, bytes(out[: size - 1])) == data

    same()


def test_checksum_has_its_check_value(c: ctypes.CDLL) -> None:
    # CRC-16/IBM-3740 (alias CCITT-FALSE) in the RevEng catalog: check 0x29b1.
    assert c.mujo_crc16(b"123456789", ctypes.c_size_t(9)) == 0x29B1


def test_values_out_of_range_are_clipped(c: ctypes.CDLL) -> None:
    values = [float("inf"), float("-inf"), float("nan"), 163.84, -163.85, 0.0125, 0.0375]
    assert [c.mujo_acceleration(v) for v in values] == [32767, -32768, -32768, 32767, -32768, 3, 8]
    assert c.mujo_angular_rate(-36.5) == -32768


def test_sensor_registers_are_converted(c: ctypes.CDLL) -> None:
    # MPU-6050 at 4 g and 500 deg/s: 8192 counts a g, 65.5 counts a degree per second.
    per_g, per_dps = (round(factor * 65536) for factor in (G * 200 / 8192, DEG * 900 / 65.5))
    raw = np.arange(-32768, 32768, 7)
    acceleration = [c.mujo_from_raw(int(value), per_g) for value in raw]
    np.testing.assert_allclose(acceleration, raw * G * 200 / 8192, atol=0.8)
    rate = [c.mujo_from_raw(int(value), per_dps) for value in raw]
    np.testing.assert_allclose(rate, raw * DEG * 900 / 65.5, atol=0.8)
    assert [c.mujo_from_raw(value, 1 << 20) for value in (32767, -32768, 0)] == [32767, -32768, 0]


def test_batch_fills_packets_and_counts_skipped_samples(c: ctypes.CDLL) -> None:
    batch, out = Batch(), (ctypes.c_uint8 * 200)()
    c.mujo_batch_init(ctypes.byref(batch), 6, 3)
    packets = []
    for i in range(10):
        if i == 4:
            c.mujo_batch_skip(ctypes.byref(batch), 65530)
        counts = (ctypes.c_int16 * 6)(*range(i, i + 6))
        size = c.mujo_batch_add(ctypes.byref(batch), counts, c.mujo_tick(i << 6), out)
        if size:
            packets.append(decode(c, bytes(out[:size])))
    assert [(p[0], p[1], p[2][::6]) for p in packets if p] == [
        (0, 2, [0, 1, 2]),
        (65534, 6, [4, 5, 6]),
        (1, 9, [7, 8, 9]),
    ]
    assert c.mujo_tick(0xFFFFFFFF) == 0xFFFFFF
    c.mujo_batch_init(ctypes.byref(batch), 9, 99)
    assert (batch.channels, batch.per_packet) == (3, 16)


@pytest.mark.parametrize(
    ("mtu", "channels", "samples"), [(23, 6, 1), (23, 3, 2), (22, 6, 0), (16, 3, 0), (185, 6, 14), (247, 3, 16)]
)
def test_samples_per_notification_fit_the_mtu(c: ctypes.CDLL, mtu: int, channels: int, samples: int) -> None:
    assert c.mujo_samples_per_notification(mtu, channels) == samples


def test_sanitizers_find_no_error(tmp_path: Path) -> None:
    program = tmp_path / "sanitized"
    flags = [*STRICT, "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compiled(["gcc", *flags, str(HERE / "sanitized.c"), "-o", str(program)])
    rng = random.Random(0)
    hostile = [garbled(rng, rng.choice(PAYLOADS)) for _ in range(5000)] + PAYLOADS
    frames = [garbled(rng, rng.choice(FRAMES)) for _ in range(5000)] + FRAMES
    samples = [case for case in GOLDEN["packets"] if case["seq"] < 2**16]
    lines = [f"d {data.hex()}" for data in hostile] + [f"c {data.hex()}" for data in frames]
    for case in samples:
        n, counts = len(case["counts"]), np.ravel(case["counts"])
        lines.append(f"e {n} {len(counts) // n} {case['seq']} {case['tick']} {' '.join(map(str, counts))}")
    done = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.splitlines()
    assert answers[: len(hostile)] == [shown(python_decode(data)) for data in hostile]
    unframed = [python_uncobs(frame) for frame in frames]
    assert answers[len(hostile) :][: len(frames)] == ["-" if data is None else data.hex() for data in unframed]
    assert answers[-len(samples) :] == [case["frame"] for case in samples]


def garbled(rng: random.Random, data: bytes) -> bytes:
    """`data` with a byte changed, cut off, longer, or other bytes of that length."""
    at = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            return data[:at] + rng.randbytes(1) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data + rng.randbytes(rng.randrange(1, 300))
        case _:
            return rng.randbytes(len(data))


def shown(decoded: tuple[int, int, list[int], int] | None) -> str:
    return "-" if decoded is None else " ".join(map(str, (decoded[0], decoded[1], *decoded[2])))
