from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import movesense, recognize
from firmware_bridge.profiles.base import Request, Subscribe, Write, rehearse
from firmware_bridge.profiles.movesense import Stream, nearest_unit
from firmware_bridge.simulator.conversation import advert, converse, listen, samples, stop
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.movesense import Movesense
from firmware_bridge.stream import DEG, IMU, CodecError, Decoder, G

REQUEST = Request(advert(Movesense(rest)))

# /Meas/IMU6/52 of a real sensor, and what Movesense's own sbem2json made of it: tests/fixtures/validation/fixture.json
# of sensein/movesense-py, which leaves out the two bytes before the data.
CAPTURED = bytes.fromhex(
    "0263aca1020094b578bf399b8840cdb20d4155ff7cbf6a60884092c70c4182627cbfa2e988405da00c418bf871bf71248940c38c0c41"
    "48e17abf713daabf3333b3bec3f568bf713daabf3e0ad7beae4721bff628bcbf3e0ad7beae4721bf3333b3bf3e0ad7be"
)
CAPTURED_MS = 172460
CAPTURED_ACC = [
    [-0.9715206623077393, 4.268948078155518, 8.856152534484863],
    [-0.9882710576057434, 4.2617692947387695, 8.798723220825195],
    [-0.9858781099319458, 4.278519630432129, 8.789151191711426],
    [-0.9451987147331238, 4.285698413848877, 8.7843656539917],
]
CAPTURED_GYRO = [
    [-0.9800000190734863, -1.3300000429153442, -0.3499999940395355],
    [-0.9100000262260437, -1.3300000429153442, -0.42000001668930054],
    [-0.6299999952316284, -1.4700000286102295, -0.42000001668930054],
    [-0.6299999952316284, -1.399999976158142, -0.42000001668930054],
]


def decoder(rate_hz: float = 52) -> Decoder:
    return rehearse(movesense.start(Request(REQUEST.advert, rate_hz)), [b"\x01\x63\xc8\x00"])


def test_captured_measurement_is_decoded() -> None:
    stream = Stream(52)
    packets = [packet for _ in range(7) for packet in stream.decode(CAPTURED)]
    assert len(packets) == 7
    np.testing.assert_allclose(packets[0].x[:, :3], CAPTURED_ACC, rtol=1e-6)  # m/s2: about 9.9
    np.testing.assert_allclose(packets[0].x[:, 3:] / DEG, CAPTURED_GYRO, rtol=1e-6)
    assert packets[0].tick == CAPTURED_MS + 58  # three samples later, at 52 Hz


def test_requested_rate_is_subscribed() -> None:
    # The bytes that a published Web Bluetooth client sends: 1, 99, "/Meas/IMU6/52".
    path = bytes([1, 99, 47, 77, 101, 97, 115, 47, 73, 77, 85, 54, 47, 53, 50])
    talk = converse(movesense.PROFILE, Movesense(rest))
    assert talk.steps[:2] == [Subscribe(movesense.NOTIFY), Write(movesense.WRITE, path)]
    assert talk.replies == [b"\x01\x63\xc8\x00"]
    talk = converse(movesense.PROFILE, Movesense(rest), 80)
    assert talk.steps[1] == Write(movesense.WRITE, b"\x01\x63/Meas/IMU6/104")
    assert talk.decoder.format.rate_hz == 104


@pytest.mark.parametrize("rate_hz", movesense.RATES)
@pytest.mark.parametrize("unit", ["m/s2", "g", "mg"])
def test_simulated_sensor_streams_its_motion_in_any_unit(rate_hz: float, unit: str) -> None:
    assert recognize(REQUEST.advert) is movesense.PROFILE
    wearable = Movesense(sine)
    wearable.unit = unit
    talk = converse(movesense.PROFILE, wearable, rate_hz)
    packets = listen(talk, wearable, 4)
    x = samples(packets)
    assert talk.decoder.bad == 0
    assert talk.decoder.format.channels == IMU
    assert len(x) == wearable.notified >= 4 * rate_hz - 8
    np.testing.assert_allclose(x, sine(np.arange(len(x)) / rate_hz), atol=1e-4)
    ticks = [packet.tick for packet in packets if packet.tick is not None]
    np.testing.assert_allclose(np.diff(ticks), 1000 / 13, atol=1)


def test_unit_is_determined_once_from_half_a_second() -> None:
    stream = Stream(52)
    shaken = np.array([[0, 0, 40.0]] * 6 + [[0, 0, 1.0]] * 6 + [[0, 0, 9.7]] * 16, np.float32)
    sent = []
    for rows in shaken.reshape(7, 4, 3):
        sent.append(len(stream.decode(b"\x02\x63" + bytes(4) + rows.tobytes() + bytes(48))))
    assert sent == [0, 0, 0, 0, 0, 0, 7]
    assert stream.unit == "m/s2"
    low = b"\x02\x63" + bytes(4) + np.full((4, 3), 0.5, "<f4").tobytes() + bytes(48)
    assert [len(stream.decode(low)) for _ in range(20)] == [1] * 20
    assert stream.unit == "m/s2"


@pytest.mark.parametrize(("length", "unit"), [(9.8, "m/s2"), (4.0, "m/s2"), (25.0, "m/s2"), (1.0, "g"), (990.0, "mg")])
def test_unit_is_the_nearest_to_one_g(length: float, unit: str) -> None:
    assert nearest_unit(np.array([[0, length, 0]], np.float32)) == unit
    assert nearest_unit(np.array([[0, length, 0], [np.nan, 0, 0], [0, 0, 0]], np.float32)) == unit


def test_unit_without_usable_samples_is_the_published_one() -> None:
    assert nearest_unit(np.zeros((4, 3), np.float32)) == "m/s2"


def test_clock_wraps() -> None:
    wearable = Movesense(sine, first=round(2**32 / 1000 * 52) - 60)
    talk = converse(movesense.PROFILE, wearable)
    packets = listen(talk, wearable, 3)
    ticks = np.array([packet.tick for packet in packets])
    assert ticks.max() > 2**32 - 100
    assert ticks.min() < 100
    np.testing.assert_allclose(np.diff(ticks) % 2**32, 1000 / 13, atol=1)


def test_two_parts_make_a_measurement() -> None:
    wearable = Movesense(sine)
    converse(movesense.PROFILE, wearable, 104)
    (_, one), (_, other) = wearable.encode(sine(np.arange(8) / 104), 0, np.arange(8) / 104)
    assert (len(one), one[:2], other[:2]) == (158, b"\x02\x63", b"\x03\x63")
    stream = Stream(104)
    stream.unit = "m/s2"
    assert [len(stream.decode(part)) for part in (one, other)] == [0, 1]
    assert [len(stream.decode(part)) for part in (one, one, other)] == [0, 0, 1]  # a rest was lost
    with pytest.raises(CodecError, match="without its beginning"):
        stream.decode(other)
    assert stream.decode(one) == []
    with pytest.raises(CodecError, match="has 196 bytes, not 192"):
        stream.decode(other[:-4])


def test_old_firmware_replies_with_data() -> None:
    wearable = Movesense(sine)
    wearable.answers = False
    talk = converse(movesense.PROFILE, wearable)
    assert talk.replies[0][:2] == b"\x02\x63"
    x = samples(listen(talk, wearable, 3))
    assert len(x) == wearable.notified
    np.testing.assert_allclose(x, sine(np.arange(len(x)) / 52), atol=1e-4)


def test_refusals_have_a_reason() -> None:
    with pytest.raises(CodecError, match="status 404"):
        rehearse(movesense.start(REQUEST), [b"\x01\x63\x94\x01"])
    with pytest.raises(CodecError, match="status 507"):  # as gatt_sensordata_app writes it
        rehearse(movesense.start(REQUEST), [b"\x01\x63\x01\xfb"])
    with pytest.raises(CodecError, match="update its firmware"):
        rehearse(movesense.start(Request(REQUEST.advert, services=frozenset({"fe06"}))), [])


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"\x01\x07/Meas/IMU6/50", 501), (b"\x01\x07/Meas/Nothing", 404), (b"\x02\x07", 404), (b"\x09\x07", 404)],
)
def test_simulated_sensor_rejects_what_the_real_one_does(sent: bytes, status: int) -> None:
    wearable = Movesense(rest)
    wearable.connect(0.0)
    assert wearable.write(movesense.WRITE, sent, 0.0) == [
        (movesense.NOTIFY, b"\x01\x07" + status.to_bytes(2, "little"))
    ]
    assert not wearable.streaming


def test_stop_steps_end_the_stream() -> None:
    wearable = Movesense(rest)
    converse(movesense.PROFILE, wearable)
    assert wearable.streaming
    assert stop(movesense.PROFILE, wearable, 1.0) == [(movesense.NOTIFY, b"\x01\x63\xc8\x00")]
    assert wearable.next_s() is None


@pytest.mark.parametrize(
    "payload", [b"", b"\x02", b"\x04\x63" + bytes(100), b"\x02\x64" + bytes(100), CAPTURED + b"\0"]
)
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="Movesense"):
        Stream(52).decode(payload)


@pytest.mark.parametrize("rate_hz", [52, 104])
def test_hostile_bytes_are_decoded_or_rejected(rate_hz: float) -> None:
    survives(
        lambda: decoder(rate_hz), movesense.NOTIFY, [CAPTURED, CAPTURED + CAPTURED[6:], b"\x03\x63" + CAPTURED[:40]]
    )


def test_rest_reads_one_g() -> None:
    wearable = Movesense(rest)
    np.testing.assert_allclose(samples(listen(converse(movesense.PROFILE, wearable), wearable, 2))[:, 2], G, rtol=1e-6)
