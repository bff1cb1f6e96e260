from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import recognize, witmotion
from firmware_bridge.profiles.base import Advert, Pause, Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.witmotion import WitMotion
from firmware_bridge.stream import CodecError, Decoder, G

PACKET = bytes.fromhex("5561 0000 0000 0008 0040 0000 00C0 0000 0000 0000")
REGISTERS = bytes.fromhex("5571 3A00 6801 6900 7A00 0000 0000 0000 0000 0000")  # WT901BLECL manual, 6.1.2


def decoder() -> Decoder:
    return rehearse(witmotion.start(Request(advert(WitMotion(rest)))), [])


def test_packet_is_in_si_units() -> None:
    # The vendor's formula: value / 32768 * 16 g and * 2000 deg/s.
    (packet,) = witmotion.decode(PACKET)
    np.testing.assert_allclose(packet.x, [[0, 0, G, np.radians(1000), 0, -np.radians(1000)]], rtol=1e-6)
    assert (packet.seq, packet.tick, packet.t_s) == (None, None, None)


def test_reading_of_a_real_sensor_at_rest_is_decoded() -> None:
    # obedier/vib, analyze_wt901_data.py: the first 16 bytes of a notification of a WT901BLE68.
    (packet,) = witmotion.decode(bytes.fromhex("5561 35ff 59ff 0a08 0000 0000 0000 b9fc") + bytes(4))
    assert np.linalg.norm(packet.x[0, :3]) == pytest.approx(G, rel=0.02)
    np.testing.assert_array_equal(packet.x[0, 3:], 0)


def test_several_packets_in_a_notification_are_consecutive_samples() -> None:
    second = PACKET[:2] + b"\x00\x08" + PACKET[4:]
    (packet,) = witmotion.decode(PACKET + REGISTERS + second)
    np.testing.assert_allclose(packet.x[:, 0], [0, G], rtol=1e-6)


def test_register_replies_are_ignored() -> None:
    device = decoder()
    assert device.feed(REGISTERS, witmotion.NOTIFY) == []
    assert device.bad == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x55\x61",
        b"\x55\x51" + bytes(18),
        PACKET + PACKET[:8],  # WTVB01-BT50 manual, 5.2: 28 bytes
        PACKET + bytes(20),  # WTVB01-BT50, "now data": 40 bytes
    ],
)
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="not WitMotion packets"):
        witmotion.decode(payload)


def test_vibration_sensors_are_not_recognized() -> None:
    services = frozenset({witmotion.SERVICE})
    assert recognize(Advert("00:00:00:00:00:01", "", services)) is witmotion.PROFILE
    assert recognize(Advert("00:00:00:00:00:01", "WTVB01-BT50", services)) is None


def test_content_and_rate_are_set() -> None:
    steps = list(witmotion.start(Request(advert(WitMotion(rest)), rate_hz=90)))
    written = [b"\xff\xaa\x69\x88\xb5", b"\xff\xaa\x96\x00\x00", b"\xff\xaa\x03\x09\x00"]
    assert steps.pop() == Subscribe(witmotion.NOTIFY)
    assert steps == [step for data in written for step in (Write(witmotion.WRITE, data, response=False), Pause(0.1))]


def test_locked_registers_do_not_change() -> None:
    wearable = WitMotion(rest)
    wearable.connect(0.0)
    wearable.write(witmotion.WRITE, witmotion.command(witmotion.RATE, 9), 0.0)
    assert wearable.rate_hz == 10
    wearable.write(witmotion.WRITE, witmotion.command(witmotion.UNLOCK, witmotion.UNLOCK_KEY), 0.0)
    wearable.write(witmotion.WRITE, witmotion.command(witmotion.RATE, 9), 11.0)
    assert wearable.rate_hz == 10


@pytest.mark.parametrize(("rate_hz", "batch"), [(100.0, 1), (200.0, 8)])
def test_simulated_sensor_streams_its_motion(rate_hz: float, batch: int) -> None:
    wearable = WitMotion(sine)
    assert recognize(advert(wearable)) is witmotion.PROFILE
    wearable.batch = batch
    talk = converse(witmotion.PROFILE, wearable, rate_hz)
    begun = wearable.taken
    assert not talk.waiting
    x = samples(listen(talk, wearable, 1.0))
    assert talk.decoder.format.rate_hz == rate_hz
    assert abs(len(x) - rate_hz) <= batch
    np.testing.assert_allclose(x, sine(np.arange(begun, begun + len(x)) / rate_hz), atol=0.01)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, witmotion.NOTIFY, [PACKET, PACKET * 8, PACKET + REGISTERS])
