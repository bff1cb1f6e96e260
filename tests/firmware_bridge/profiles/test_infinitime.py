from __future__ import annotations

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import infinitime, recognize
from firmware_bridge.profiles.base import Request, Subscribe, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.infinitime import InfiniTime
from firmware_bridge.stream import ACC, CodecError, Decoder, G


def decoder() -> Decoder:
    return rehearse(infinitime.start(Request(advert(InfiniTime(rest)))), [])


def test_readings_of_a_real_watch_are_decoded() -> None:
    # wasp-os#185: the chip's (x, y, z) on a table and tilted to the left. InfiniTime sends (y, x, z) of it.
    (flat,) = infinitime.decode(np.array([157, 22, -1036], "<i2").tobytes())
    np.testing.assert_allclose(flat.x, np.array([[-157, -22, 1036]]) / 1024 * G, rtol=1e-6)
    (left,) = infinitime.decode(np.array([-795, 40, -451], "<i2").tobytes())
    assert left.x[0, 0] > 0.7 * G  # 3 o'clock is up


@pytest.mark.parametrize("payload", [b"", bytes(4), bytes(12)])
def test_invalid_payloads_are_rejected(payload: bytes) -> None:
    with pytest.raises(CodecError, match="6 bytes"):
        infinitime.decode(payload)


def test_simulated_watch_streams_its_motion() -> None:
    wearable = InfiniTime(sine)
    assert recognize(advert(wearable)) is infinitime.PROFILE
    talk = converse(infinitime.PROFILE, wearable)
    assert talk.steps == [Subscribe(infinitime.MOTION)]
    assert (talk.decoder.format.rate_hz, talk.decoder.format.even) == (10, False)
    assert talk.decoder.format.channels == ACC
    x = samples(listen(talk, wearable, 2.05))
    # sin is alike at 0.2 s and 0.3 s, and at 0.7 s and 0.8 s: the second of them is not sent.
    assert wearable.withheld == 4
    assert len(x) == wearable.notified == 21 - 4
    sent = [n for n in range(21) if n % 10 not in (3, 8)]
    np.testing.assert_allclose(x, sine(np.array(sent) / 10)[:, :3], atol=0.006)


def test_still_watch_sends_nothing() -> None:
    wearable = InfiniTime(rest)
    talk = converse(infinitime.PROFILE, wearable)
    (packet,) = listen(talk, wearable, 3.0)
    np.testing.assert_allclose(packet.x, [[0, 0, G]], rtol=1e-6)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(decoder, infinitime.MOTION, [bytes(6), b"\xff\x7f\x00\x80\x01\x00"])
