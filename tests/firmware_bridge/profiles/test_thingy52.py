from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import recognize, thingy52
from firmware_bridge.profiles.base import Read, Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearable import AttributeRefusedError
from firmware_bridge.simulator.wearables.thingy52 import Thingy52
from firmware_bridge.stream import IMU, CodecError, Decoder, G

CONFIG = bytes.fromhex("E803 F401 F401 3200 01")  # 1000 ms, 500 ms, 500 ms, 50 Hz, wake on motion


def decoder(config: bytes = CONFIG) -> Decoder:
    return rehearse(thingy52.start(Request(advert(Thingy52(rest)))), [config, config])


def test_reading_of_a_real_thingy_is_decoded() -> None:
    # DevZone question 47415: accelerometer FAFF F4FF F603 on a table.
    (packet,) = thingy52.decode(bytes.fromhex("FAFF F4FF F603") + bytes(12))
    np.testing.assert_allclose(packet.x[0, :3], np.array([6, -12, 1014]) / 1024 * G, rtol=1e-6)


def test_angular_rates_are_11q5_and_not_inverted() -> None:
    payload = np.array([0, 0, 1024, 32, 64, -96, 1, 2, 3], "<i2").tobytes()
    (packet,) = thingy52.decode(payload)
    np.testing.assert_allclose(packet.x, [[0, 0, G, np.radians(1), -np.radians(2), np.radians(3)]], rtol=1e-6)


@pytest.mark.parametrize("payload", [b"", bytes(6), bytes(17), bytes(19)])
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="18 bytes"):
        thingy52.decode(payload)


@pytest.mark.parametrize("config", [b"", CONFIG[:8], CONFIG + b"\0", CONFIG[:6] + b"\0\0" + CONFIG[8:]])
def test_invalid_configs_are_rejected(config: bytes) -> None:
    with pytest.raises(CodecError, match="motion config"):
        decoder(config)


def test_config_keeps_other_fields_and_is_written_once() -> None:
    wearable = Thingy52(rest)
    assert recognize(advert(wearable)) is thingy52.PROFILE
    talk = converse(thingy52.PROFILE, wearable)
    assert talk.steps == [
        Read(thingy52.CONFIG),
        Write(thingy52.CONFIG, CONFIG),
        Read(thingy52.CONFIG),
        Subscribe(thingy52.RAW),
    ]
    wearable.disconnect(1.0)
    again = converse(thingy52.PROFILE, wearable, now_s=2.0)
    assert again.steps == [Read(thingy52.CONFIG), Subscribe(thingy52.RAW)]
    assert wearable.flash_writes == 1
    with pytest.raises(AttributeRefusedError):
        wearable.write(thingy52.CONFIG, CONFIG[:6] + b"\xc9\x00\x01", 3.0)


@pytest.mark.parametrize("rate_hz", [50.0, 200.0])
def test_simulated_thingy_streams_its_motion(rate_hz: float) -> None:
    wearable = Thingy52(sine)
    talk = converse(thingy52.PROFILE, wearable, rate_hz=rate_hz)
    x = samples(listen(talk, wearable, 2.0))
    assert talk.decoder.format.channels == IMU
    assert talk.decoder.format.rate_hz == rate_hz
    assert abs(len(x) - 2 * rate_hz) <= 1
    assert len(x) == wearable.notified
    first = wearable.taken - len(x)
    np.testing.assert_allclose(x, sine(np.arange(first, wearable.taken) / rate_hz), atol=0.006)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, thingy52.RAW, [bytes(18), b"\xff\x7f\x00\x80" * 4 + bytes(2)])
