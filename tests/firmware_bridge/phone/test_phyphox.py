from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hostile_json import survives_json

from firmware_bridge.phone import decoder
from firmware_bridge.phone.layout import Layout
from firmware_bridge.phone.phyphox import Phyphox, Poll, Status, experiment, layout_of
from firmware_bridge.stream import CodecError

BUFFERS = {"accelerometer": ("acc_time", "accX", "accY", "accZ"), "gyroscope": ("gyr_time", "gyrX", "gyrY", "gyrZ")}
LAYOUT = Layout("accelerometer", gyroscope="gyroscope")


def answer(**buffers: list[float | None]) -> dict[str, Any]:
    """In the form of openapi.yaml, GetResponse."""
    parts = {name: {"size": 0, "updateMode": "partial", "buffer": values} for name, values in buffers.items()}
    return {"buffer": parts, "status": {"session": "a1b2c3", "measuring": True, "timedRun": False, "countDown": 0}}


def both(first: int, n: int) -> dict[str, Any]:
    i = np.arange(first, first + n)
    t, zero = (i / 100).tolist(), [0.0] * n
    acc = {"acc_time": t, "accX": i.astype(float).tolist(), "accY": zero, "accZ": [9.81] * n}
    return answer(**acc, gyr_time=t, gyrX=(0.1 * i).tolist(), gyrY=zero, gyrZ=zero)


def test_experiment_is_read_from_the_config() -> None:
    # openapi.yaml, Config and ConfigInput; the names of "Acceleration (with g)".
    outputs = [{"x": "accX"}, {"y": "accY"}, {"z": "accZ"}, {"t": "acc_time"}]
    config = {
        "crc32": "1a2b",
        "title": "Acceleration (with g)",
        "buffers": [{"name": "accX", "size": 0}],
        "inputs": [{"source": "accelerometer", "outputs": outputs}, {"source": "bluetooth"}],
        "export": [],
    }
    title, buffers = experiment(json.dumps(config).encode())
    assert (title, buffers) == ("Acceleration (with g)", {"accelerometer": BUFFERS["accelerometer"]})
    assert layout_of(buffers) == Layout("accelerometer")
    assert layout_of(BUFFERS) == LAYOUT
    with pytest.raises(CodecError, match="without gravity"):
        layout_of({"linear_acceleration": ("t", "x", "y", "z")})
    with pytest.raises(CodecError, match="a list was expected"):
        experiment(b'{"inputs": {}}')
    with pytest.raises(CodecError, match="an input"):
        experiment(b'{"inputs": [{"source": "accelerometer", "outputs": 3}]}')


def test_polls_request_only_newer_samples() -> None:
    poll = Poll({"accelerometer": ("t", "acc x", "y", "z")})
    assert poll.path == "/get?t&acc%20x&y&z"
    new = {"t": [3.25, 3.5], "acc x": [1.0, 2.0], "y": [0.0, 0.0], "z": [9.81, 9.81]}
    assert poll.answered(json.dumps(answer(**new)).encode()) == Status("a1b2c3", True, True)
    assert poll.path == "/get?t=3.5&acc%20x=3.5%7Ct&y=3.5%7Ct&z=3.5%7Ct"
    none = {name: [] for name in new}
    assert poll.answered(json.dumps(answer(**none)).encode()) == Status("a1b2c3", True, False)
    assert poll.since_s == {"accelerometer": 3.5}
    with pytest.raises(CodecError, match="no status"):
        poll.answered(b"{}")


def test_responses_give_each_sample_once() -> None:
    made = Phyphox(LAYOUT, BUFFERS)
    packets = [*made.feed(json.dumps(both(0, 20)).encode()), *made.feed(json.dumps(both(15, 20)).encode())]
    x = np.concatenate([packet.x for packet in packets])
    np.testing.assert_allclose(x, [[i, 0, 9.81, 0.1 * i, 0, 0] for i in range(35)], atol=1e-6)


def test_null_values_and_unequal_buffers_are_handled() -> None:
    made = Phyphox(Layout("accelerometer"), BUFFERS)
    body = answer(acc_time=[0.0, 0.1, 0.2, 0.3], accX=[1, None, 3, 4], accY=[0] * 4, accZ=[9.81] * 3)
    (packet,) = made.feed(json.dumps(body).encode())
    assert packet.x[:, 0].tolist() == [1, 3]


def test_cleared_data_restart_the_stream() -> None:
    made = Phyphox(LAYOUT, BUFFERS)
    made.feed(json.dumps(both(500, 20)).encode())
    packets = made.feed(json.dumps(both(0, 20)).encode())
    assert sum(len(packet.x) for packet in packets) == 20


def test_transcript_gives_the_same_decoder() -> None:
    made = decoder(json.loads(json.dumps({"app": "phyphox", "layout": LAYOUT.about(), "buffers": BUFFERS})))
    assert isinstance(made, Phyphox)
    (packet,) = [packet for packet in made.feed(json.dumps(both(0, 5)).encode()) if len(packet.x)]
    assert packet.x.shape == (5, 6)


def test_hostile_answers_are_decoded_or_rejected() -> None:
    survives_json(lambda: Phyphox(LAYOUT, BUFFERS), [both(0, 3), both(2, 2), both(4, 1)])
