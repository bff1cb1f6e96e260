"""Times of samples compared with those of a simulated device, and losses with the samples it sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.protocol import packet as ours
from firmware_bridge.stream import ACC, F64, Format, Packet
from mujo_edge.core import Chunk
from mujo_edge.gaps import GapDetector
from mujo_edge.sources.estimators import Period
from mujo_edge.sources.timebase import REPAIR_S, Timebase

MANY = settings(max_examples=150, deadline=None)


@dataclass(frozen=True, slots=True)
class Device:
    """Takes sample `k` at host time k / rate_hz, `batch` in a packet, with a clock that runs `drift_ppm` fast."""

    rate_hz: float = 50.0
    batch: int = 1
    tick_hz: float = 1e6
    tick_bits: int = 64
    seq_bits: int = 16
    drift_ppm: float = 0.0
    first_tick: int = 0
    first_seq: int = 0

    def host_s(self, number: int) -> float:
        return number / self.rate_hz

    def clock_s(self, number: int) -> float:
        return self.host_s(number) * (1 + self.drift_ppm * 1e-6)

    def packet(self, k: int, fields: str) -> Packet:
        """Packet number `k`, with those `fields` that the device sends."""
        first, last = k * self.batch, (k + 1) * self.batch - 1
        x = np.arange(first, last + 1, dtype=np.float32)[:, None].repeat(3, 1)
        return Packet(
            x,
            (self.first_seq + first) % (1 << self.seq_bits) if "seq" in fields else None,
            (self.first_tick + round(self.clock_s(last) * self.tick_hz)) % (1 << self.tick_bits)
            if "tick" in fields
            else None,
            np.array([self.clock_s(i) for i in range(first, last + 1)]) if "t_s" in fields else None,
        )

    def format(self, fields: str, rate_hz: float | None = None, **changes: object) -> Format:
        clock = {"tick_hz": self.tick_hz, "tick_bits": self.tick_bits} if "tick" in fields else {}
        count = {"seq_bits": self.seq_bits} if "seq" in fields else {}
        return Format(ACC, rate_hz or self.rate_hz, **clock, **count, **changes)  # type: ignore[arg-type]


def link(taken_s: F64, interval_s: float, seed: int, stalls: Sequence[tuple[float, float]] = ()) -> F64:
    """Arrival of what was ready at `taken_s`: at the next connection event, up to 3 ms late; nothing comes in a stall
    (start, duration), then all at once."""
    rng = np.random.default_rng(seed)
    arrival = (np.floor(taken_s / interval_s) + 1) * interval_s + rng.uniform(0, 0.003, len(taken_s))
    for begin_s, lasts_s in stalls:
        stalled = (arrival >= begin_s) & (arrival < begin_s + lasts_s)
        arrival[stalled] = begin_s + lasts_s + np.arange(stalled.sum()) * 1e-3
    return np.asarray(np.maximum.accumulate(arrival))


def stamped(timebase: Timebase, packets: Sequence[Packet], received_s: Sequence[float]) -> tuple[F64, int]:
    """Times of all samples, and the sum of the losses."""
    out = [timebase.stamp(packet, float(s)) for packet, s in zip(packets, received_s, strict=True)]
    return np.concatenate([times for times, _ in out]), sum(lost for _, lost in out)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    tick_hz, tick_bits = draw(st.sampled_from([(ours.TICK_HZ, 24), (1e3, 16), (1e3, 32), (1e6, 32), (1e9, 64)]))
    return Device(
        rate_hz=draw(st.sampled_from([12.5, 25.0, 50.0, 52.0, 104.0, 200.0])),
        batch=draw(st.sampled_from([1, 2, 5, 16])),
        tick_hz=tick_hz,
        tick_bits=tick_bits,
        seq_bits=draw(st.sampled_from([12, 16, 32])),
        drift_ppm=draw(st.sampled_from([-200.0, 0.0, 200.0])),
        first_tick=draw(st.integers(0, (1 << tick_bits) - 1)),
        first_seq=draw(st.integers(0, 65535)),
    )


@st.composite
def journeys(draw: st.DrawFn) -> list[tuple[bool, int]]:
    """Runs of packets: (whether they arrive, how many). The first and last ones arrive."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    return [(True, draw(st.integers(30, 60))), *((i % 2 == 1, n) for i, n in enumerate(lengths)), (True, 20)]


def arrived(journey: list[tuple[bool, int]]) -> list[int]:
    """The numbers of the packets that arrive."""
    edges = np.cumsum([0, *(n for _, n in journey)]).tolist()
    return [k for (arrives, _), (a, b) in zip(journey, pairwise(edges), strict=True) if arrives for k in range(a, b)]


@pytest.mark.parametrize("fields", ["seq", "tick", "seq tick", "t_s", "seq t_s"])
@MANY
@given(device=devices(), journey=journeys(), seed=st.integers(0, 99), breaks=st.booleans())
def test_delivered_plus_lost_equals_sent(
    fields: str, device: Device, journey: list[tuple[bool, int]], seed: int, breaks: bool
) -> None:
    numbers = arrived(journey)
    received_s = link(np.array([device.host_s((k + 1) * device.batch - 1) for k in numbers]), 0.045, seed)
    timebase = Timebase(device.format(fields))
    lost, times, before = 0, [], numbers[0] - 1
    for k, at_s in zip(numbers, received_s.tolist(), strict=True):
        if breaks and k != before + 1:
            timebase.interrupt()
        t_s, missing = timebase.stamp(device.packet(k, fields), at_s)
        assert missing == (k - before - 1) * device.batch
        lost, before = lost + missing, k
        times.append(t_s)
    t_s = np.concatenate(times)
    assert lost + len(t_s) == (numbers[-1] + 1) * device.batch
    assert (np.diff(t_s) > 0).all()
    if fields != "seq":
        taken = np.array([device.clock_s(k * device.batch + i) for k in numbers for i in range(device.batch)])
        tick_s = 0.0 if "t_s" in fields else 2 / device.tick_hz
        last = (
            device.batch - 1
        )  # of the first packet, which arrives when time begins, and is spread by the nominal rate
        spread_s = 0.0 if "t_s" in fields else last / device.rate_hz * 200e-6
        np.testing.assert_allclose(t_s - received_s[0], taken - taken[last], atol=tick_s + spread_s + 1e-6, rtol=1e-9)


@MANY
@given(device=devices(), fields=st.sampled_from(["seq", "tick", "seq tick"]), waits_s=st.floats(1, 20_000))
def test_outage_longer_than_any_counter_wrap_is_measured(device: Device, fields: str, waits_s: float) -> None:
    device = replace(device, tick_hz=ours.TICK_HZ, tick_bits=24)
    if fields == "seq":
        waits_s = min(waits_s, 2000.0)  # beyond it the rate that a minute of arrivals gave is not good enough
    minute = int(60 * device.rate_hz) // device.batch
    back = minute + int(waits_s * device.rate_hz) // device.batch
    numbers = [*range(minute), *range(back, back + 20)]
    received_s = link(np.array([device.host_s((k + 1) * device.batch - 1) for k in numbers]), 0.045, 1)
    timebase = Timebase(device.format(fields))
    before, lost = stamped(timebase, [device.packet(k, fields) for k in numbers[:minute]], received_s[:minute])
    assert lost == 0
    timebase.interrupt()
    after, lost = stamped(timebase, [device.packet(k, fields) for k in numbers[minute:]], received_s[minute:])
    assert lost == (back - minute) * device.batch
    own_s = device.clock_s(back * device.batch) - device.clock_s(minute * device.batch - 1)
    assert after[0] - before[-1] == pytest.approx(own_s, abs=1.0 if fields == "seq" else 2e-4)


@pytest.mark.parametrize("fields", ["", "seq", "tick", "seq tick", "t_s"])
@MANY
@given(data=st.data(), batch=st.sampled_from([1, 3, 10]), calls=st.integers(1, 7))
def test_time_never_decreases_for_any_packets(fields: str, data: st.DataObject, batch: int, calls: int) -> None:
    """Packets of any number and stamp, in bursts and after pauses and breaks: time never steps back."""
    device = Device(batch=batch, tick_bits=24, seq_bits=12)
    timebase, last_s, at_s = Timebase(device.format(fields)), -np.inf, 100.0
    for _ in range(40):
        packet = device.packet(data.draw(st.integers(0, 10_000)), fields)
        at_s += data.draw(st.sampled_from([0.0, 1e-3, 0.02, 0.2, 3.0, 500.0]))
        if data.draw(st.booleans()):
            timebase.interrupt()
        t_s, lost = timebase.stamp(packet, at_s)
        assert lost >= 0
        assert np.isfinite(t_s).all()
        assert t_s[0] >= last_s or last_s == -np.inf
        assert (np.diff(t_s) >= 0).all()
        last_s = t_s[-1]


@pytest.mark.parametrize("fields", ["seq", "tick", "seq tick", "t_s"])
def test_repeated_and_out_of_order_packets_get_repeated_times(fields: str) -> None:
    """Valid and lost samples together are the samples sent."""
    device = Device(batch=2)
    order = [*range(50), 48, 49, 50, 49, 51, 55, 54, 53, 52, 56, 57, 57, 58]
    received_s = np.maximum.accumulate([device.host_s(2 * k + 1) for k in order]) + 0.01
    timebase, clock = Timebase(device.format(fields)), GapDetector(ACC, 0.25)
    good = []
    for k, at_s in zip(order, received_s.tolist(), strict=True):
        packet = device.packet(k, fields)
        t_s, lost = timebase.stamp(packet, at_s)
        good += [span.x[:, 0] for span in clock.split(Chunk(t_s, packet.x, at_s, lost))]
    stats = clock.stats
    assert (stats.lost, stats.repeated, stats.gaps) == (6, 14, 0)
    assert stats.samples - stats.repeated + stats.lost == 2 * 59
    np.testing.assert_array_equal(np.concatenate(good), [i for i in range(118) if not 104 <= i < 110])


def test_partly_repeated_packet_stamps_only_its_new_samples() -> None:
    device = Device()
    timebase = Timebase(device.format("seq tick"))
    stamped(timebase, [device.packet(k, "seq tick") for k in range(10)], np.arange(10) / 50)
    half = Packet(np.zeros((6, 3), np.float32), seq=6, tick=round(11 / 50 * 1e6))
    t_s, lost = timebase.stamp(half, 11 / 50)
    assert lost == 0
    np.testing.assert_allclose(t_s * 50, [9, 9, 9, 9, 10, 11], atol=1e-3)


@pytest.mark.parametrize("fields", ["seq", "tick", "seq tick", "t_s"])
@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize(("first_seq", "first_tick"), [(0, 0), (40_000, 500_000_000), (64_000, 1_000_000_000)])
def test_device_restart_counts_no_losses(fields: str, breaks: bool, first_seq: int, first_tick: int) -> None:
    """Also when its counter or clock was about to wrap, so that it seems to have gone ahead."""
    first = Device(first_seq=first_seq, first_tick=first_tick, tick_bits=30)
    again = Device(tick_bits=30)
    timebase = Timebase(first.format(fields))
    t_s, lost = stamped(timebase, [first.packet(k, fields) for k in range(1000)], 7 + np.arange(1000) / 50)
    if breaks:
        timebase.interrupt()
    later_s, more = stamped(timebase, [again.packet(k, fields) for k in range(100)], 30 + np.arange(100) / 50)
    assert (lost, more) == (0, 0)
    assert later_s[0] - t_s[-1] == pytest.approx(30 - 7 - 999 / 50, abs=0.05)
    np.testing.assert_allclose(np.diff(later_s), 0.02, atol=1e-3)
    np.testing.assert_allclose(later_s - later_s[0], np.arange(100) / 50, atol=0.01)


@pytest.mark.parametrize("fields", ["seq", "tick", "seq tick", "t_s"])
def test_immediate_restart_leaves_a_gap(fields: str) -> None:
    device = Device()
    timebase, clock = Timebase(device.format(fields)), GapDetector(ACC, 0.25)
    for i, k in enumerate([*range(500), *range(100)]):
        packet = device.packet(k, fields)
        t_s, lost = timebase.stamp(packet, i / 50)
        clock.split(Chunk(t_s, packet.x, i / 50, lost))
    assert (clock.stats.lost, clock.stats.repeated, clock.stats.gaps) == (0, 0, 1)


@pytest.mark.parametrize("fields", ["seq", "tick", "seq tick"])
def test_second_restart_soon_after_the_first(fields: str) -> None:
    """A new connection never repeats samples, so samples with old numbers are new."""
    device = Device()
    timebase = Timebase(device.format(fields))
    t_s, _ = stamped(timebase, [device.packet(k, fields) for k in range(50)], np.arange(50) / 50)
    timebase.interrupt()
    later_s, lost = stamped(timebase, [device.packet(k, fields) for k in range(50)], 3 + np.arange(50) / 50)
    assert lost == 0
    assert later_s[0] - t_s[-1] == pytest.approx(2.02, abs=0.05)
    np.testing.assert_allclose(np.diff(later_s), 0.02, atol=1e-3)


def test_stall_is_not_taken_for_a_wrap_of_a_small_counter() -> None:
    device = Device(seq_bits=8)
    received_s = link(np.arange(3000) / 50, 0.045, 0, [(30, 4.0)])
    _, lost = stamped(Timebase(device.format("seq")), [device.packet(k, "seq") for k in range(3000)], received_s)
    assert lost == 0


@pytest.mark.parametrize("first_seq", [0, 59_000])
def test_counter_restart_without_clock_restart(first_seq: int) -> None:
    """Firmware that counts from 0 on every subscription: losses follow from the clock."""
    device = Device(first_seq=first_seq)
    timebase = Timebase(device.format("seq tick"))
    stamped(timebase, [device.packet(k, "seq tick") for k in range(1000)], np.arange(1000) / 50)
    timebase.interrupt()
    again = replace(device, first_seq=-1500)
    t_s, lost = stamped(timebase, [again.packet(k, "seq tick") for k in range(1500, 1600)], np.arange(1500, 1600) / 50)
    assert lost == 500
    np.testing.assert_allclose(t_s * 50, np.arange(1500, 1600), atol=1e-3)


def test_device_pause_counts_no_losses() -> None:
    device = Device()
    timebase = Timebase(device.format("seq tick"))
    stamped(timebase, [device.packet(k, "seq tick") for k in range(1000)], np.arange(1000) / 50)
    slept = replace(device, first_tick=30_000_000, batch=4)
    packets = [slept.packet(k, "seq tick") for k in range(250, 300)]
    t_s, lost = stamped(timebase, packets, 30.02 + (np.arange(50) * 4 + 1003) / 50)
    assert lost == 0
    np.testing.assert_allclose(t_s * 50, 1500 + np.arange(1000, 1200), atol=0.01)


@pytest.mark.parametrize("interval_s", [0.015, 0.03, 0.045])
@pytest.mark.parametrize("ppm", [-200.0, 200.0])
@pytest.mark.parametrize("fields", ["tick", "t_s"])
def test_drift_is_estimated(interval_s: float, ppm: float, fields: str) -> None:
    device = Device(drift_ppm=ppm, tick_hz=ours.TICK_HZ, tick_bits=24)
    received_s = 5 + link(np.arange(6000) / 50, interval_s, 3, [(30, 0.5)])
    timebase = Timebase(device.format(fields))
    assert timebase.drift_ppm is None
    t_s, _ = stamped(timebase, [device.packet(k, fields) for k in range(6000)], received_s)
    assert timebase.drift_ppm == pytest.approx(ppm, abs=15)
    taken = 5 + np.arange(6000) / 50
    late = np.array([timebase.host_s(float(t)) for t in t_s[3000:]]) - taken[3000:]
    assert -0.005 < late.min() < late.max() < 0.015


def test_drift_is_none_without_a_device_clock() -> None:
    timebase = Timebase(Device().format("seq"))
    stamped(timebase, [Device().packet(k, "seq") for k in range(3000)], np.arange(3000) / 50)
    assert timebase.drift_ppm is None
    assert timebase.host_s(7.0) == 7.0


def repaired(
    rate_hz: float,
    told_hz: float | None = None,
    batch: int = 1,
    interval_s: float = 0.045,
    stalls: Sequence[tuple[float, float]] = (),
    lost: tuple[float, float] = (0, 0),
    fields: str = "",
) -> tuple[F64, F64]:
    """(true, stamped) time of every sample of 90 s without a device clock, except those taken in `lost` seconds."""
    device = Device(rate_hz=rate_hz, batch=batch)
    count = int(90 * rate_hz) // batch
    received_s = link(np.array([device.host_s((k + 1) * batch - 1) for k in range(count)]), interval_s, 4, stalls)
    there = [k for k in range(count) if not lost[0] <= device.host_s(k * batch) < lost[1]]
    timebase = Timebase(Format(ACC, told_hz, seq_bits=16 if fields else None))
    t_s, _ = stamped(timebase, [device.packet(k, fields) for k in there], received_s[there])
    assert (np.diff(t_s) > 0).all()
    return np.array([device.host_s(k * batch + i) for k in there for i in range(batch)]), t_s


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 50.0, 100.0])
@pytest.mark.parametrize("stated", [1.0, 0.95, 1.05, None])
@pytest.mark.parametrize("stalls", [[], [(30, 0.5), (60, 0.5)]])
def test_arrival_jitter_is_repaired(rate_hz: float, stated: float | None, stalls: list[tuple[float, float]]) -> None:
    taken, t_s = repaired(rate_hz, stated and stated * rate_hz, stalls=stalls)
    late = (t_s - taken)[taken > REPAIR_S]
    assert abs(late.mean()) < 0.015
    assert late.std() < 0.006


@pytest.mark.parametrize("batch", [5, 10, 25])
def test_arrival_of_batches_is_repaired(batch: int) -> None:
    taken, t_s = repaired(50.0, 50.0, batch)
    late = (t_s - taken)[taken > REPAIR_S]
    assert abs(late.mean()) < 0.015
    assert late.std() < 0.006


@pytest.mark.parametrize("batch", [1, 5])
def test_time_jumps_after_a_burst_of_losses(batch: int) -> None:
    taken, t_s = repaired(50.0, 50.0, batch, lost=(60, 62))
    after = int(np.searchsorted(taken, 62))
    assert t_s[after] - t_s[after - 1] == pytest.approx(2.0, abs=0.07)
    late = (t_s - taken)[taken > REPAIR_S]
    assert np.abs(late).max() < 0.06
    assert late.std() < 0.006


def test_time_jumps_within_a_second_after_a_short_burst_of_losses() -> None:
    taken, t_s = repaired(50.0, 50.0, lost=(60, 60.5))
    late = t_s - taken
    assert np.abs(late[(taken > REPAIR_S) & (taken < 60)]).max() < 0.03
    assert np.abs(late[taken > 61.5]).max() < 0.03


def test_counter_keeps_time_through_stalls_and_losses() -> None:
    taken, t_s = repaired(50.0, 50.0, stalls=[(30, 3.0)], lost=(60, 62), fields="seq")
    late = (t_s - taken)[taken > REPAIR_S]
    assert abs(late.mean()) < 0.015
    assert np.abs(late - late.mean()).max() < 0.025


def test_time_returns_without_a_step_after_a_long_stall() -> None:
    """At its end it cannot be distinguished from a loss, so time is ahead, and then slower by 5 %."""
    taken, t_s = repaired(50.0, 50.0, stalls=[(20, 2.0)])
    steps = np.diff(t_s[taken > 22.1])
    assert 0.02 * 0.93 < steps.min() < steps.max() < 0.02 * 1.07
    assert np.abs((t_s - taken)[-50:]).max() < 0.03


def test_new_connection_starts_at_its_arrival() -> None:
    timebase = Timebase(Format(ACC, 50.0))
    x = np.zeros((2, 3), np.float32)
    for i in range(200):
        timebase.stamp(Packet(x), i / 25)
    timebase.interrupt()
    t_s, lost = timebase.stamp(Packet(x), 8.3)
    assert lost == 0
    np.testing.assert_allclose(t_s, [8.28, 8.3], atol=1e-3)


def test_uneven_device_keeps_times_of_arrival() -> None:
    timebase = Timebase(Format(ACC, 10.0, even=False))
    x = np.zeros((1, 3), np.float32)
    received_s = [3.0, 3.1, 3.15, 9.0, 9.02]
    t_s, lost = stamped(timebase, [Packet(x)] * 5, received_s)
    assert (t_s.tolist(), lost) == (received_s, 0)
    clocked = Timebase(Format(ACC, 10.0, tick_hz=1e3, even=False))
    t_s, lost = stamped(clocked, [Packet(x, tick=round(1e3 * s)) for s in received_s], received_s)
    assert lost == 0
    np.testing.assert_allclose(t_s, received_s)


def test_format_may_change_after_a_reconnect() -> None:
    timebase = Timebase(Device().format("seq tick"))
    stamped(timebase, [Device().packet(k, "seq tick") for k in range(100)], np.arange(100) / 50)
    faster = Device(rate_hz=100.0, tick_hz=1e3, tick_bits=16)
    timebase.interrupt(faster.format("tick"))
    t_s, lost = stamped(timebase, [faster.packet(k, "tick") for k in range(100)], 5 + np.arange(100) / 100)
    assert lost == 0
    np.testing.assert_allclose(t_s, 5 + np.arange(100) / 100, atol=0.05)


def test_times_that_are_not_finite_are_passed_on() -> None:
    timebase = Timebase(Format(ACC, 50.0))
    times = np.array([np.nan, 1.0])
    t_s, lost = timebase.stamp(Packet(np.zeros((2, 3), np.float32), t_s=times), 1.0)
    assert (t_s is times, lost) == (True, 0)
    assert timebase.stamp(Packet(np.zeros((1, 3), np.float32), t_s=np.array([1.0])), 2.0)[0].tolist() == [2.0]


def test_wrong_nominal_rate_is_corrected() -> None:
    """Asked for 50 Hz, the device sends 25: samples count as lost only until the rate is certain."""
    period = Period(50.0)
    assert sum(period.lost(1 / 25, 1) for _ in range(100)) < 40
    assert period.s == pytest.approx(1 / 25)
    assert sum(period.lost(1 / 100, 1) for _ in range(100)) == 0
    assert period.s == pytest.approx(1 / 100)
    assert period.lost(5 / 100, 1) == 4


def test_late_timestamp_causes_no_lasting_loss() -> None:
    period = Period(50.0)
    for _ in range(100):
        period.lost(1 / 50, 1)
    assert [period.lost(step_s, 1) for step_s in (0.032, 0.008, 0.02, 0.008, 0.032, 0.02, 0.06)] == [
        1,
        0,
        0,
        0,
        0,
        0,
        1,
    ]


def test_unknown_rate_is_measured_before_losses_are_counted() -> None:
    period = Period(None)
    assert [period.lost(1 / 104, 1) for _ in range(50)] == [0] * 50
    assert period.lost(3 / 104, 1) == 2
