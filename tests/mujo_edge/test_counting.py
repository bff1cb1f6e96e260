"""The streaming repetition counter: counts, tempo, chunks, gaps, rests, half movements, memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.core import F32, F64, STANDARD_GRAVITY, Bout, Repetition
from mujo_edge.counting import RepetitionCounter
from mujo_edge.cycles import CounterSettings, analyze, lags, principal, turns

RATE_HZ = 50.0


def still(seconds: float, seed: int = 0) -> F32:
    """A wrist at rest, with a sensor's noise."""
    x = np.random.default_rng(seed).normal(0, 0.03, (round(seconds * RATE_HZ), 3))
    return (x + np.array([0, 0, STANDARD_GRAVITY])).astype(np.float32)


def curls(n: int, period_s: float, *, pause_s: float = 0.0, double: float = 0.0, drift: float = 0.0) -> F32:
    """A forearm that turns by a right angle and back `n` times; `double` adds a bump at half the period."""
    rng = np.random.default_rng(1)
    parts = []
    for i in range(n):
        k = round(period_s * (1 + drift * i / n) * RATE_HZ)
        phase = 2 * np.pi * np.arange(k) / k
        angle = np.pi / 4 * (1 - np.cos(phase)) + double * (1 - np.cos(2 * phase))
        parts += [angle, np.zeros(round(pause_s * RATE_HZ))]
    angle = np.concatenate(parts)
    x = STANDARD_GRAVITY * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    return (x + rng.normal(0, 0.1, x.shape)).astype(np.float32)


def times(x: F32, start_s: float = 0.0) -> F64:
    return start_s + np.arange(len(x)) / RATE_HZ


def bouts(x: F32) -> list[Bout]:
    counter = RepetitionCounter(RATE_HZ)
    return [e for e in [*counter.update(times(x), x), *counter.finish()] if isinstance(e, Bout)]


@pytest.mark.parametrize("period_s", [0.8, 1.5, 3.0, 6.0])
@pytest.mark.parametrize("n", [5, 12])
def test_set_between_rests_is_counted_with_its_times_and_tempo(n: int, period_s: float) -> None:
    (bout,) = bouts(np.concatenate([still(10), curls(n, period_s), still(15, 2)]))
    assert abs(bout.repetitions - n) <= (period_s < 1), "exact but for the shortest periods"
    assert bout.start_s == pytest.approx(10, abs=max(period_s / 2 + 0.2, 0.9))
    assert bout.end_s == pytest.approx(10 + n * period_s, abs=max(period_s / 2 + 0.2, 0.9))
    assert bout.tempo_s == pytest.approx(period_s, rel=0.15)


@pytest.mark.parametrize("double", [0.1, 0.2])
def test_two_half_movements_are_one_repetition(double: float) -> None:
    (bout,) = bouts(np.concatenate([still(5), curls(10, 2.4, double=double), still(10)]))
    assert bout.repetitions == 10


def test_slowing_down_and_pauses_between_repetitions_do_not_split_a_set() -> None:
    slowing = bouts(np.concatenate([still(5), curls(10, 2.0, drift=0.5), still(10)]))
    paused = bouts(np.concatenate([still(5), curls(8, 1.6, pause_s=1.4), still(10)]))
    assert [b.repetitions for b in slowing] == [10]
    assert [b.repetitions for b in paused] == [8]


def test_sets_with_a_rest_between_them_are_separate_bouts() -> None:
    found = bouts(np.concatenate([still(5), curls(6, 2), still(12), curls(9, 2), still(12)]))
    assert [b.repetitions for b in found] == [6, 9]
    assert found[0].end_s < found[1].start_s


def test_nothing_is_counted_at_rest_nor_in_two_single_movements() -> None:
    assert bouts(still(120)) == []
    assert bouts(np.concatenate([still(20), curls(1, 2), still(17), curls(1, 2), still(20)])) == []


def test_noise_without_a_period_is_rarely_counted() -> None:
    walk = np.cumsum(np.random.default_rng(3).normal(0, 0.2, (6000, 3)), 0) * 0.3
    counted = sum(b.repetitions for b in bouts((walk - walk.mean(0)).astype(np.float32)))
    assert counted < 20, "two minutes of a random walk"


def test_running_count_rises_during_the_set_and_is_zero_after_it() -> None:
    counter = RepetitionCounter(RATE_HZ)
    x = np.concatenate([still(5), curls(10, 2), still(12)])
    seen = []
    for first in range(0, len(x), 25):
        counter.update(times(x)[first : first + 25], x[first : first + 25])
        seen.append(counter.count)
    assert seen[2 * 5] == 0
    assert seen[-1] == 0
    assert max(seen) == 10
    assert seen[2 * 17] in (4, 5, 6), "after six repetitions"
    assert counter.start_s is None


def test_events_are_in_order_and_each_bout_follows_its_repetitions() -> None:
    counter = RepetitionCounter(RATE_HZ)
    x = np.concatenate([curls(6, 2), still(12), curls(70, 2), still(12)])
    events = [*counter.update(times(x, 100.0), x), *counter.finish()]
    repetitions: list[Repetition] = []
    for event in events:
        if isinstance(event, Bout):
            assert event.repetitions == len(repetitions)
            assert (event.start_s, event.end_s) == (repetitions[0].start_s, repetitions[-1].end_s)
            repetitions = []
        else:
            assert event.start_s < event.end_s
            assert not repetitions or event.start_s >= repetitions[-1].end_s
            assert event.start_s >= 100.0
            repetitions.append(event)
    assert repetitions == []
    assert [e.repetitions for e in events if isinstance(e, Bout)] == pytest.approx([6, 70], abs=1)


SIGNAL = np.concatenate([still(4), curls(5, 1.7), still(9), curls(4, 3.1), still(6)])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(SIGNAL)), max_size=12))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    whole, parts = RepetitionCounter(RATE_HZ), RepetitionCounter(RATE_HZ)
    expected = [*whole.update(times(SIGNAL), SIGNAL), *whole.finish()]
    edges = [0, *sorted(cuts), len(SIGNAL)]
    events = []
    for a, b in pairwise(edges):
        events += parts.update(times(SIGNAL)[a:b], SIGNAL[a:b])
    events += parts.finish()
    assert events == expected
    assert sum(isinstance(e, Bout) for e in events) == 2


def test_sample_that_is_not_finite_ends_the_bout_and_counting_begins_anew() -> None:
    x = np.concatenate([curls(6, 2), curls(5, 2), still(10)])
    x[6 * 100] = np.nan
    assert [b.repetitions for b in bouts(x)] == pytest.approx([6, 5], abs=1)


def test_other_rates_than_50_hz_are_counted_by_time() -> None:
    x = np.concatenate([still(5), curls(10, 2), still(10)])[::2]
    counter = RepetitionCounter(RATE_HZ / 2)
    events = [*counter.update(np.arange(len(x)) / 25.0, x), *counter.finish()]
    assert [e.repetitions for e in events if isinstance(e, Bout)] == [10]


def test_memory_is_bounded_over_a_day() -> None:
    counter = RepetitionCounter(RATE_HZ)
    hour = np.concatenate([np.tile(still(60), (58, 1)), curls(60, 2)])
    largest, counted = 0, 0
    for n in range(24):
        t_s = times(hour, 3600.0 * n)
        for first in range(0, len(hour), 30_000):
            events = counter.update(t_s[first : first + 30_000], hour[first : first + 30_000])
            counted += sum(e.repetitions for e in events if isinstance(e, Bout))
            largest = max(largest, counter.retained)
    assert largest <= 4 * 10 * (CounterSettings().memory_s + 1)
    assert counted == pytest.approx(24 * 60, rel=0.05)


def test_turns_and_principal_direction_of_known_signals() -> None:
    p = np.sin(np.arange(100) / 100 * 4 * np.pi)
    kinds = [(kind, round(value)) for _, value, kind in turns(p, 0.5)]
    assert kinds == [(-1, 0), (1, 1), (-1, -1), (1, 1), (-1, -1), (1, 0)]
    line = np.outer(np.arange(10.0), [1.0, 2.0, 2.0])
    assert np.abs(principal(line)) == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert np.isfinite(principal(np.zeros((5, 3)))).all()


@pytest.mark.parametrize("n", [0, 1, 5, 20])
def test_too_few_or_constant_frames_hold_no_repetitions(n: int) -> None:
    assert analyze(np.ones((n, 3)), lags(CounterSettings(), 10.0), CounterSettings()) is None
