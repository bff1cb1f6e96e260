"""WitMotion's frames and our own packets on a serial line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from fuzz import splits_alike, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import MAX_FRAME, cobs_encode
from firmware_bridge.serial.packets import PacketDecoder
from firmware_bridge.serial.witmotion import WitMotionDecoder
from firmware_bridge.stream import ACC, IMU, G

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "packets.json").read_text())
FRAMES = [bytes.fromhex(case["frame"]) for case in GOLDEN["packets"]]


def frame(kind: int, *values: int) -> bytes:
    """By the datasheet: 55, kind, four int16, sum."""
    body = bytes([0x55, kind]) + np.array([*values, 0, 0, 0, 0][:4], "<i2").tobytes()
    return body + bytes([sum(body) % 256])


REST, TURN, ANGLE = frame(0x51, 0, 0, 2048), frame(0x52, 16384, 0, -16384), frame(0x53, 1, 2, 3)


def test_cycle_of_frames_is_a_sample_in_si_units() -> None:
    # WT901 Datasheet v20-0702, 5.1.2 and 5.1.3: value / 32768 * 16 g and * 2000 deg/s, low byte first, sum modulo 256.
    assert bytes.fromhex("5551 0000 0000 0008 0000 AE") == REST
    assert bytes.fromhex("5552 0040 0000 00C0 0000 A7") == TURN
    decoder = WitMotionDecoder(True)
    (one,) = decoder.feed(frame(0x50) + REST + TURN + ANGLE + frame(0x54, 1, 2, 3))
    np.testing.assert_allclose(one.x, [[0, 0, G, np.radians(1000), 0, -np.radians(1000)]], rtol=1e-6)
    assert (one.seq, one.tick, one.t_s, decoder.bad, decoder.format.channels) == (None, None, None, 0, IMU)


def test_acceleration_is_a_sample_without_gyroscope() -> None:
    decoder = WitMotionDecoder(False)
    packets = decoder.feed((REST + ANGLE) * 3)
    assert [each.x.shape for each in packets] == [(1, 3)] * 3
    assert (decoder.format.channels, decoder.bad) == (ACC, 0)


def test_port_can_be_opened_within_a_cycle() -> None:
    for begin in range(33):
        decoder = WitMotionDecoder(True)
        packets = decoder.feed(((REST + TURN + ANGLE) * 4)[begin:])
        assert len(packets) == (4 if begin == 0 else 3)
        assert decoder.bad == 0


def test_damage_is_skipped_and_counted() -> None:
    good = REST + TURN + ANGLE
    decoder = WitMotionDecoder(True)
    assert (
        len(decoder.feed(good + REST[:-1] + TURN + ANGLE + good)) == 2
    )  # a lost byte, and an unpaired gyroscope frame
    assert (decoder.bad, decoder.why) == (2, "an angular rate without acceleration")
    assert len(decoder.feed(REST + TURN[:4] + b"\x01" + TURN[5:] + ANGLE + good)) == 1
    assert (decoder.bad, decoder.why) == (3, "bytes between WitMotion's frames")
    assert len(decoder.feed(REST + ANGLE + good)) == 1
    assert (decoder.bad, decoder.why) == (4, "an acceleration without angular rate")


def test_frames_of_different_cycles_are_never_paired() -> None:
    for between in (ANGLE, b"", b"??", TURN[:-1] + b"?"):
        decoder = WitMotionDecoder(True)
        (one,) = decoder.feed(REST + between + frame(0x51, 2048) + TURN)
        assert one.x[0, :3].tolist() == [np.float32(G), 0, 0]
    assert WitMotionDecoder(True).feed(REST + b"??" + TURN) == []


def test_golden_frames_are_reproduced() -> None:
    for six in (True, False):
        decoder = PacketDecoder(six, 50.0)
        cases = [case for case in GOLDEN["packets"] if (len(case["counts"][0]) == 6) is six]
        packets = decoder.feed(b"".join(bytes.fromhex(case["frame"]) for case in cases))
        assert [(each.seq, each.tick) for each in packets] == [(c["seq"] % 2**16, c["tick"] % 2**24) for c in cases]
        assert decoder.bad == 0
        assert (decoder.format.tick_bits, decoder.format.seq_bits) == (24, 16)


def test_incomplete_first_frame_is_no_damage() -> None:
    decoder = PacketDecoder(True)
    assert len(decoder.feed(FRAMES[0][7:] + FRAMES[0])) == 1
    assert decoder.bad == 0
    assert decoder.feed(FRAMES[0][7:]) == []
    assert (decoder.bad, len(decoder.why) > 0) == (1, True)


def test_packets_of_other_channels_and_overlong_frames_are_damage() -> None:
    decoder = PacketDecoder(True)
    assert len(decoder.feed(FRAMES[0] + FRAMES[1] + FRAMES[0])) == 2
    assert "channels" in decoder.why
    assert decoder.feed(b"x" * (MAX_FRAME + 1)) == []
    assert (decoder.bad, decoder.why) == (2, "a frame that is too long")


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**16 - 1), st.floats(0, 0.02), st.floats(0, 0.02), st.integers(0, 2**32 - 1))
def test_delivered_plus_lost_equals_sent(first: int, lose: float, corrupt: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sent = 300
    stream = b"".join(
        cobs_encode(packet.encode(np.full((1, 6), 1.0, np.float32), first + i, 312 * i)) for i in range(sent)
    )
    data = np.frombuffer(stream, np.uint8)
    data = data[rng.random(len(data)) >= lose].copy()
    damaged = rng.random(len(data)) < corrupt
    data[damaged] ^= rng.integers(1, 256, int(damaged.sum()), np.uint8)
    decoder = PacketDecoder(True)
    numbers = [each.seq for each in decoder.feed(data.tobytes()) if each.seq is not None]
    places = [(number - first) % 2**16 for number in numbers]
    assert places == sorted(set(places))
    assert all(place < sent for place in places)
    lost = sum(b - a - 1 for a, b in pairwise(places))
    if places:
        assert places[0] + len(places) + lost + (sent - 1 - places[-1]) == sent
    if lose == corrupt == 0:
        assert (len(places), decoder.bad) == (sent, 0)


WIT = [REST, TURN, ANGLE, REST + TURN + ANGLE, REST[:5]]


def test_hostile_wit_bytes_are_decoded_or_rejected() -> None:
    survives(lambda: WitMotionDecoder(True), "", WIT)


def test_any_split_of_wit_bytes_gives_the_same() -> None:
    splits_alike(lambda: WitMotionDecoder(True), WIT)


def test_hostile_frames_are_decoded_or_rejected() -> None:
    survives(lambda: PacketDecoder(True), "", FRAMES)


def test_any_split_of_frames_gives_the_same() -> None:
    splits_alike(lambda: PacketDecoder(True), FRAMES)
