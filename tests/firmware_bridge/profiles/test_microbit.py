from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import microbit, recognize
from firmware_bridge.profiles.base import Pause, Read, Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.microbit import MicroBit
from firmware_bridge.stream import ACC, CodecError, Decoder, G


def decoder(period: bytes = b"\x14\x00") -> Decoder:
    return rehearse(microbit.start(Request(advert(MicroBit(rest)))), [period])


def test_capture_of_a_real_board_is_decoded() -> None:
    # lancaster-university/microbit-dal#355, nRF Connect, 2018: 00-01-A0-03-20-01, a board at rest.
    (packet,) = microbit.decode(bytes.fromhex("0001A0032001"))
    np.testing.assert_allclose(packet.x, np.array([[-256, 928, -288]]) / 1024 * G, rtol=1e-6)
    assert np.linalg.norm(packet.x) == pytest.approx(G, rel=0.03)


@pytest.mark.parametrize(
    ("reading", "up"),
    [
        ((0, 0, -1024), (0, 0, G)),  # MakeCode, "acceleration": flat with the screen up, z is -1023
        ((1024, 0, 0), (-G, 0, 0)),  # the right edge is down: the left one is up
        ((0, 1024, 0), (0, G, 0)),  # the logo is up
    ],
)
def test_gravity_is_on_the_axis_that_points_up(reading: tuple[int, ...], up: tuple[float, ...]) -> None:
    (packet,) = microbit.decode(np.array(reading, "<i2").tobytes())
    np.testing.assert_allclose(packet.x, [up], rtol=1e-6)


@pytest.mark.parametrize("payload", [b"", bytes(5), bytes(7)])
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="6 bytes"):
        microbit.decode(payload)


@pytest.mark.parametrize("period", [b"", b"\x14", b"\0\0", b"\x14\0\0"])
def test_invalid_period_is_rejected(period: bytes) -> None:
    with pytest.raises(CodecError, match="period"):
        decoder(period)


def test_effective_period_is_read_back() -> None:
    wearable = MicroBit(rest)
    assert recognize(advert(wearable)) is microbit.PROFILE
    talk = converse(microbit.PROFILE, wearable, rate_hz=12.5)
    assert talk.steps == [
        Write(microbit.PERIOD, b"\x50\x00"),
        Pause(0.1),
        Read(microbit.PERIOD),
        Subscribe(microbit.DATA),
    ]
    assert talk.decoder.format.rate_hz == wearable.rate_hz == 10  # 100 ms follows on 40 ms in the LSM303AGR


def test_simulated_board_streams_its_motion() -> None:
    wearable = MicroBit(sine)
    talk = converse(microbit.PROFILE, wearable)
    x = samples(listen(talk, wearable, 2.0))
    assert talk.decoder.format.channels == ACC
    assert talk.decoder.format.rate_hz == 50
    assert 99 <= len(x) == wearable.notified <= 101
    first = wearable.taken - len(x)
    np.testing.assert_allclose(x, sine(np.arange(first, wearable.taken) / 50)[:, :3], atol=0.006)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, microbit.DATA, [bytes(6), b"\xff\x7f\x00\x80\x01\x00"])
