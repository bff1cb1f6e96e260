"""Arbitrary bytes for every decoder: no exception, bounded buffers, and equal results for any split."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from firmware_bridge.stream import Decoder, Packet

CASES = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 4_000
"""Payloads of each decoder."""

BOUND = 4096
"""Bytes of samples that one byte of input may become at most (a delta frame can put 255 rows into two bytes)."""

MANY = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def damaged(valid: Sequence[bytes], longest: int = 512) -> st.SearchStrategy[bytes]:
    """Random bytes, and valid payloads with bytes changed, cut off, added or left out."""
    real = st.sampled_from(list(valid))
    place = st.integers(0, max(map(len, valid)))
    return st.one_of(
        st.binary(max_size=longest),
        st.builds(lambda data, at, byte: data[:at] + bytes([byte]) + data[at + 1 :], real, place, st.integers(0, 255)),
        st.builds(lambda data, at: data[:at], real, place),
        st.builds(lambda data, rest: data + rest, real, st.binary(max_size=32)),
        st.builds(lambda data, at, piece: data[:at] + piece + data[at:], real, place, st.binary(max_size=8)),
    )


def survives(make: Callable[[], Decoder], origin: str, valid: Sequence[bytes], longest: int = 512) -> None:
    """`CASES` payloads in sequence through one decoder: no exception, every packet valid and bounded."""
    decoder = make()

    @MANY
    @given(damaged(valid, longest))
    def feed(data: bytes) -> None:
        packets = decoder.feed(data, origin)
        assert all(sound(packet, len(decoder.format.channels)) for packet in packets)
        assert sum(packet.x.nbytes for packet in packets) <= BOUND * (len(data) + 64)

    feed()


def splits_alike(make: Callable[[], Decoder], valid: Sequence[bytes], origin: str = "", cases: int = CASES) -> None:
    """Any split of a byte stream, damaged or not, gives the same packets."""
    stream = st.lists(st.one_of(st.sampled_from(list(valid)), damaged(valid, 64)), min_size=1, max_size=8)

    @settings(MANY, max_examples=cases)
    @given(stream.map(b"".join), st.lists(st.integers(0, 400), max_size=12))
    def feed(data: bytes, cuts: list[int]) -> None:
        whole, pieces = make(), make()
        expected = whole.feed(data, origin)
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        got = [packet for a, b in pairwise(edges) for packet in pieces.feed(data[a:b], origin)]
        assert len(got) == len(expected)
        assert all(alike(a, b) for a, b in zip(got, expected, strict=True))
        assert pieces.bad == whole.bad

    feed()


def sound(packet: Packet, channels: int) -> bool:
    """Whether a packet satisfies the contract of `Packet`."""
    n = len(packet.x)
    timed = packet.t_s is None or packet.t_s.shape == (n,)
    return (
        (n > 0) is (packet.prediction is None)
        and packet.x.shape == (n, channels)
        and packet.x.dtype == np.float32
        and timed
    )


def alike(one: Packet, other: Packet) -> bool:
    """Whether two packets are the same, bit for bit."""
    times = (one.t_s is None and other.t_s is None) or (
        one.t_s is not None and other.t_s is not None and one.t_s.tobytes() == other.t_s.tobytes()
    )
    return times and (one.seq, one.tick, one.prediction, one.x.tobytes()) == (
        other.seq,
        other.tick,
        other.prediction,
        other.x.tobytes(),
    )
