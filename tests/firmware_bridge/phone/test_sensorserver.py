from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hostile_json import survives_json

from firmware_bridge.phone import decoder
from firmware_bridge.phone.layout import Layout
from firmware_bridge.phone.sensorserver import ACCELEROMETER, GYROSCOPE, SensorServer, layout_of, path, types_of
from firmware_bridge.stream import CodecError

BOTH = Layout(ACCELEROMETER, gyroscope=GYROSCOPE)


def sample(i: int, sensor: str = ACCELEROMETER, x: float = 0.0) -> dict[str, Any]:
    return {
        "values": [x, 0.0, 9.81],
        "timestamp": 3_925_657_519_043_709 + 20_000_000 * i,
        "accuracy": 3,
        "type": sensor,
    }


def test_documented_message_is_decoded() -> None:
    data = b'{\n  "accuracy": 2,\n  "timestamp": 3925657519043709,\n  "values": [0.31892395,-0.97802734,10.049896]\n}'
    (packet,) = SensorServer(Layout(ACCELEROMETER)).feed(data)
    np.testing.assert_array_equal(packet.x, np.array([[0.31892395, -0.97802734, 10.049896]], np.float32))
    assert packet.t_s is not None
    assert packet.t_s.tolist() == pytest.approx([3925657.519043709])


def test_two_sensors_share_a_socket() -> None:
    made = SensorServer(BOTH)
    packets = []
    for i in range(5):
        packets += made.feed(json.dumps(sample(i, x=i)).encode())
        packets += made.feed(json.dumps(sample(i, GYROSCOPE, x=0.1 * i)).encode())
    x = np.concatenate([packet.x for packet in packets])
    np.testing.assert_allclose(x[:, 0], range(5))
    np.testing.assert_allclose(x[:, 3], 0.1 * np.arange(5), atol=1e-6)


def test_paths_are_as_documented() -> None:
    assert path((ACCELEROMETER,)) == "/sensor/connect?type=android.sensor.accelerometer"
    both = path((ACCELEROMETER, GYROSCOPE))
    assert both.startswith("/sensors/connect?types=%5B%22android.sensor.accelerometer%22%2C")
    assert types_of(f"ws://phone:8080{both}") == (ACCELEROMETER, GYROSCOPE)
    assert types_of('ws://p/sensors/connect?types=["android.sensor.Gravity"]') == ("android.sensor.gravity",)
    assert types_of("ws://phone:8080/sensor/connect?type=android.sensor.accelerometer") == (ACCELEROMETER,)
    assert types_of("ws://phone:8080") == ()
    with pytest.raises(CodecError, match="types must be a list"):
        types_of("ws://phone/sensors/connect?types=[1]")


def test_layout_without_gravity_is_rejected() -> None:
    linear, gravity = "android.sensor.linear_acceleration", "android.sensor.gravity"
    assert layout_of((linear, gravity, GYROSCOPE)) == Layout(linear, gravity, GYROSCOPE)
    with pytest.raises(CodecError, match="without gravity"):
        layout_of((linear,))
    with pytest.raises(CodecError, match="no acceleration"):
        layout_of((GYROSCOPE,))


def test_samples_of_other_sensors_are_rejected() -> None:
    made = SensorServer(BOTH)
    for message in (
        sample(0, "android.sensor.light"),
        {"values": [1, 2], "timestamp": 0, "type": GYROSCOPE},
        {"lat": 1},
    ):
        assert made.feed(json.dumps(message).encode()) == []
    assert made.bad == 3


def test_transcript_gives_the_same_decoder() -> None:
    made = decoder(json.loads(json.dumps({"app": "sensorserver", "layout": BOTH.about()})))
    assert isinstance(made, SensorServer)
    assert made.format == BOTH.format


def test_hostile_messages_are_decoded_or_rejected() -> None:
    survives_json(
        lambda: SensorServer(BOTH), [sample(i, name) for i in range(3) for name in (ACCELEROMETER, GYROSCOPE)]
    )
