from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import recognise, witmotion
from firmware_bridge.profiles.base import Advert, Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.motion import sine
from firmware_bridge.simulator.wearables.witmotion import WitMotion
from firmware_bridge.stream import CodecError, Decoder, G

ADVERT = Advert("00:00:00:00:00:01", "WT901BLE67")


def decoder() -> Decoder:
    return rehearse(witmotion.start(Request(ADVERT)), [])


def test_a_packet_is_in_si_units() -> None:
    # The vendor's formula: value / 32768 * 16 g and * 2000 deg/s.
    payload = bytes.fromhex("5561 0000 0000 0008 0040 0000 00C0 0000 0000 0000")
    (packet,) = witmotion.decode(payload)
    np.testing.assert_allclose(packet.x, [[0, 0, G, np.radians(1000), 0, -np.radians(1000)]], rtol=1e-6)
    assert (packet.seq, packet.tick, packet.t_s) == (None, None, None)


@pytest.mark.parametrize("payload", [b"", b"\x55\x61", b"\x55\x51" + bytes(18)])
def test_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises(CodecError, match="not a WitMotion packet"):
        witmotion.decode(payload)


def test_the_rate_is_asked_for() -> None:
    steps = list(witmotion.start(Request(ADVERT, rate_hz=90)))
    assert steps == [
        Subscribe(witmotion.NOTIFY),
        Write(witmotion.WRITE, b"\xff\xaa\x03\x09\x00", response=False),
    ]


def test_its_stand_in_streams_what_its_sensor_feels() -> None:
    assert recognise(ADVERT) is witmotion.PROFILE
    wearable = WitMotion(sine)
    wearable.connect(0.0)
    wearable.subscribe(witmotion.NOTIFY, True, 0.0)
    wearable.write(witmotion.WRITE, b"\xff\xaa\x03\x09\x00", 0.0)
    packets = [packet for uuid, payload in wearable.due(0.4) for packet in decoder().feed(payload, uuid)]
    x = np.concatenate([packet.x for packet in packets])
    assert len(x) == wearable.notified == 41
    np.testing.assert_allclose(x, sine(np.arange(41) / 100), atol=0.01)


def test_hostile_bytes() -> None:
    survives(decoder, witmotion.NOTIFY, [b"\x55\x61" + bytes(18)])
