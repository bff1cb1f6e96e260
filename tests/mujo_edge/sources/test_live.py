"""The payload queue is bounded and reports overruns; payloads become chunks over any split and connection."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.protocol import packet
from firmware_bridge.stream import ACC, IMU, Format, Packet, PayloadDecoder
from mujo_edge.core import Chunk, DeviceError, Payload
from mujo_edge.gaps import GapDetector
from mujo_edge.sources import live
from mujo_edge.sources.live import Assembler, PayloadQueue, stream_info


def decoder(rate_hz: float = 50.0) -> PayloadDecoder:
    return PayloadDecoder(packet.format_of(False, rate_hz), {"data": packet.decode})


def payload(first: int, n: int = 2) -> bytes:
    """Samples number `first` to `first + n - 1`, whose x is their number / 10."""
    x = np.zeros((n, 3), np.float32)
    x[:, 0] = np.arange(first, first + n) / 10
    return packet.encode(x, first, round((first + n - 1) / 50 * packet.TICK_HZ))


def raw(first: int, n: int = 2, origin: str = "data") -> Payload:
    return Payload((first + n) / 50, "data", origin, payload(first, n))


def samples(chunks: list[Chunk]) -> tuple[bytes, bytes, list[tuple[int, int]], int]:
    """Bits of times and of samples, losses with the number of the sample that they precede, corrupt payloads."""
    counts = np.cumsum([0, *(len(chunk.t_s) for chunk in chunks)]).tolist()
    lost = [(at, chunk.lost) for at, chunk in zip(counts, chunks, strict=False) if chunk.lost]
    t, x = np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])
    return t.tobytes(), x.tobytes(), lost, sum(chunk.corrupt for chunk in chunks)


async def test_queue_returns_waiting_payloads_in_order() -> None:
    queue = PayloadQueue()
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()
    changing = bytearray(b"b")
    queue.put(b"a", kind="open", received_s=1.0)
    queue.put(changing, "x", received_s=2.0)
    changing[0] = 0
    assert await taking == [Payload(1.0, "open", "", b"a"), Payload(2.0, "data", "x", b"b")]
    queue.put(b"c")
    (third,) = await queue.take()
    assert third.received_s > 2.0


async def test_full_queue_reports_overruns_but_keeps_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIMIT", 5)
    queue = PayloadQueue()
    for k in range(8):
        queue.put(payload(2 * k), "data", received_s=float(k))
    queue.put(b"", kind="close", received_s=9.0)
    queue.put(b"late", received_s=9.5)
    taken = await queue.take()
    assert [one.kind for one in taken] == ["data"] * 5 + ["overrun", "close", "overrun"]
    assert [one.data for one in taken if one.kind == "overrun"] == [b"3", b"1"]
    queue.put(b"next")
    assert [one.data for one in await queue.take()] == [b"next"]


async def test_queue_limits_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIMIT_BYTES", 1000)
    queue = PayloadQueue()
    for _ in range(30):
        queue.put(bytes(300))
    taken = await queue.take()
    assert sum(len(one.data) for one in taken if one.kind == "data") == 900
    assert taken[-1].data == b"27"
    queue.put(bytes(300))
    assert len(await queue.take()) == 1


async def test_overruns_are_counted_as_lost_and_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIMIT", 10)
    queue, assembler, clock = PayloadQueue(), Assembler(decoder()), GapDetector(ACC, 0.25)
    chunks = []
    for k in range(25):
        queue.put(payload(2 * k), "data", received_s=2 * k / 50)
        if k in (19, 24):
            chunks += assembler.chunks(await queue.take())
    for chunk in chunks:
        clock.split(chunk)
    stats = clock.stats
    assert (stats.samples, stats.lost, stats.corrupt) == (30, 20, 10)


def test_loss_starts_a_new_chunk_and_every_payload_is_kept_once() -> None:
    damaged = payload(12)[:-1] + b"?"
    raws = [
        Payload(0.0, "open", "", b"{}"),
        *(raw(first) for first in (0, 2, 4)),
        Payload(0.2, "data", "other", b"not for us"),
        raw(10),
        Payload(0.3, "data", "data", damaged),
        raw(14),
        Payload(1.0, "close", "", b""),
    ]
    chunks = Assembler(decoder()).chunks(raws)
    assert [(len(chunk.t_s), chunk.lost, chunk.corrupt) for chunk in chunks] == [(6, 0, 0), (2, 4, 0), (2, 2, 1)]
    assert [one for chunk in chunks for one in chunk.raw] == raws
    assert [chunk.received_s for chunk in chunks] == [raw(4).received_s, raw(10).received_s, raw(14).received_s]
    np.testing.assert_allclose(chunks[1].x[:, 0], [1.0, 1.1], atol=1e-3)


def test_refused_payloads_are_logged_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mujo_edge.sources")
    made = decoder()
    Assembler(made).chunks([raw(0), Payload(0.3, "data", "data", b"nonsense")])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mujo_edge.sources.live", "DEBUG")
    assert record.message == f"1 payloads refused: {made.why}"
    assert made.why


def test_payloads_without_samples_make_an_empty_chunk() -> None:
    assembler = Assembler(decoder())
    (chunk,) = assembler.chunks([Payload(1.0, "open", "", b"{}"), Payload(2.0, "data", "data", b"nonsense")])
    assert (chunk.t_s.shape, chunk.x.shape, chunk.corrupt, chunk.received_s) == ((0,), (0, 3), 1, 2.0)
    assert assembler.chunks([]) == []


@given(
    lost=st.sets(st.integers(1, 29)),
    damaged=st.sets(st.integers(1, 29)),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_assembler_is_independent_of_the_split_into_calls(lost: set[int], damaged: set[int], cuts: list[int]) -> None:
    raws = [raw(2 * k) for k in range(30) if k not in lost]
    raws = [Payload(one.received_s, "data", "data", b"?") if i in damaged else one for i, one in enumerate(raws)]
    pieces = Assembler(decoder())
    edges = [0, *sorted(cuts), len(raws)]
    split = [chunk for a, b in pairwise(edges) for chunk in pieces.chunks(raws[a:b])]
    whole = Assembler(decoder()).chunks(raws)
    assert samples(split) == samples(whole)
    assert [one for chunk in split for one in chunk.raw] == raws
    assert sum(len(chunk.t_s) + chunk.lost for chunk in whole) <= 60


def test_sample_count_continues_after_a_reconnect() -> None:
    assembler = Assembler(decoder())
    before = assembler.chunks([raw(0), raw(2)])
    assembler.reopen(decoder())
    after = assembler.chunks([Payload(1.0, "open", "", b"{}"), raw(100)])
    assert (before[0].lost, after[0].lost) == (0, 96)
    assert after[0].t_s[0] - before[0].t_s[-1] == pytest.approx(97 / 50, abs=1e-4)


def test_time_begins_with_the_first_sample() -> None:
    for clock in (None, 1000.0):
        format = Format(ACC, 50.0, tick_hz=clock, tick_bits=32)
        packet = Packet(np.zeros((1, 3), np.float32), tick=None if clock is None else 123)
        assembler = Assembler(PayloadDecoder(format, {"": lambda data, packet=packet: [packet]}))
        (chunk,) = assembler.chunks([Payload(86400.0, "data", "", b"")])
        assert chunk.t_s.tolist() == [0.0]


def test_rate_may_change_after_a_reconnect() -> None:
    assembler = Assembler(PayloadDecoder(Format(ACC, 50.0), {"": lambda data: [Packet(np.zeros((5, 3), np.float32))]}))
    for k in range(100):
        assembler.chunks([Payload(k / 10, "data", "", b"")])
    assembler.reopen(PayloadDecoder(Format(ACC, 100.0), {"": lambda data: [Packet(np.zeros((5, 3), np.float32))]}))
    (chunk,) = assembler.chunks([Payload(20.0, "data", "", b"")])
    np.testing.assert_allclose(chunk.t_s, [20.04, 20.05, 20.06, 20.07, 20.08])  # since the first sample, at -0.08


@pytest.mark.parametrize("format", [Format(IMU, 50.0), Format(ACC, 50.0, gravity="excluded")])
def test_reconnect_with_other_channels_is_an_error(format: Format) -> None:
    with pytest.raises(DeviceError, match="Start again"):
        Assembler(decoder()).reopen(PayloadDecoder(format, {}))


def test_earlier_errors_of_a_decoder_are_not_counted() -> None:
    used = decoder()
    used.feed(b"nonsense", "data")
    (chunk,) = Assembler(used).chunks([raw(0)])
    assert chunk.corrupt == 0


def test_stream_info_follows_the_format() -> None:
    info = stream_info("a watch", Format(IMU, 52.0, gravity="excluded", placement="wrist"))
    assert (info.name, info.channels, info.rate_hz) == ("a watch", IMU, 52.0)
    assert (info.gravity, info.placement, info.labels) == ("excluded", "wrist", None)


def test_decoder_is_flushed_when_a_connection_closes() -> None:
    pending = [Packet(np.full((2, 3), np.nan, np.float32), seq=2, tick=round(3 / 50 * packet.TICK_HZ))]
    made = PayloadDecoder(packet.format_of(False, 50.0), {"data": packet.decode}, rest=lambda: pending)
    chunks = Assembler(made).chunks([Payload(1.0, "data", "data", payload(0)), Payload(1.1, "close", "", b"")])
    assert sum(len(chunk.t_s) for chunk in chunks) == 4
    assert [raw.kind for chunk in chunks for raw in chunk.raw] == ["data", "close"]
    clock = GapDetector(ACC, 0.25)
    for chunk in chunks:
        clock.split(chunk)
    assert (clock.stats.samples, clock.stats.invalid, clock.stats.lost) == (4, 2, 0)
