"""Several streams at once: a shared thread, separate ends, and a common end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fakes import INFO, ListSink, ListSource, bundle, chunked, motion

from mujo_edge.core import DeviceError, Source, StreamInfo
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import RunInfo, Update

BUNDLE = bundle()


def load(info: StreamInfo) -> Recognizer:
    return Recognizer(BUNDLE, info)


async def test_streams_are_recognized_independently() -> None:
    sinks = [ListSink() for _ in range(3)]
    sources = [ListSource(chunked(*motion([axis], 6.0)), replace(INFO, name=f"watch {axis}")) for axis in range(3)]
    pairs = zip(sources, sinks, strict=True)
    summaries = await run_together([Engine(source, [sink], load, live=False) for source, sink in pairs])
    assert [summary.session.info.name for summary in summaries] == ["watch 0", "watch 1", "watch 2"]
    labels = [{prediction.label for prediction in sink.predictions} for sink in sinks]
    assert labels == [{"x up"}, {"y up"}, {"z up"}]
    assert [len(sink.predictions) for sink in sinks] == [7, 7, 7]


async def test_streams_share_one_thread() -> None:
    threads: set[int] = set()

    class Here(ListSink):
        def write(self, update: Update) -> None:
            threads.add(threading.get_ident())

    sources = [ListSource(chunked(*motion([0], 4.0)), wait_s=0.001) for _ in range(4)]
    await run_together([Engine(source, [Here()], load) for source in sources])
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_sources_are_entered_one_after_the_other() -> None:
    entering: list[int] = []
    most: list[int] = []

    class Slow(ListSource):
        async def __aenter__(self) -> Slow:
            entering.append(1)
            most.append(len(entering))
            await asyncio.sleep(0.01)
            entering.pop()
            await super().__aenter__()
            return self

    sources = [Slow(chunked(*motion([0], 4.0))) for _ in range(3)]
    await run_together([Engine(source, [], load) for source in sources])
    assert most == [1, 1, 1]
    assert [source.left for source in sources] == [1, 1, 1]


async def test_failed_stream_leaves_the_others_running_and_is_raised_at_the_end() -> None:
    gone = ListSource(chunked(*motion([0], 4.0)), error=DeviceError("the watch went away"))
    stays, sink = ListSource(chunked(*motion([1], 8.0)), wait_s=0.001), ListSink()
    with pytest.raises(DeviceError, match="went away"):
        await run_together([Engine(gone, [], load), Engine(stays, [sink], load)])
    assert (len(sink.predictions), sink.summaries[0].ended) == (11, "end")


async def test_source_that_cannot_be_entered_finishes_the_earlier_ones() -> None:
    class Missing(ListSource):
        async def __aenter__(self) -> Missing:
            raise DeviceError("no such watch")

    first = ListSource(chunked(*motion([0], 4.0)))
    with pytest.raises(DeviceError, match="no such watch"):
        await run_together([Engine(first, [], load), Engine(Missing([]), [], load)])
    assert (first.entered, first.left) == (1, 1)


async def test_ctrl_c_ends_all_streams() -> None:
    sinks = [ListSink(), ListSink()]
    engines = [Engine(ListSource(chunked(*motion([0], 4.0)), endless=True), [sink], load) for sink in sinks]
    run = asyncio.create_task(run_together(engines))
    while not all(sink.predictions for sink in sinks):
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    assert [summary.ended for summary in await run] == ["interrupted", "interrupted"]


async def test_closed_reader_ends_all_streams() -> None:
    class Closed(ListSink):
        def write(self, update: Update) -> None:
            raise BrokenPipeError

    sink = ListSink()
    first = Engine(ListSource(chunked(*motion([0], 4.0)), endless=True), [Closed()], load)
    other = Engine(ListSource(chunked(*motion([0], 4.0)), endless=True), [sink], load)
    ended = [summary.ended for summary in await run_together([first, other])]
    assert ended == ["closed", "interrupted"]
    assert sink.session == RunInfo(
        INFO, "fake 1.0", "axis", "axes", ("x up", "y up", "z up", "unknown"), 0.5, "axes, wrist"
    )


async def test_status_of_a_source_reaches_the_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mujo_edge.engine.IDLE_S", 0.01)
    source, sink = ListSource(chunked(*motion([0], 4.0)), endless=True), ListSink()
    run = asyncio.create_task(Engine(source, [sink], load).run())
    while not sink.predictions:
        await asyncio.sleep(0.001)
    source.status = "looking for it (try 2)"
    while sink.updates[-1].status != "looking for it (try 2)":
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
    await run


async def test_status_is_shown_only_while_the_first_source_is_entered() -> None:
    shown: list[str] = []

    @contextmanager
    def waiting(source: Source) -> Iterator[None]:
        shown.append(f"waiting for {source.info.name}")
        yield
        shown.append("it is there")

    sources = [ListSource(chunked(*motion([0], 4.0)), replace(INFO, name=name)) for name in ("left", "right")]
    await run_together([Engine(source, [], load) for source in sources], waiting)
    assert shown == ["waiting for left", "it is there"]


async def test_source_that_cannot_be_entered_ends_endless_streams() -> None:
    class Missing(ListSource):
        async def __aenter__(self) -> Missing:
            raise DeviceError("no such watch")

    endless, sink = ListSource(chunked(*motion([0], 4.0)), endless=True), ListSink()
    with pytest.raises(DeviceError, match="no such watch"):
        async with asyncio.timeout(10):
            await run_together([Engine(endless, [sink], load), Engine(Missing([]), [], load)])
    assert [summary.ended for summary in sink.summaries] == ["interrupted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_while_entering_finishes_the_earlier_streams(number: signal.Signals) -> None:
    class Far(ListSource):
        async def __aenter__(self) -> Far:
            await asyncio.Event().wait()
            return self

    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("under nohup, a hangup is ignored on purpose")
    first, sink = ListSource(chunked(*motion([0], 4.0)), endless=True), ListSink()
    run = asyncio.create_task(run_together([Engine(first, [sink], load), Engine(Far([]), [], load)]))
    while not sink.predictions:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), number)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [summary.ended for summary in sink.summaries] == ["interrupted"]
    assert first.left == 1
    assert signal.getsignal(number) is before
