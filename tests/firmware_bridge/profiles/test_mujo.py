from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fuzz import CASES, damaged, survives
from hypothesis import given, settings

from firmware_bridge.profiles import mujo, recognize
from firmware_bridge.profiles.base import Read, Request, Subscribe, Write, rehearse
from firmware_bridge.profiles.mujo import Config
from firmware_bridge.protocol.packet import TICK_BITS, TICK_HZ, encode
from firmware_bridge.simulator.conversation import advert, converse, listen, samples
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.mujo import Mujo
from firmware_bridge.stream import ACC, IMU, CodecError, Decoder, G

CONFIG = bytes.fromhex("01 06 01 0802 03 0401 0802 1004")  # of the docstring


def decoder(config: bytes = CONFIG) -> Decoder:
    return rehearse(mujo.start(Request(advert(Mujo(rest)))), [config, config])


def test_config_has_the_documented_bytes() -> None:
    config = Config(6, "wrist", 52.0, (26.0, 52.0, 104.0))
    assert config.encode() == CONFIG
    assert Config.decode(CONFIG) == config
    assert CONFIG.hex(" ") in (mujo.__doc__ or "")
    assert Config.decode(CONFIG + b"later versions say more") == config
    assert mujo.encode_rate(52.0) == b"\x08\x02"


def test_unknown_placement_is_no_error() -> None:
    assert Config.decode(CONFIG[:2] + b"\xff" + CONFIG[3:]).placement is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x02" + CONFIG[1:],  # another version
        CONFIG[:1] + b"\x05" + CONFIG[2:],  # five channels
        CONFIG[:3] + b"\0\0" + CONFIG[5:],  # no rate
        CONFIG[:5] + b"\x04" + CONFIG[6:],  # a rate too few
        CONFIG[:5] + b"\x07" + CONFIG[6:] * 3,  # more rates than it may have
        CONFIG[:6] + b"\0\0" + CONFIG[8:],  # a rate of zero
    ],
)
def test_invalid_configs_are_rejected(value: bytes) -> None:
    with pytest.raises(CodecError, match="config"):
        decoder(value)


def test_hostile_configs_are_decoded_or_rejected() -> None:
    @settings(max_examples=CASES, deadline=None, database=None)
    @given(damaged([CONFIG]))
    def read(value: bytes) -> None:
        try:
            config = Config.decode(value)
        except CodecError:
            return
        assert config.channels in (3, 6)
        assert 1 <= len(config.rates_hz) <= mujo.MAX_RATES
        assert config.rate_hz > 0

    read()


def test_start_sets_the_rate_reads_it_back_and_subscribes() -> None:
    wearable = Mujo(rest)
    assert recognize(advert(wearable)) is mujo.PROFILE
    talk = converse(mujo.PROFILE, wearable, rate_hz=100)
    assert talk.steps == [
        Read(mujo.CONFIG),
        Write(mujo.CONFIG, b"\x10\x04"),
        Read(mujo.CONFIG),
        Subscribe(mujo.DATA),
    ]
    assert wearable.rate_hz == talk.decoder.format.rate_hz == 104
    assert talk.decoder.format.placement == "wrist"


def test_firmware_may_keep_its_rate() -> None:
    class Stubborn(Mujo):
        def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
            return []

    talk = converse(mujo.PROFILE, Stubborn(rest), rate_hz=104)
    assert talk.decoder.format.rate_hz == 52


@pytest.mark.parametrize(("first", "batch"), [(65520, 1), (55800, 4)])  # the number wraps soon, and the clock
def test_simulated_board_streams_its_motion(first: int, batch: int) -> None:
    wearable = Mujo(sine, first=first)
    wearable.batch = batch
    talk = converse(mujo.PROFILE, wearable, rate_hz=52)
    packets = listen(talk, wearable, 2.0)
    x = samples(packets)
    assert talk.decoder.format.channels == IMU
    assert len(x) == wearable.notified
    assert abs(len(x) - 104) <= batch
    numbers = [packet.seq for packet in packets]
    assert [(b - a) % 65536 for a, b in pairwise(numbers)] == [batch] * (len(packets) - 1)
    steps = np.diff([packet.tick for packet in packets])
    assert min(numbers) == 0 if first == 65520 else min(steps) < 0
    ticks = steps % (1 << TICK_BITS)
    np.testing.assert_allclose(ticks / TICK_HZ, batch / 52, atol=1e-4)
    np.testing.assert_allclose(x, sine(np.arange(first, first + len(x)) / 52), atol=0.003)


def test_board_without_gyroscope() -> None:
    wearable = Mujo(rest)
    wearable.channels, wearable.placement = 3, None
    talk = converse(mujo.PROFILE, wearable)
    assert talk.decoder.format.channels == ACC
    assert talk.decoder.format.placement is None
    x = samples(listen(talk, wearable, 1.0))
    np.testing.assert_allclose(x, [[0, 0, G]] * len(x), atol=0.003)


def test_packet_of_other_channels_is_rejected() -> None:
    device = decoder()
    assert device.feed(encode(np.zeros((1, 3), np.float32), 0, 0), mujo.DATA) == []
    assert device.bad == 1
    assert "3 channels, not 6" in device.why


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    valid = [encode(np.ones((n, 6), np.float32), 65535, 1 << 23) for n in (1, 2, 16)]
    survives(decoder, mujo.DATA, valid)
