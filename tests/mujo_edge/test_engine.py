"""The engine: order, back-pressure, stale windows, endings, errors; with fakes for source, model and sinks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from time import sleep

import numpy as np
import pytest
from fakes import INFO, AxisRuntime, ListSink, ListSource, bundle, chunked, motion

from mujo_edge import engine, worker
from mujo_edge.core import Chunk, DataError, DeviceError, Gap, Latency, Payload, Prediction, StreamInfo, UsageError
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import Confusion, LabelTime, RunInfo, Summary, Update
from mujo_edge.worker import ResultCounter


def load(runtime: AxisRuntime | None = None) -> Callable[[StreamInfo], Recognizer]:
    return lambda info: Recognizer(bundle(runtime=runtime), info)


async def test_engine_passes_results_to_every_sink() -> None:
    recording = motion([0, 1, 2], 6.0)
    source, sinks = ListSource(chunked(*recording)), [ListSink(), ListSink()]
    summary = await Engine(source, sinks, load(), live=False).run()
    for sink in sinks:
        assert [prediction.label for prediction in sink.predictions if prediction.truth] == [
            prediction.truth for prediction in sink.predictions if prediction.truth
        ]
        assert sink.session == RunInfo(
            INFO, "fake 1.0", "axis", "axes", ("x up", "y up", "z up", "unknown"), 0.5, "axes, wrist"
        )
        assert sink.summaries == [summary]
        chunks = [chunk for update in sink.updates for chunk in update.chunks]
        assert np.concatenate([chunk.x for chunk in chunks]).tobytes() == recording[1].tobytes()
    tally = summary.tally
    assert (summary.ended, summary.error, summary.notes) == ("end", None, ("made for a test",))
    assert (tally.predictions, tally.judged, tally.right, tally.accuracy) == (31, 21, 21, 1.0)
    assert (tally.stats.samples, tally.stats.windows, tally.stats.dropped_windows) == (900, 31, 0)
    assert tally.latency is not None
    assert tally.latency["total"].p99 >= tally.latency["total"].p50 > 0
    assert (source.entered, source.left) == (1, 1)


async def test_label_outside_the_set_is_counted_but_not_scored() -> None:
    t_s, x, _ = motion([0], 5.0)
    x[:, :3] = np.random.default_rng(0).normal(5.66, 0.1, (len(x), 3))
    summary = await Engine(ListSource(chunked(t_s, x, ["juggling"] * len(x))), [], load(), live=False).run()
    assert (summary.tally.judged, summary.tally.accuracy) == (0, None)
    assert (summary.recognized.outside, summary.recognized.outside_unknown) == (5, 5)
    assert summary.recognized.times == (LabelTime("unknown", 2.5, 1, 2.5),)


async def test_summary_has_time_bouts_and_confusions_by_label() -> None:
    t_s, x, truth = motion([0, 1, 0], 5.0)
    truth = ["x up"] * len(t_s)
    sink = ListSink()
    summary = await Engine(ListSource(chunked(t_s, x, truth)), [sink], load(), live=False).run()
    labels = [prediction.label for prediction in sink.predictions]
    times = {each.label: each for each in summary.recognized.times}
    assert {label: each.seconds for label, each in times.items()} == {
        label: labels.count(label) / 2 for label in set(labels)
    }
    assert (times["x up"].bouts, times["y up"].bouts) == (2, 1)
    assert times["y up"].longest_s == times["y up"].seconds
    assert Confusion("x up", "y up", labels.count("y up")) in summary.recognized.confusions


def test_gap_ends_a_bout() -> None:
    counter = ResultCounter(("walking", "unknown"), 0.5)
    one = Prediction(3.0, "walking", 0.9, "walking", {}, np.zeros(1, np.float32), Latency(0, 0, 0, 0))
    for event in (one, one, Gap(3.0, 4.0, "missing"), one):
        counter.add(event)
    assert counter.results().times == (LabelTime("walking", 1.5, 2, 1.0),)


async def test_file_source_waits_for_slow_inference() -> None:
    chunks = chunked(*motion([0], 60.0), size=25)
    source, sink = ListSource(chunks), ListSink()
    runtime = AxisRuntime(takes_s=0.005)
    ahead: list[int] = []

    class Watch(ListSink):
        def write(self, update: Update) -> None:
            taken = sum(len(each.chunks) for each in sink.updates)
            ahead.append(source.delivered - taken)

    summary = await Engine(source, [sink, Watch()], load(runtime), live=False).run()
    assert summary.tally.predictions == summary.tally.stats.windows == 115
    assert summary.tally.stats.dropped_windows == 0
    assert max(ahead) <= engine.FILE_QUEUE + 1


async def test_live_source_never_waits_and_stale_windows_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "STALE_S", 0.02)
    source, sink = ListSource(chunked(*motion([0], 60.0), size=25), wait_s=0.001), ListSink()
    summary = await Engine(source, [sink], load(AxisRuntime(takes_s=0.1)), live=True).run()
    stats = summary.tally.stats
    assert stats.windows == 115
    assert stats.dropped_windows > 0
    assert summary.tally.predictions == 115 - stats.dropped_windows == len(sink.predictions)
    assert sink.predictions[-1].end_s == pytest.approx(59.98)
    assert stats.samples == 3000
    assert stats.lost == 0


async def test_chunks_that_do_not_fit_the_queue_are_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LIVE_QUEUE", 4)
    chunks = chunked(*motion([0], 20.0), size=5)
    chunks = [replace(chunk, corrupt=1, raw=(Payload(0.0, "data", "", b"%d" % i),)) for i, chunk in enumerate(chunks)]
    source, sink = ListSource(chunks, wait_s=0.002), ListSink()
    summary = await Engine(source, [sink], load(AxisRuntime(takes_s=0.1)), live=True).run()
    stats = summary.tally.stats
    assert stats.lost > 0
    assert stats.samples + stats.lost == 1000
    assert stats.corrupt == 200
    payloads = [raw.data for update in sink.updates for chunk in update.chunks for raw in chunk.raw]
    assert payloads == [b"%d" % i for i in range(200)]
    assert stats.gaps > 0


async def test_inference_and_sinks_are_never_on_the_receiving_thread() -> None:
    threads: set[int] = set()

    class Here(ListSink):
        def start(self, session: RunInfo) -> None:
            threads.add(threading.get_ident())

        def write(self, update: Update) -> None:
            threads.add(threading.get_ident())

        def finish(self, summary: Summary) -> None:
            threads.add(threading.get_ident())

    def slow_load(info: StreamInfo) -> Recognizer:
        threads.add(threading.get_ident())
        return load()(info)

    await Engine(ListSource(chunked(*motion([0], 4.0))), [Here()], slow_load, live=True).run()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_engine_logs_loading_and_end_at_info_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mujo_edge")
    await Engine(ListSource(chunked(*motion([0], 4.0))), [ListSink()], load(), live=False).run()
    entered, loaded, ended = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert entered.startswith("entered made in ")
    assert loaded.startswith("loaded the model for made in ")
    assert ended == "made ended: end, 3 predictions"


async def test_samples_are_received_while_the_model_loads() -> None:
    source = ListSource(chunked(*motion([0], 4.0)))
    released = threading.Event()

    def slow_load(info: StreamInfo) -> Recognizer:
        assert released.wait(10)
        return load()(info)

    run = asyncio.create_task(Engine(source, [], slow_load, live=True).run())
    while source.delivered < 40:
        await asyncio.sleep(0.001)
    await asyncio.sleep(worker.STALE_S + 0.1)
    released.set()
    tally = (await run).tally
    assert (tally.predictions, tally.stats.dropped_windows) == (3, 0)


async def test_duration_is_device_time() -> None:
    sink = ListSink()
    source = ListSource(chunked(*motion([0], 20.0), size=7), endless=True)
    summary = await Engine(source, [sink], load(), live=False, duration_s=4.0).run()
    assert summary.ended == "duration"
    assert summary.tally.stats.samples == 200
    assert sum(len(chunk.truth or ()) for update in sink.updates for chunk in update.chunks) == 200


async def test_source_error_is_raised_after_results_and_summary() -> None:
    sink = ListSink()
    source = ListSource(chunked(*motion([0], 6.0)), error=DeviceError("the watch went away. Bring it closer"))
    with pytest.raises(DeviceError, match="went away"):
        await Engine(source, [sink], load(), live=True).run()
    assert len(sink.predictions) == 7
    (summary,) = sink.summaries
    assert (summary.ended, summary.error) == ("error", "the watch went away. Bring it closer")
    assert source.left == 1


async def test_model_error_starts_no_sink() -> None:
    def refuse(info: StreamInfo) -> Recognizer:
        raise UsageError("no such label set")

    sink = ListSink()
    source = ListSource(chunked(*motion([0], 6.0)), endless=True)
    with pytest.raises(UsageError, match="no such label set"):
        await Engine(source, [sink], refuse).run()
    assert sink.session is None
    assert not sink.summaries
    assert source.left == 1


async def test_sink_error_still_finishes_the_others() -> None:
    class Full(ListSink):
        def write(self, update: Update) -> None:
            raise DataError("the disk is full")

    first, last = ListSink(), ListSink()
    with pytest.raises(DataError, match="disk is full"):
        await Engine(ListSource(chunked(*motion([0], 6.0)), endless=True), [first, Full(), last], load()).run()
    assert [len(sink.summaries) for sink in (first, last)] == [1, 1]


async def test_closed_reader_ends_the_run_quietly() -> None:
    class Closed(ListSink):
        def write(self, update: Update) -> None:
            raise BrokenPipeError

        def finish(self, summary: Summary) -> None:
            raise BrokenPipeError

    other = ListSink()
    source = ListSource(chunked(*motion([0], 6.0)), endless=True)
    summary = await Engine(source, [Closed(), other], load(), live=False).run()
    assert summary.ended == "closed"
    assert other.summaries == [summary]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("live", [True, False])
async def test_signal_ends_the_run_with_a_complete_summary(number: signal.Signals, live: bool) -> None:
    before = signal.getsignal(number)
    source, sink = ListSource(chunked(*motion([0], 6.0)), endless=True), ListSink()
    run = asyncio.create_task(Engine(source, [sink], load(), live=live).run())
    while sum(len(update.chunks) for update in sink.updates) < 60:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), number)
    summary = await run
    assert (summary.ended, summary.tally.predictions, summary.error) == ("interrupted", 7, None)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
async def test_immediate_second_signal_is_ignored(second: signal.Signals) -> None:
    class Slow(ListSink):
        def finish(self, summary: Summary) -> None:
            os.kill(os.getpid(), second)
            sleep(0.05)
            super().finish(summary)

    source, sink = ListSource(chunked(*motion([0], 6.0)), endless=True), Slow()
    run = asyncio.create_task(Engine(source, [sink], load()).run())
    while not sink.predictions:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (await run).ended == "interrupted"
    assert len(sink.summaries) == 1


async def test_later_signal_has_its_previous_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "AGAIN_S", 0.0)
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))

    class Slow(ListSink):
        def finish(self, summary: Summary) -> None:
            sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            sleep(0.05)
            super().finish(summary)

    source, sink = ListSource(chunked(*motion([0], 6.0)), endless=True), Slow()
    try:
        run = asyncio.create_task(Engine(source, [sink], load()).run())
        while not sink.predictions:
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)
        await run
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


async def test_silence_updates_the_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "IDLE_S", 0.01)
    source, sink = ListSource(chunked(*motion([0], 1.0)), endless=True), ListSink()
    run = asyncio.create_task(Engine(source, [sink], load(), duration_s=9).run())
    while not [update for update in sink.updates if not update.chunks]:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    assert (await run).ended == "interrupted"


async def test_samples_and_gaps_are_counted_without_a_model() -> None:
    t_s, x, _ = motion([0], 6.0)
    t_s[100:] += 2
    sink = ListSink()
    summary = await Engine(ListSource(chunked(t_s, x)), [sink], None, live=False).run()
    assert summary.session == RunInfo(INFO)
    assert [event.reason for update in sink.updates for event in update.events] == ["missing"]
    assert (summary.tally.stats.samples, summary.tally.stats.gaps, summary.tally.predictions) == (300, 1, 0)


def still(t_s: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return t_s, np.ones_like(x)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda t_s, x: (t_s[:100], x[:100]), r"it is 1\.98 s long"),
        (lambda t_s, x: (t_s, x * np.nan), "300 of its 300 samples are not finite"),
        (lambda t_s, x: (t_s * 0, x), "time does not increase at 299 of its 300 samples"),
        (lambda t_s, x: (t_s * 50, x), r"299 gaps of more than 0\.25 s in 300 samples"),
        (still, "its accelerometer repeats one value"),
    ],
)
async def test_source_without_any_prediction_is_an_error(
    damage: Callable[..., tuple[np.ndarray, np.ndarray]], reason: str
) -> None:
    t_s, x, _ = motion([0], 6.0)
    sink = ListSink()
    with pytest.raises(DataError, match=reason):
        await Engine(ListSource(chunked(*damage(t_s, x))), [sink], load(), live=False).run()
    assert sink.summaries[0].ended == "error"


async def test_empty_chunk_only_adds_its_losses() -> None:
    empty = Chunk(np.empty(0), np.empty((0, 6), np.float32), 0.0, lost=3)
    chunks = [empty, *chunked(*motion([0], 4.0)), empty]
    summary = await Engine(ListSource(chunks), [], load(), live=False, duration_s=100).run()
    assert (summary.tally.stats.lost, summary.tally.predictions) == (6, 3)
