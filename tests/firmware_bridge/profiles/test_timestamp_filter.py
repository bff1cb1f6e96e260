from __future__ import annotations

import numpy as np
import pytest
from fuzz import MANY
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.profiles.timestamp_filter import TimestampFilter, plausible
from firmware_bridge.stream import ACC, CodecError, Format, Packet, PayloadDecoder

MS = Format(ACC, rate_hz=50, tick_hz=1000, tick_bits=32)


def packet(tick: int, n: int = 1) -> Packet:
    return Packet(np.zeros((n, 3), np.float32), tick=tick % 2**MS.tick_bits)


def passed(*ticks: int, format: Format = MS, n: int = 1) -> list[list[int]]:
    """Ticks that each packet lets through; -1 for a damaged one."""
    check = TimestampFilter(format)
    result = []
    for tick in ticks:
        good, damage = check.take(packet(tick, n))
        result.append([-1] * bool(damage) + [good_one.tick or 0 for good_one in good])
    return result


def test_undamaged_streams_are_never_held_back() -> None:
    assert passed(0, 20, 41, 59, 80) == [[0], [20], [41], [59], [80]]
    assert passed(0, 720, 1440, 2130, n=36) == [[0], [720], [1440], [2130]]


def test_packet_after_a_loss_waits_for_the_next() -> None:
    assert passed(0, 60, 80, 100) == [[0], [], [60, 80], [100]]
    assert passed(0, 60, 120, 140) == [[0], [], [60], [120, 140]]
    assert passed(0, 9_000_000, 9_000_020) == [[0], [], [9_000_000, 9_000_020]]
    assert passed(0, 1440, 2160, n=36) == [[0], [], [1440, 2160]]


@pytest.mark.parametrize("off", [1000, 86_400_000, 2**31, -30, -1000, -(2**30)])
def test_damaged_time_drops_only_its_packet(off: int) -> None:
    start = 5_000_000
    ticks = [start, start + 20, start + 40 + off, start + 60, start + 80, start + 100]
    got = passed(*ticks)
    # What comes after has left one out, so it waits too.
    assert got == [[start], [start + 20], [], [-1], [start + 60, start + 80], [start + 100]]


def test_set_clock_drops_nothing() -> None:
    assert passed(5000, 5020, 100, 120, 140) == [[5000], [5020], [], [100, 120], [140]]
    assert passed(5000, 5020, 900_000, 900_020) == [[5000], [5020], [], [900_000, 900_020]]


def test_damaged_first_time_drops_nothing_else() -> None:
    assert passed(3_000_000, 100, 120, 140) == [[3_000_000], [], [100, 120], [140]]


def test_clock_wraps() -> None:
    end = 2**32
    assert passed(end - 30, end - 10, end + 10, end + 30) == [[end - 30], [end - 10], [10], [30]]
    assert passed(end - 30, end + 30, end + 50) == [[end - 30], [], [30, 50]]


def test_any_forward_step_is_accepted_without_a_rate() -> None:
    unknown = Format(ACC, rate_hz=None, tick_hz=1000, tick_bits=32)
    assert passed(0, 20, 4000, format=unknown) == [[0], [20], [4000]]
    assert passed(1000, 20, 1020, format=unknown) == [[1000], [], [-1, 1020]]


def test_packets_without_a_clock_pass() -> None:
    check, plain = TimestampFilter(MS), Packet(np.zeros((1, 3), np.float32))
    assert check.take(plain) == ([plain], "")


def test_decoder_counts_damaged_packets_and_keeps_the_rest() -> None:
    def decode(payload: bytes) -> list[Packet]:
        return [packet(tick) for tick in payload]

    decoder = PayloadDecoder(MS, {"": plausible(decode, MS)})
    assert [[good.tick for good in decoder.feed(bytes([tick]))] for tick in (0, 20, 200, 40, 60)] == [
        [0],
        [20],
        [],
        [40],
        [60],
    ]
    assert decoder.bad == 1
    assert decoder.why == "the time of a packet was off by 0.18 s"
    with pytest.raises(CodecError) as refused:
        plausible(decode, MS)(bytes([0, 20, 200, 40]))
    assert [good.tick for good in refused.value.packets] == [0, 20, 40]


def test_every_packet_is_emitted_once_or_dropped() -> None:
    @settings(MANY, max_examples=2000)
    @given(st.lists(st.one_of(st.integers(0, 400), st.integers(0, 2**32 - 1)), max_size=15))
    def check(ticks: list[int]) -> None:
        check = TimestampFilter(MS)
        sent = [packet(tick) for tick in ticks]
        out: list[Packet] = []
        damaged = 0
        for one in sent:
            good, damage = check.take(one)
            out += good
            damaged += bool(damage)
        positions = [next(i for i, one in enumerate(sent) if one is good) for good in out]
        assert positions == sorted(set(positions))
        assert 0 <= len(sent) - len(out) - damaged <= 1

    check()
