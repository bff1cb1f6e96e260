from __future__ import annotations

import numpy as np
import pytest
from fuzz import MANY
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.merge import MAX_PENDING, MAX_STEP_S, WAIT_S, Merger
from firmware_bridge.stream import F32, F64, CodecError, Packet
from mujo_edge.signal import InputSpec


def samples(rate_hz: float, n: int, first_s: float = 0.0) -> tuple[F64, F32]:
    """Times, and rows [t, 2 t, -t]: linear in time, so that interpolation is exact."""
    t_s = first_s + np.arange(n) / rate_hz
    return t_s, (t_s[:, None] * [1, 2, -1]).astype(np.float32)


def rows(packets: list[Packet]) -> tuple[F64, F32]:
    times = [packet.t_s for packet in packets if packet.t_s is not None]
    return np.concatenate(times), np.concatenate([packet.x for packet in packets])


def test_other_streams_are_interpolated_at_the_times_of_the_master() -> None:
    merger = Merger("acc", ("gyro", "gravity"))
    assert merger.feed("acc", *samples(50, 50)) == []
    assert merger.feed("gyro", *samples(37, 40)) == []
    t_s, x = rows(merger.feed("gravity", *samples(20, 30)))
    np.testing.assert_array_equal(t_s, np.arange(50) / 50)
    assert x.shape == (50, 9)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, np.tile(t_s[:, None] * [1, 2, -1], 3), atol=1e-6)


def test_row_is_emitted_once_all_streams_have_reached_its_time() -> None:
    merger = Merger("acc", ("gyro",))
    merger.feed("gyro", *samples(50, 2))
    merger.feed("acc", np.array([0.01]), np.zeros((1, 3), np.float32))
    assert merger.feed("acc", np.array([0.03]), np.zeros((1, 3), np.float32)) == []
    t_s, _ = rows(merger.feed("gyro", np.array([0.03]), np.ones((1, 3), np.float32)))
    np.testing.assert_array_equal(t_s, [0.03])


def test_short_losses_are_interpolated_and_long_ones_are_nan() -> None:
    merger = Merger("acc", ("gyro",))
    t_s, gyro = samples(50, 101)
    lost = ((t_s > 0.3) & (t_s < 0.3 + MAX_STEP_S - 0.01)) | ((t_s > 1.0) & (t_s < 1.5))
    merger.feed("gyro", t_s[~lost], gyro[~lost])
    _, x = rows(merger.feed("acc", t_s, gyro))
    np.testing.assert_array_equal(np.isnan(x[:, 3]), (t_s > 1.0) & (t_s < 1.5))
    np.testing.assert_allclose(x[~np.isnan(x[:, 3]), 3:], gyro[~np.isnan(x[:, 3])], atol=1e-6)
    np.testing.assert_array_equal(x[:, :3], gyro)


def test_values_before_the_first_sample_of_another_stream_are_nan() -> None:
    merger = Merger("acc", ("gyro",))
    merger.feed("acc", *samples(50, 20))
    _, x = rows(merger.feed("gyro", *samples(50, 20, 0.1)))
    np.testing.assert_array_equal(np.isnan(x[:, 3]), np.arange(20) < 5)


def test_row_waits_at_most_wait_s() -> None:
    merger = Merger("acc", ("gyro",))
    assert merger.feed("acc", *samples(50, 1 + int(50 * WAIT_S))) == []
    t_s, x = rows(merger.feed("acc", *samples(50, 2, WAIT_S + 0.02)))
    np.testing.assert_allclose(t_s, [0.0, 0.02])
    assert np.isnan(x[:, 3:]).all()


def test_buffers_are_bounded() -> None:
    merger = Merger("acc", ("gyro",))
    t_s, zeros = np.zeros(MAX_PENDING + 7), np.zeros((MAX_PENDING + 7, 3), np.float32)
    assert len(rows(merger.feed("acc", t_s, zeros))[0]) == 7
    merger.feed("gyro", *samples(1e6, 3 * MAX_PENDING))
    assert max(len(stream._times) for stream in merger._streams.values()) <= MAX_PENDING


def test_clock_set_back_loses_only_pending_rows() -> None:
    merger = Merger("acc", ("gyro",))
    merger.feed("gyro", *samples(50, 50, 1e6))
    merger.feed("acc", *samples(50, 60, 1e6))
    t_s, x = rows(merger.feed("acc", *samples(50, 50)))
    assert len(t_s) == 10
    assert np.isnan(x[:, 3:]).all()
    t_s, x = rows(merger.feed("gyro", *samples(50, 50)))
    np.testing.assert_array_equal(t_s, np.arange(50) / 50)
    assert not np.isnan(x).any()


def test_time_far_ahead_does_not_affect_later_rows() -> None:
    merger = Merger("acc", ("gyro",))
    gyro = samples(50, 100)
    merger.feed("gyro", *gyro)
    wild = merger.feed("acc", np.array([1e9]), np.zeros((1, 3), np.float32))
    t_s, x = rows(wild + merger.feed("acc", *samples(50, 100)))
    np.testing.assert_array_equal(t_s[1:], gyro[0])
    np.testing.assert_array_equal(x[1:, 3:], gyro[1])


def test_late_samples_of_another_stream_are_dropped() -> None:
    merger = Merger("acc", ("gyro",))
    merger.feed("gyro", *samples(50, 10))
    merger.feed("gyro", np.array([0.1]), np.full((1, 3), 7, np.float32))
    _, x = rows(merger.feed("acc", *samples(50, 10)))
    np.testing.assert_array_equal(x[:, 3:], x[:, :3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sample_without_time_is_rejected(bad: float) -> None:
    merger = Merger("acc", ("gyro",))
    with pytest.raises(CodecError, match="a sample of gyro has no time"):
        merger.feed("gyro", np.array([0.0, bad]), np.zeros((2, 3), np.float32))


def test_any_order_and_split_gives_the_same_rows() -> None:
    acc, gyro, gravity = samples(50, 30), samples(47, 28, 0.03), samples(13, 8)
    streams = {"acc": acc, "gyro": gyro, "gravity": gravity}
    # A hole in one of them, so that rows without a value are compared too.
    streams["gyro"] = tuple(np.delete(part, range(8, 22), 0) for part in gyro)  # type: ignore[assignment]

    def run(order: list[tuple[str, int]]) -> tuple[F64, F32]:
        merger, packets, done = Merger("acc", ("gyro", "gravity")), [], dict.fromkeys(streams, 0)
        for name, n in [*order, *((name, MAX_PENDING) for name in streams)]:
            piece = slice(done[name], done[name] + n)
            done[name] += n
            packets += merger.feed(name, streams[name][0][piece], streams[name][1][piece])
        return rows(packets)

    expected = run([])
    assert len(expected[0]) > 25
    assert np.isnan(expected[1]).any()

    @MANY
    @given(st.lists(st.tuples(st.sampled_from(list(streams)), st.integers(0, 15)), max_size=12))
    def check(order: list[tuple[str, int]]) -> None:
        got = run(order)
        assert got[0].tobytes() == expected[0].tobytes()
        assert got[1].tobytes() == expected[1].tobytes()

    check()


def test_longest_step_is_the_longest_gap() -> None:
    assert InputSpec().max_gap_s == MAX_STEP_S


def test_finish_emits_pending_rows() -> None:
    merger = Merger("acc", ("gyro",))
    merger.feed("gyro", *samples(50, 5))
    done = merger.feed("acc", *samples(50, 8))
    t_s, x = rows([*done, *merger.finish()])
    np.testing.assert_array_equal(t_s, np.arange(8) / 50)
    assert np.isfinite(x[:5]).all()
    assert np.isnan(x[5:, 3:]).all()
    assert merger.finish() == []
