"""Runs streams: source -> bounded queue -> recognizer -> sinks, with the recognizer on a thread of its own.

Several streams run at once and share that thread. The event loop only receives. When inference falls behind a live
source, stale windows are dropped and counted; a file played as fast as possible waits instead, and
loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from time import monotonic

import numpy as np

from mujo_edge.core import Chunk, MujoError, Source, StreamInfo
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import Ended, Sink, Summary
from mujo_edge.sinks.background import BackgroundWriter
from mujo_edge.worker import Worker

logger = logging.getLogger(__name__)

LIVE_QUEUE = 1024
"""Chunks that may wait if the source cannot: a minute or more of a watch's notifications."""

LIVE_RAW = 1 << 16
"""Payloads kept for the recording from chunks that did not fit the queue."""

FILE_QUEUE = 8
"""Chunks that may wait if the source can wait, too: enough for one batch."""

IDLE_S = 1.0
"""Seconds between updates of the sinks while no chunks arrive."""

AGAIN_S = 1.0
"""Seconds after the first signal during which others are ignored: GNU timeout sends two at once."""


class Engine:
    """One run of one source.

    Args:
        source: entered and left by `run`.
        sinks: started once the model is loaded, in order.
        load: creates the recognizer for a stream, while the first samples already arrive. None: no recognition;
            samples are counted and passed to the sinks.
        live: False for a source that can wait.
        duration_s: end after this much device time.
        force_host: recognize on the host even if the device recognizes by itself; else its own labels are used.
    """

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        load: Callable[[StreamInfo], Recognizer] | None,
        *,
        live: bool = True,
        duration_s: float | None = None,
        force_host: bool = False,
    ) -> None:
        self._source, self._sinks, self._load = source, sinks, load
        self._live, self._duration_s, self._force_host = live, duration_s, force_host
        self._receiving: asyncio.Task[Ended] | None = None
        self._stopping = False

    async def run(self) -> Summary:
        """Run until the source ends, Ctrl-C, SIGTERM or the duration; started sinks are always finished.

        Raises:
            MujoError: an error of the source, the model or a sink, raised after the sinks were finished. `DataError`
                also if the source ended without one prediction.
        """
        (summary,) = await run_together([self])
        return summary

    def stop(self) -> None:
        """End as Ctrl-C does: chunks already received are still processed."""
        if self._receiving and not self._stopping:
            self._receiving.cancel()
        self._stopping = True

    async def work(self, thread: ThreadPoolExecutor) -> tuple[Summary, MujoError | None]:
        """Run from the entered source to the finished sinks -> the summary, and the error if there was one."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Chunk | None] = asyncio.Queue(LIVE_QUEUE if self._live else FILE_QUEUE)
        ended: Ended = "error"
        failure: MujoError | None = None
        own = self._source.info.device_model if not self._force_host else None
        worker = Worker(self._source, self._sinks, None if own else self._load, self._live, own)
        ready = asyncio.Event()
        receiving = asyncio.create_task(self._receive(inbox, ready))
        try:
            await asyncio.sleep(0)  # if canceled before it began, `_receive` would not put its None
            self._receiving = receiving
            if self._stopping:
                receiving.cancel()
            await loop.run_in_executor(thread, worker.start)
            ready.set()
            more = True
            while more:
                batch, more = await _next(inbox)
                await loop.run_in_executor(thread, worker.process, batch)
            ended = await receiving
        except BrokenPipeError:
            ended = "closed"
        except MujoError as error:
            failure = error
        finally:
            receiving.cancel()
            while not inbox.empty():
                inbox.get_nowait()
            await asyncio.gather(receiving, return_exceptions=True)
            summary, failure = await loop.run_in_executor(thread, worker.finish, ended, failure)
        return summary, failure

    async def _receive(self, inbox: asyncio.Queue[Chunk | None], ready: asyncio.Event) -> Ended:
        """Put chunks into `inbox`, then None; a source that can wait does so until `ready`."""
        limit_s: float | None = None
        missed: Chunk | None = None
        try:
            if not self._live:
                await ready.wait()
            async for chunk in self._source.chunks():
                over = False
                if self._duration_s is not None and (len(chunk.t_s) or chunk.predictions):
                    began_s = float(chunk.t_s[0]) if len(chunk.t_s) else chunk.predictions[0].end_s
                    limit_s = began_s + self._duration_s if limit_s is None else limit_s
                    chunk, over = _before(chunk, limit_s)
                if not self._live:
                    await inbox.put(chunk)
                elif inbox.full():
                    missed = _emptied(_after(missed, chunk))
                else:
                    inbox.put_nowait(_after(missed, chunk))
                    missed = None
                if over:
                    return "duration"
            return "end"
        except asyncio.CancelledError:
            return "interrupted"
        finally:
            if missed:
                await inbox.put(missed)
            await inbox.put(None)


async def run_together(
    engines: Sequence[Engine],
    waiting: Callable[[Source], AbstractContextManager[object]] = nullcontext,
    output: BackgroundWriter | None = None,
) -> list[Summary]:
    """Run several engines at once on one recognizer's thread -> their summaries, in order.

    Sources are entered one after the other, as an adapter connects to one device at a time; each engine runs from then
    on. They end together on Ctrl-C, SIGTERM or a hangup, when the reader of an output is gone, or when a source cannot
    be entered. If one ends by itself, the others continue.

    Args:
        waiting: shows the status of the first source while it is entered, as no sink has started by then.
        output: the writer of the sinks; finished after all sinks and sources. After a signal it does not wait longer.

    Raises:
        MujoError: the first error of an engine, raised after all sinks were finished.
        asyncio.CancelledError: a signal arrived before all sources were entered. Sinks were finished.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    entering = True

    def stop() -> None:
        for engine in engines:
            engine.stop()

    def interrupt() -> None:
        stop()
        if output:
            output.hurry()
        if entering and task:
            task.cancel()

    async def work(engine: Engine) -> tuple[Summary, MujoError | None]:
        result = await engine.work(thread)
        if result[0].ended == "closed":
            stop()
        return result

    with on_signals(loop, interrupt), ThreadPoolExecutor(1, "recognizer") as thread:
        try:
            async with AsyncExitStack() as entered:
                working: list[asyncio.Task[tuple[Summary, MujoError | None]]] = []
                try:
                    for engine in engines:
                        began_s = monotonic()
                        with nullcontext() if working else waiting(engine._source):
                            await entered.enter_async_context(engine._source)
                        logger.info("entered %s in %.2f s", engine._source.info.name, monotonic() - began_s)
                        working.append(asyncio.create_task(work(engine)))
                    entering = False
                    results = await asyncio.gather(*working)
                except BaseException:
                    stop()
                    await asyncio.gather(*working, return_exceptions=True)
                    raise
        finally:
            if output:
                await loop.run_in_executor(thread, output.finish)
    for _, failure in results:
        if failure:
            raise failure
    if output:
        with suppress(BrokenPipeError):
            output.check()
    return [summary for summary, _ in results]


async def _next(inbox: asyncio.Queue[Chunk | None]) -> tuple[list[Chunk], bool]:
    """All waiting chunks, or none after `IDLE_S` without any; and whether more may follow."""
    waiting: list[Chunk | None] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(IDLE_S):
            waiting.append(await inbox.get())
    while not inbox.empty():
        waiting.append(inbox.get_nowait())
    return [chunk for chunk in waiting if chunk], None not in waiting


def _before(chunk: Chunk, limit_s: float) -> tuple[Chunk, bool]:
    """The samples before `limit_s`, and whether there were others."""
    late = np.flatnonzero(chunk.t_s >= limit_s)
    if not len(late):
        return chunk, any(event.end_s >= limit_s for event in chunk.predictions)
    n = int(late[0])
    return replace(chunk, t_s=chunk.t_s[:n], x=chunk.x[:n], truth=chunk.truth and chunk.truth[:n]), True


def _after(missed: Chunk | None, chunk: Chunk) -> Chunk:
    """`chunk` with the counts and payloads of those `missed` before it, at most `LIVE_RAW` payloads."""
    if missed is None:
        return chunk
    raw, predictions = (missed.raw + chunk.raw)[:LIVE_RAW], (missed.predictions + chunk.predictions)[:LIVE_RAW]
    return replace(
        chunk, lost=missed.lost + chunk.lost, corrupt=missed.corrupt + chunk.corrupt, raw=raw, predictions=predictions
    )


def _emptied(chunk: Chunk) -> Chunk:
    """`chunk` with its samples counted as lost."""
    return replace(chunk, t_s=chunk.t_s[:0], x=chunk.x[:0], truth=None, lost=chunk.lost + len(chunk.t_s))


@contextmanager
def on_signals(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], object]) -> Iterator[None]:
    """Call `interrupt` on the first Ctrl-C, SIGTERM or hangup; a signal after `AGAIN_S` has its previous effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    if before.get(number := getattr(signal, "SIGHUP", None)) is signal.SIG_IGN:  # nohup
        del before[number]
    first_s: float | None = None

    def restore() -> None:
        for number, handler in before.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

    def handle(number: int, _: object) -> None:
        nonlocal first_s
        if first_s is None:
            first_s = monotonic()
            loop.call_soon_threadsafe(interrupt)
        elif monotonic() - first_s > AGAIN_S:
            restore()
            signal.raise_signal(number)

    for number in before:
        # Without a handler of the loop, a signal just before the loop waits would not wake it (except on Windows).
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, lambda: None)
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
