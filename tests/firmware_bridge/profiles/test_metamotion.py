from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import metamotion, recognize
from firmware_bridge.profiles.base import Request, Subscribe, Write, rehearse
from firmware_bridge.profiles.metamotion import BMI270, TICK_HZ, decode_fused, decode_packed
from firmware_bridge.simulator.conversation import advert, converse, listen, samples, stop
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearable import AttributeRefusedError
from firmware_bridge.simulator.wearables.metamotion import MetaMotion
from firmware_bridge.stream import ACC, DEG, IMU, CodecError, Decoder, G

REQUEST = Request(advert(MetaMotion(rest)))

# Answers to the discovery of a MetaMotionR, test/common.py of MetaWear-SDK-Cpp, the processor's of TestFuserAccounter.
MOTION_R = [bytes.fromhex("03 80 01 01"), bytes.fromhex("13 80 00 01"), bytes.fromhex("09 80 00 03 1C")]
ADDED = [bytes.fromhex("09 02 00"), bytes.fromhex("09 02 01"), bytes.fromhex("09 02 02")]

FUSED = bytes.fromhex("09 03 02 1E 02 00 00 F4 0D 3C 39 99 11 01 80 D6 91 D3 67")
PACKED = bytes.fromhex("03 1C 62 B7 53 0D E9 FD 16 D0 4D 0E 57 02 8A FF A1 05 0A 01")


def decoder() -> Decoder:
    return rehearse(metamotion.start(REQUEST), [*MOTION_R, *ADDED])


def written(wearable: MetaMotion, rate_hz: float | None = None) -> list[str]:
    steps = converse(metamotion.PROFILE, wearable, rate_hz).steps
    return [step.data.hex(" ") for step in steps if isinstance(step, Write)]


def test_fused_sample_is_decoded() -> None:
    # TestFuserAccounter.test_data_handling, with the number of the second accounter there.
    (packet,) = decode_fused(FUSED[:2] + b"\x04" + FUSED[3:], 4)
    assert packet.tick == 0x21E
    acceleration = np.array([0x0DF4, 0x393C, 0x1199]) / 2048 * G
    rotation = np.array([0x8001 - 65536, 0x91D6 - 65536, 0x67D3]) / 16.4 * DEG
    np.testing.assert_allclose(packet.x, [[*acceleration, *rotation]], rtol=1e-6)


def test_units_are_those_of_the_vendor_library() -> None:
    # test_accelerometer_bmi160.py, "get_acceleration_data_g": these bytes at 4 g; here at 16 g.
    head = bytes.fromhex("09 03 02 00 00 00 00")
    (packet,) = decode_fused(head + bytes.fromhex("16 C4 94 A2 2A D0") + bytes(6), 2)
    np.testing.assert_allclose(packet.x[0, :3] / 4 / G, [-1.872, -2.919, -1.495], atol=6e-4)
    # test_gyro_bmi160.py, "rotation_data_handler": these at 500 deg/s; here at 2000.
    (packet,) = decode_fused(head + bytes(6) + bytes.fromhex("3E 43 FF 7F 00 80"), 2)
    np.testing.assert_allclose(packet.x[0, 3:] / 4 / DEG, [262.409, 499.497, -499.512], atol=6e-4)
    # test_accelerometer_bmi160.py, TestBmi160HighFreqAccData: these at 8 g.
    (packet,) = decode_packed(PACKED, b"\x03\x1c")
    expected = [[-4.539, 0.833, -0.131], [-2.995, 0.894, 0.146], [-0.029, 0.352, 0.065]]
    np.testing.assert_allclose(packet.x / 2 / G, expected, atol=6e-4)


def test_tick_is_that_of_the_vendor_library() -> None:
    # TestAccounter.test_time_offset: ticks of a board at 100 Hz.
    ticks = [0x0D33A6, 0x0D33AD, 0x0D33B4, 0x0D33BA, 0x0D33C1, 0x0D33C8]
    np.testing.assert_allclose(np.diff(ticks) / TICK_HZ, 0.01, atol=0.002)
    np.testing.assert_allclose((ticks[-1] - ticks[0]) / TICK_HZ, 0.05, rtol=0.01)


def test_commands_are_those_of_the_vendor_library() -> None:
    talk = converse(metamotion.PROFILE, MetaMotion(rest))
    assert talk.replies == [*MOTION_R, *ADDED]
    assert talk.steps[0] == Subscribe(metamotion.NOTIFY)
    assert not any(step.response for step in talk.steps if isinstance(step, Write))
    assert written(MetaMotion(rest)) == [
        "03 80",
        "13 80",
        "09 80",
        "03 01 00",  # TestSensorFusion.test_sensor_control has these four in its way to stop
        "13 01 00",
        "03 02 00 01",
        "13 02 00 01",
        "09 08",
        "03 03 27 0c",  # TestAccBmi160Config: 50 Hz is 27, 16 g is 0c
        "13 03 27 00",  # TestGyroBmi160Config: 50 Hz is 27
        "09 02 13 05 ff a0 0f 05",  # TestFuserAccounter.test_commands, this and the next
        "09 02 03 04 ff a0 1b 01 00 00 00 00 00 00 00 00 00 00 00 00",
        "09 02 09 03 01 60 11 31 03",  # there of processor 2, which limits the rate
        "09 07 02 01",
        "09 03 01",
        "03 02 01 00",
        "13 02 01 00",
        "03 01 01",
        "13 01 01",
    ]


def test_bmi270_has_its_own_registers() -> None:
    board = MetaMotion(rest)
    board.chip = BMI270
    commands = written(board, 100)
    assert "03 03 a8 03" in commands  # TestAccBmi270Config.test_set_range
    assert "13 03 28 00" in commands
    assert "09 02 13 04 ff a0 0f 05" in commands
    assert board.streaming


@pytest.mark.parametrize("rate_hz", [25.0, 50.0, 100.0])
def test_simulated_board_streams_its_motion(rate_hz: float) -> None:
    assert recognize(REQUEST.advert) is metamotion.PROFILE
    assert recognize(replace(REQUEST.advert, services=frozenset())) is metamotion.PROFILE
    wearable = MetaMotion(sine)
    talk = converse(metamotion.PROFILE, wearable, rate_hz)
    packets = listen(talk, wearable, 3)
    x = samples(packets)
    assert (talk.decoder.format.channels, talk.decoder.format.rate_hz) == (IMU, rate_hz)
    assert len(x) == wearable.notified == 3 * rate_hz + 1
    np.testing.assert_allclose(x, sine(np.arange(len(x)) / rate_hz), atol=0.003)
    ticks = [packet.tick for packet in packets if packet.tick is not None]
    np.testing.assert_allclose(np.diff(ticks) / TICK_HZ, 1 / rate_hz, atol=1.1 / TICK_HZ)


@pytest.mark.parametrize(("gyroscope", "revision", "chip"), [(False, 3, 1), (True, 2, 1), (True, 0, BMI270)])
def test_board_without_fuser_sends_accelerations(gyroscope: bool, revision: int, chip: int) -> None:
    wearable = MetaMotion(sine)
    wearable.gyroscope, wearable.revision, wearable.chip = gyroscope, revision, chip
    talk = converse(metamotion.PROFILE, wearable)
    packets = listen(talk, wearable, 3)
    x = samples(packets)
    assert (talk.decoder.format.channels, talk.decoder.format.tick_hz) == (ACC, None)
    assert len(x) == wearable.notified == 150
    assert [len(packet.x) for packet in packets] == [3] * 50
    np.testing.assert_allclose(x, sine(np.arange(150) / 50)[:, :3], atol=0.003)


def test_rest_reads_one_g() -> None:
    wearable = MetaMotion(rest)
    x = samples(listen(converse(metamotion.PROFILE, wearable), wearable, 1))
    np.testing.assert_allclose(x[:, 2], G, rtol=1e-6)


def test_clock_wraps() -> None:
    wearable = MetaMotion(sine, first=round(2**32 / TICK_HZ * 50) - 50)
    ticks = np.array([packet.tick for packet in listen(converse(metamotion.PROFILE, wearable), wearable, 2)])
    assert ticks.max() > 2**32 - 100
    assert ticks.min() < 100
    np.testing.assert_allclose(np.diff(ticks) % 2**32 / TICK_HZ, 0.02, atol=1.1 / TICK_HZ)


def test_board_can_be_stopped_and_restarted() -> None:
    wearable = MetaMotion(rest)
    converse(metamotion.PROFILE, wearable)
    assert wearable.streaming
    wearable.disconnect(1.0)
    assert wearable.processors  # a board remembers
    again = converse(metamotion.PROFILE, wearable, now_s=2.0)
    assert again.replies[3:] == ADDED
    assert wearable.streaming
    assert stop(metamotion.PROFILE, wearable, 3.0) == []
    assert wearable.next_s() is None
    assert not wearable.processors


def test_refusals_have_a_reason() -> None:
    for answer, kind in (("03 80", "None"), ("03 80 00 01", "0"), ("03 80 03 01", "3")):  # none, MMA8452Q, BMA255
        with pytest.raises(CodecError, match=f"accelerometer has type {kind}"):
            rehearse(metamotion.start(REQUEST), [bytes.fromhex(answer)])
    with pytest.raises(CodecError, match="does not add a processor"):
        rehearse(metamotion.start(REQUEST), [*MOTION_R, b"\x09\x02"])
    with pytest.raises(AttributeRefusedError):
        MetaMotion(rest).write(metamotion.COMMAND, b"\x03", 0.0)


@pytest.mark.parametrize("payload", [b"", FUSED[:-1], FUSED + b"\0", b"\x09\x03\x01" + FUSED[3:], PACKED])
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="not a fused sample"):
        decode_fused(payload, 2)
    with pytest.raises(CodecError, match="not three accelerations"):
        decode_packed(payload[:19], b"\x03\x1c")


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, metamotion.NOTIFY, [FUSED])
    old = [*MOTION_R[:2], b"\x09\x80\x00\x00\x1c"]
    survives(lambda: rehearse(metamotion.start(REQUEST), old), metamotion.NOTIFY, [PACKED])
