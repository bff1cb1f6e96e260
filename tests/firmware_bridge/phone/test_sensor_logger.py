from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hostile_json import survives_json

from firmware_bridge.phone import decoder, sensor_logger
from firmware_bridge.phone.layout import Layout
from firmware_bridge.phone.sensor_logger import SensorLogger, read, survey
from firmware_bridge.stream import CodecError, G, Packet

START_NS = 1_698_501_144_401_773_000  # of the example in PUSHING.md
LINEAR = Layout("accelerometer", "gravity", "gyroscope")


def reading(name: str, i: int, **values: float) -> dict[str, Any]:
    return {"name": name, "time": START_NS + 10_000_000 * i, "values": values}


def push(number: int, *readings: dict[str, Any], session: str = "s") -> dict[str, Any]:
    return {"messageId": number, "sessionId": session, "deviceId": "d", "payload": list(readings)}


def data(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def samples(packets: list[Packet]) -> np.ndarray:
    return np.concatenate([packet.x for packet in packets])


def test_documented_message_is_decoded() -> None:
    # README.md, "Live Data Streaming": values of the JSON export, keys of the Python web server.
    message = push(
        0, reading("accelerometer", 0, x=0.06110857427120209, y=-0.0009566396474838257, z=-0.10382747650146484)
    )
    decoded = read(data(message))
    assert (decoded.number, decoded.session, decoded.device) == (0, "s", "d")
    np.testing.assert_allclose(
        decoded.samples["accelerometer"],
        [[START_NS / 1e9, 0.06110857427120209, -0.0009566396474838257, -0.10382747650146484]],
    )


def test_gravity_is_added_and_the_gyroscope_merged() -> None:
    at_rest = [reading("gravity", i, x=0, y=0, z=G) for i in range(5)]
    moving = [reading("accelerometer", i, x=1.0 * i, y=0, z=-1) for i in range(5)]
    turning = [reading("gyroscope", i, x=0, y=0, z=0.1 * i) for i in range(5)]
    other = [reading("location", 0, latitude=50.0), {"name": "test"}]
    got = samples(SensorLogger(LINEAR).feed(data(push(0, *turning[::-1], *other, *moving, *at_rest))))
    expected = [[i, 0, G - 1, 0, 0, 0.1 * i] for i in range(5)]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_messages_are_ordered_and_used_once() -> None:
    messages = [
        data(push(i, *(reading("totalacceleration", 4 * i + k, x=4 * i + k, y=0, z=G) for k in range(4))))
        for i in range(4)
    ]
    for order in permutations(range(1, 4)):
        made = SensorLogger(Layout("totalacceleration"))
        packets = made.feed(messages[0])
        for i in order:
            packets += made.feed(messages[i]) + made.feed(messages[i]) if made.bad == 0 else []
        assert samples(packets)[:, 0].tolist() == list(range(16))
        assert np.diff(np.concatenate([packet.t_s for packet in packets if packet.t_s is not None])) == pytest.approx(
            0.01, abs=1e-6
        )
        assert made.missing == 0


def test_missing_messages_are_counted() -> None:
    made = SensorLogger(Layout("totalacceleration"))
    came = [made.feed(data(push(i, reading("totalacceleration", i, x=i, y=0, z=G)))) for i in (0, 1, 4, 5, 6)]
    assert [len(packets) for packets in came] == [1, 1, 0, 0, 0]
    packets = made.feed(data(push(7, reading("totalacceleration", 7, x=7, y=0, z=G))))
    assert samples(packets)[:, 0].tolist() == [4, 5, 6, 7]
    assert made.missing == 2
    assert len(made.feed(data(push(8, reading("totalacceleration", 8, x=8, y=0, z=G))))) == 1


def test_new_session_or_restarted_count_is_accepted() -> None:
    made = SensorLogger(Layout("totalacceleration"))
    one = reading("totalacceleration", 0, x=0, y=0, z=G)
    assert len(made.feed(data(push(40, one)))) == 1
    assert len(made.feed(data(push(0, one, session="next")))) == 1
    assert len(made.feed(data(push(1, one, session="next")))) == 1
    assert made.missing == 0
    # The app was started anew: after some messages that look old, they are believed.
    fed = [made.feed(data(push(i, one, session="next"))) for i in (0, 0, 0, 0, 1, 2)]
    assert [len(packets) for packets in fed] == [0, 0, 0, 1, 1, 1]


def survey_of(ios: bool, *readings: dict[str, Any]) -> Layout:
    layout, _ = survey([read(data(push(0, *readings)))], ios)
    return layout


def test_best_streams_are_chosen() -> None:
    linear = reading("accelerometer", 0, x=0, y=0, z=0)
    gravity = reading("gravity", 0, x=0, y=0, z=-G)
    gyroscope = reading("gyroscope", 0, x=0, y=0, z=0)
    total = reading("totalacceleration", 0, x=0, y=0, z=G)
    raw_g = reading("accelerometerUncalibrated", 0, x=0, y=0, z=-1)
    raw = reading("accelerometeruncalibrated", 0, x=0, y=0, z=G)
    assert survey_of(False, linear, gravity, gyroscope) == LINEAR
    assert survey_of(True, linear, gravity) == Layout("accelerometer", "gravity", factor=-1.0)
    assert survey_of(False, linear, gravity, total) == Layout("totalacceleration")
    assert survey_of(True, linear, gravity, raw_g) == Layout("accelerometeruncalibrated", factor=-G)
    assert survey_of(True, linear, gravity, raw) == Layout("accelerometeruncalibrated")


@pytest.mark.parametrize(("unit", "factor"), [(1.0, -G), (-G, 1.0)])
def test_watch_is_preferred_to_the_phone(unit: float, factor: float) -> None:
    # COORDINATES.md, UNITS.md: display up, gravity is (0, 0, -1) in g on watchOS, (0, 0, 9.81) in m/s2 standardized.
    values = {f"acceleration{axis}": 0.5 * unit * (axis == "X") for axis in "XYZ"}
    values |= {f"gravity{axis}": -unit * (axis == "Z") for axis in "XYZ"}
    values |= {f"rotationRate{axis}": 2.0 * (axis == "Y") for axis in "XYZ"}
    readings = [reading("wrist motion", 0, **values), reading("totalacceleration", 0, x=0, y=0, z=G)]
    layout, note = survey([read(data(push(0, *readings)))], ios=True)
    assert (layout.factor, layout.placement) == (factor, "wrist")
    assert "watch" in note
    got = samples(SensorLogger(layout).feed(data(push(0, *readings))))
    np.testing.assert_allclose(got, [[-0.5 * G, 0, G, 0, 2, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ([reading("gyroscope", 0, x=0, y=0, z=0)], "no acceleration"),
        ([reading("accelerometer", 0, x=0, y=0, z=0)], "without gravity"),
        ([reading("wrist motion", 0, accelerationX=0, accelerationY=0, accelerationZ=0)], "watch .* without gravity"),
    ],
)
def test_streams_without_gravity_are_rejected(readings: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        survey_of(False, *readings)


def test_damaged_messages_are_counted_and_ignored() -> None:
    made = SensorLogger(Layout("totalacceleration"))
    good = reading("totalacceleration", 0, x=0, y=0, z=G)
    damaged = {**good, "values": {"x": 0, "y": "0", "z": 1}}
    assert made.feed(data(push(0, good, damaged))) == []
    assert (made.bad, made.why) == (1, "a number was expected, not '0'")
    assert len(made.feed(data(push(0, good)))) == 1


def test_transcript_gives_the_same_decoder() -> None:
    about = json.loads(json.dumps({"app": "sensor-logger", "layout": Layout("a", "b", "c", -G, "wrist").about()}))
    made = decoder(about)
    assert isinstance(made, SensorLogger)
    assert made.format == Layout("a", "b", "c", -G, "wrist").format
    for broken in (
        {},
        {"app": "x", "layout": about["layout"]},
        {"app": "sensor-logger"},
        {"app": "phyphox", "layout": about["layout"]},
    ):
        with pytest.raises(CodecError, match="transcript"):
            decoder(broken)


def test_hostile_messages_are_decoded_or_rejected() -> None:
    readings = [
        reading(name, i, x=0.5, y=1, z=9) for i in range(3) for name in ("accelerometer", "gravity", "gyroscope")
    ]
    messages = [push(i, *readings) for i in range(4)]
    survives_json(lambda: SensorLogger(LINEAR), messages)
    assert sensor_logger.MAX_WAITING < 10
