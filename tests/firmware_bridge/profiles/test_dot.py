from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import dot, recognize
from firmware_bridge.profiles.base import Read, Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples, stop
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearable import AttributeRefusedError
from firmware_bridge.simulator.wearables.dot import Dot
from firmware_bridge.stream import IMU, CodecError, Decoder, G

ADVERT = advert(Dot(rest))

# Device control as table 7 of the specification lays it out: no visit, power saving after 10 and 30 min, tag, 60 Hz.
DEVICE = bytes.fromhex("00 00 00 0A 00 1E 00 0B 4D6F76656C6C6120444F54 0000000000 3C00 00 0000000000")
AT_20_HZ = bytes.fromhex("10 00 00 0A 00 1E 00 0B 4D6F76656C6C6120444F54 0000000000 1400 00 0000000000")


def decoder() -> Decoder:
    return rehearse(dot.start(Request(ADVERT)), [b"\x01\x00\x15", DEVICE, b"\x01\x01\x15"])


def test_sample_is_in_si_units() -> None:
    payload = struct.pack("<I6f12x", 4_000_000_000, 0.5, -9.81, 2, 180, 0, -90)
    for data in (payload, payload[:28]):
        (packet,) = dot.decode(data)
        np.testing.assert_allclose(packet.x, [[0.5, -9.81, 2, np.pi, 0, -np.pi / 2]], rtol=1e-6)
        assert packet.tick == 4_000_000_000


def test_published_sample_is_decoded() -> None:
    # A notification that a public bleak script prints for mode 6 (u32 us, three floats), and what it makes of it.
    published = b'\xd8\x05"D\xaf\x96@@k*\xa7@Z\xdd\x14\xc0'
    (packet,) = dot.decode(published + bytes(24))
    assert packet.tick == 1143080408
    np.testing.assert_allclose(packet.x[0, :3], [3.009197, 5.223928, -2.3260102], rtol=1e-6)


@pytest.mark.parametrize("size", [0, 4, 27, 41])
def test_invalid_payloads_are_rejected(size: int) -> None:
    with pytest.raises(CodecError, match="28 to 40 bytes"):
        dot.decode(bytes(size))


def test_requested_rate_is_set() -> None:
    usual = converse(dot.PROFILE, Dot(rest))
    assert usual.replies == [b"\x01\x00\x15", DEVICE, b"\x01\x01\x15"]
    assert [step for step in usual.steps if not isinstance(step, Read)] == [
        Subscribe(dot.MEDIUM),
        Write(dot.CONTROL, b"\x01\x01\x15"),
    ]
    slow = Dot(rest)
    talk = converse(dot.PROFILE, slow, 22)
    assert [step for step in talk.steps if isinstance(step, Write)] == [
        Write(dot.DEVICE, AT_20_HZ),
        Write(dot.CONTROL, b"\x01\x01\x15"),
    ]
    assert talk.decoder.format.rate_hz == slow.rate_hz == 20


@pytest.mark.parametrize("rate_hz", [None, 30.0])
def test_simulated_sensor_streams_its_motion(rate_hz: float | None) -> None:
    assert recognize(ADVERT) is dot.PROFILE
    assert recognize(replace(ADVERT, name="left wrist")) is dot.PROFILE
    assert recognize(replace(ADVERT, name="Xsens DOT", manufacturer={})) is dot.PROFILE
    wearable = Dot(sine)
    talk = converse(dot.PROFILE, wearable, rate_hz)
    packets = listen(talk, wearable, 3)
    x = samples(packets)
    assert talk.decoder.format.channels == IMU
    assert len(x) == wearable.notified == 3 * wearable.rate_hz + 1
    np.testing.assert_allclose(x, sine(np.arange(len(x)) / wearable.rate_hz), atol=1e-5)
    ticks = [packet.tick for packet in packets if packet.tick is not None]
    np.testing.assert_allclose(np.diff(ticks), 1e6 / wearable.rate_hz, atol=1)


def test_rest_reads_one_g() -> None:
    wearable = Dot(rest)
    np.testing.assert_allclose(samples(listen(converse(dot.PROFILE, wearable), wearable, 1))[:, 2], G, rtol=1e-6)


def test_clock_wraps() -> None:
    wearable = Dot(sine, first=round(2**32 / 1e6 * 60) - 30)
    ticks = np.array([packet.tick for packet in listen(converse(dot.PROFILE, wearable), wearable, 1)])
    assert ticks.max() > 2**32 - 20_000
    assert ticks.min() < 20_000
    np.testing.assert_allclose(np.diff(ticks) % 2**32, 1e6 / 60, atol=1)


def test_running_measurement_is_restarted() -> None:
    wearable = Dot(rest)
    converse(dot.PROFILE, wearable)
    talk = converse(dot.PROFILE, wearable, 20)
    assert talk.steps[:3] == [Read(dot.CONTROL), Write(dot.CONTROL, b"\x01\x00\x15"), Read(dot.DEVICE)]
    assert wearable.rate_hz == 20
    assert wearable.streaming


def test_stop_steps_end_the_stream() -> None:
    wearable = Dot(rest)
    converse(dot.PROFILE, wearable)
    assert wearable.streaming
    assert stop(dot.PROFILE, wearable, 1.0) == []
    assert wearable.next_s() is None


def test_refusals_have_a_reason() -> None:
    wearable = Dot(rest)
    wearable.recording = True
    with pytest.raises(CodecError, match="does not start to measure"):
        converse(dot.PROFILE, wearable)
    with pytest.raises(CodecError, match="does not accept 20 Hz"):
        converse(dot.PROFILE, wearable, 20)
    with pytest.raises(CodecError, match="32 bytes, not 3"):
        rehearse(dot.start(Request(ADVERT)), [b"", b"abc"])
    for uuid, data in ((dot.DEVICE, b""), (dot.CONTROL, b"\x02\x01\x15"), (dot.MEDIUM, b"")):
        with pytest.raises(AttributeRefusedError):
            wearable.write(uuid, data, 0.0)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, dot.MEDIUM, [struct.pack("<I6f12x", 1, 0, 0, 9.8, 0, 0, 0)])
