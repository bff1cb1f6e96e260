"""Our packet and its framing against golden bytes, which the C twin's tests read as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import MAX_FRAME, Splitter, cobs_decode, cobs_encode
from firmware_bridge.stream import CodecError, PayloadDecoder

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "packets.json").read_text())


def named(case: dict[str, Any]) -> str:
    return str(case.get("name", case.get("payload")))


@pytest.mark.parametrize("case", GOLDEN["packets"], ids=named)
def test_golden_packets_are_reproduced(case: dict[str, Any]) -> None:
    payload, counts = bytes.fromhex(case["payload"]), np.array(case["counts"])
    assert packet.encode(np.array(case["x"], np.float32), case["seq"], case["tick"]) == payload
    assert cobs_encode(payload) == bytes.fromhex(case["frame"])
    (decoded,) = packet.decode(cobs_decode(bytes.fromhex(case["frame"])[:-1]))
    assert (decoded.seq, decoded.tick) == (case["seq"] % 2**16, case["tick"] % 2**24)
    np.testing.assert_allclose(decoded.x, counts / ([200] * 3 + [900] * 3)[: counts.shape[1]], rtol=1e-6)
    assert decoded.x.dtype == np.float32


@pytest.mark.parametrize("case", GOLDEN["refused"], ids=named)
def test_invalid_packets_are_rejected(case: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        packet.decode(bytes.fromhex(case["payload"]))


@pytest.mark.parametrize("case", GOLDEN["cobs"], ids=named)
def test_golden_cobs_frames_are_reproduced(case: dict[str, Any]) -> None:
    assert cobs_encode(bytes.fromhex(case["payload"])).hex() == case["frame"]
    assert cobs_decode(bytes.fromhex(case["frame"])[:-1]).hex() == case["payload"]


@pytest.mark.parametrize("case", GOLDEN["refused_frames"], ids=named)
def test_invalid_frames_are_rejected(case: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="not a COBS frame"):
        cobs_decode(bytes.fromhex(case["frame"])[:-1])


@pytest.mark.parametrize("shape", [(0, 6), (17, 6), (1, 4), (1, 0)])
def test_other_shapes_are_rejected(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a packet takes 1 to 16 samples"):
        packet.encode(np.zeros(shape, np.float32), 0, 0)


def test_every_single_bit_error_is_detected() -> None:
    payload = bytes.fromhex(GOLDEN["packets"][3]["payload"])
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            packet.decode(bytes(damaged))


def test_hostile_payloads_are_decoded_or_rejected() -> None:
    # Without a random twin of two bytes the checksum lets through one damaged payload in 65,536: none is unsound.
    payloads = [bytes.fromhex(case["payload"]) for case in GOLDEN["packets"] if len(case["counts"][0]) == 6]
    survives(lambda: PayloadDecoder(packet.format_of(True, 50.0), {"": six_axes}), "", payloads)


def six_axes(payload: bytes) -> list[packet.Packet]:
    return [each for each in packet.decode(payload) if each.x.shape[1] == 6]


def test_overlong_frame_is_skipped_and_counted() -> None:
    splitter = Splitter(b"\0", limit=8)
    assert splitter.feed(b"12345678\0") == [b"12345678"]
    assert splitter.feed(b"123456789") == []
    assert splitter.feed(b"x" * 3 * MAX_FRAME) == []
    assert splitter.feed(b"end\0\0\0ab\0c") == [b"ab"]
    assert splitter.feed(b"d\0") == [b"cd"]
    assert splitter.overlong == 1
