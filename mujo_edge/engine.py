"""Runs streams: source -> bounded queue -> recognizer -> sinks, with the recognizer on a thread of its own.

Several streams run at once and share that thread. The event loop only receives. When inference falls behind a live
source, windows older than `STALE_S` are dropped and counted; a file that is played as fast as can be waits instead,
and loses nothing.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from time import monotonic

import numpy as np

from firmware_bridge.stream import DeviceModelInfo
from mujo_edge.core import (
    UNKNOWN,
    Chunk,
    DataError,
    Gap,
    MujoError,
    Prediction,
    Source,
    StreamInfo,
    StreamStats,
    Window,
)
from mujo_edge.gaps import GapDetector
from mujo_edge.recognizer import Recognizer
from mujo_edge.signal import DEFAULT_INPUT, InputSpec
from mujo_edge.sinks import STAGES, Ended, Quantiles, RunInfo, Sink, Summary, Tally, Update
from mujo_edge.sinks.background import BackgroundWriter

STALE_S = 1.0
"""A window that waited longer for its inference is dropped, unless it is the newest."""

LIVE_QUEUE = 1024
"""Chunks that may wait when the source cannot: a minute or more of a watch's notifications."""

LIVE_RAW = 1 << 16
"""Payloads kept for a recording of chunks that found the queue full."""

FILE_QUEUE = 8
"""Chunks that may wait when the source can: what is worth one batch."""

ON_DEVICE = "on the device"
"""Stands for the runtime where a device recognizes by itself."""

IDLE_S = 1.0
"""So often are the sinks told that nothing came."""

AGAIN_S = 1.0
"""Further signals that come this soon after the first one change nothing: GNU timeout sends two at once."""

LATENCIES = 4096
"""Windows over which latency is summed up."""


class Engine:
    """One run of one source.

    Args:
        source: entered and left by `run`.
        sinks: started once the model is loaded, in order.
        load: makes the recognizer from what the source says of itself, while the first samples already come in.
            None: nothing is recognized; samples are counted and passed to the sinks.
        live: False for a source that can wait.
        duration_s: end after so much device time.
        force_host: recognize here also what a device recognizes by itself; else its own labels are passed to the sinks.
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
        """Run until the source ends, Ctrl-C, SIGTERM or the duration; sinks that were started are finished always.

        Raises:
            MujoError: what the source, the model or a sink met, after the sinks were finished. `DataError` as
                well when the source came to its end without one prediction.
        """
        (summary,) = await run_together([self])
        return summary

    def stop(self) -> None:
        """End as Ctrl-C does: what was received is still worked through."""
        if self._receiving and not self._stopping:
            self._receiving.cancel()
        self._stopping = True

    async def work(self, worker: ThreadPoolExecutor) -> tuple[Summary, MujoError | None]:
        """The stream from a source that was entered to sinks that were finished -> summary, and what went wrong."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Chunk | None] = asyncio.Queue(LIVE_QUEUE if self._live else FILE_QUEUE)
        ended: Ended = "error"
        failure: MujoError | None = None
        own = self._source.info.names if not self._force_host else None
        pipeline = _Pipeline(self._source, self._sinks, None if own else self._load, self._live, own)
        ready = asyncio.Event()
        receiving = asyncio.create_task(self._receive(inbox, ready))
        try:
            await asyncio.sleep(0)  # canceled before it began, `_receive` would not put its None
            self._receiving = receiving
            if self._stopping:
                receiving.cancel()
            await loop.run_in_executor(worker, pipeline.start)
            ready.set()
            more = True
            while more:
                batch, more = await _next(inbox)
                await loop.run_in_executor(worker, pipeline.process, batch)
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
            summary, failure = await loop.run_in_executor(worker, pipeline.finish, ended, failure)
        return summary, failure

    async def _receive(self, inbox: asyncio.Queue[Chunk | None], ready: asyncio.Event) -> Ended:
        """Put chunks into `inbox`, and None after the last one; a source that can wait does so until `ready`."""
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

    Sources are entered one after the other, as an adapter connects to one device at a time, and each engine works from
    then on. They end together: on Ctrl-C, SIGTERM or a hangup, when one has nobody left to write to, or when a source
    cannot be entered; one that ends by itself leaves the others running.

    Args:
        waiting: shows what the first source does while it is entered; no sink has begun by then.
        output: where sinks write to; finished after all sinks and sources. A signal does not let it wait any longer.

    Raises:
        MujoError: what an engine met first, after all sinks were finished.
        asyncio.CancelledError: a signal came before all sources were entered. Sinks were finished.
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
        result = await engine.work(worker)
        if result[0].ended == "closed":
            stop()
        return result

    with _on_signals(loop, interrupt), ThreadPoolExecutor(1, "recognizer") as worker:
        try:
            async with AsyncExitStack() as entered:
                working: list[asyncio.Task[tuple[Summary, MujoError | None]]] = []
                try:
                    for engine in engines:
                        with nullcontext() if working else waiting(engine._source):
                            await entered.enter_async_context(engine._source)
                        working.append(asyncio.create_task(work(engine)))
                    entering = False
                    results = await asyncio.gather(*working)
                except BaseException:
                    stop()
                    await asyncio.gather(*working, return_exceptions=True)
                    raise
        finally:
            if output:
                await loop.run_in_executor(worker, output.finish)
    for _, failure in results:
        if failure:
            raise failure
    if output:
        with suppress(BrokenPipeError):
            output.check()
    return [summary for summary, _ in results]


async def _next(inbox: asyncio.Queue[Chunk | None]) -> tuple[list[Chunk], bool]:
    """All chunks that wait, none after `IDLE_S` without any; and whether more may come."""
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
    """`chunk` with what is to be told of those `missed` before it; of their bytes, no more than `LIVE_RAW` payloads."""
    if missed is None:
        return chunk
    raw, predictions = (missed.raw + chunk.raw)[:LIVE_RAW], (missed.predictions + chunk.predictions)[:LIVE_RAW]
    return replace(
        chunk, lost=missed.lost + chunk.lost, corrupt=missed.corrupt + chunk.corrupt, raw=raw, predictions=predictions
    )


def _emptied(chunk: Chunk) -> Chunk:
    """`chunk` with its samples lost."""
    return replace(chunk, t_s=chunk.t_s[:0], x=chunk.x[:0], truth=None, lost=chunk.lost + len(chunk.t_s))


@contextmanager
def _on_signals(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], object]) -> Iterator[None]:
    """Call `interrupt` on the first Ctrl-C, SIGTERM or hangup; one after `AGAIN_S` does what it did before."""
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
        # A signal that comes just before the loop waits would not wake it. On Windows it does in any case.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, lambda: None)
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


class _Pipeline:
    """What runs on the recognizer's thread: one call at a time, `start` first and `finish` last."""

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        load: Callable[[StreamInfo], Recognizer] | None,
        live: bool,
        own: DeviceModelInfo | None,
    ) -> None:
        self._source, self._info, self._sinks, self._load, self._live = source, source.info, sinks, load, live
        self._started: list[Sink] = []
        self._own = own
        self._session = RunInfo(self._info)
        if own:
            self._session = RunInfo(self._info, own.model, ON_DEVICE, own.label_set, own.labels, own.hop_s)
        self._recognizer: Recognizer | None = None
        self._clock = GapDetector(self._info.channels, DEFAULT_INPUT.max_gap_s)  # where nothing is recognized
        self._began_s = monotonic()
        self._ms = np.empty((LATENCIES, len(STAGES)))
        self._latency: dict[str, Quantiles] | None = None
        self._predictions = self._judged = self._right = 0

    def start(self) -> None:
        """Load the model and start the sinks."""
        if self._load:
            recognizer = self._recognizer = self._load(self._info)
            bundle = recognizer.bundle
            self._session = RunInfo(
                self._info,
                f"{bundle.name} {bundle.manifest.version}",
                bundle.runtime.name,
                recognizer.labels.name,
                recognizer.labels.names,
                bundle.input.hop / bundle.input.rate_hz,
            )
        for sink in self._sinks:
            sink.start(self._session)
            self._started.append(sink)
        self._began_s = monotonic()

    def process(self, batch: Sequence[Chunk]) -> None:
        """Recognize what a batch of chunks completes, and tell the sinks."""
        events: list[Prediction | Gap]
        if self._recognizer:
            pending = [event for chunk in batch for event in self._recognizer.cut(chunk)]
            events = self._recognizer.classify(self._fresh(pending) if self._live else pending)
        else:
            events = [span.gap for chunk in batch for span in self._clock.split(chunk) if span.gap]
        if self._own:  # what gaps the device saw, it tells
            stats, unseen = self._clock.stats, len(events)
            events = [_arrived(event, chunk.received_s) for chunk in batch for event in chunk.predictions]
            stats.windows += sum(isinstance(event, Prediction) for event in events)
            stats.gaps += sum(isinstance(event, Gap) for event in events) - unseen
        self._count([event for event in events if isinstance(event, Prediction)])
        update = Update(batch, events, self._tally(), self._source.status)
        for sink in self._started:
            sink.write(update)

    def finish(self, ended: Ended, failure: MujoError | None) -> tuple[Summary, MujoError | None]:
        """Finish the sinks that were started -> summary and what went wrong, if anything."""
        tally = self._tally()
        if ended == "end" and self._recognizer and not self._predictions:
            failure = DataError(_why_nothing(tally.stats, self._recognizer.bundle.input))
        error = str(failure) if failure else None
        summary = Summary(self._session, tally, "error" if failure else ended, tuple(tally.stats.notes), error)
        for sink in self._started:
            try:
                sink.finish(summary)
            except BrokenPipeError:
                pass  # the reader has gone: nothing more can be said to it
            except MujoError as error:
                failure = failure or error
        return summary, failure

    def _fresh(self, events: Sequence[Window | Gap]) -> list[Window | Gap]:
        """Without the windows that waited too long; kept are the newest, and what came while the model loaded."""
        oldest_s = monotonic() - STALE_S
        if self._began_s >= oldest_s:
            return list(events)
        newest = next((event for event in reversed(events) if isinstance(event, Window)), None)
        fresh = [event for event in events if isinstance(event, Gap) or event is newest or event.received_s >= oldest_s]
        assert self._recognizer
        self._recognizer.stats.dropped_windows += len(events) - len(fresh)
        return fresh

    def _count(self, predictions: Sequence[Prediction]) -> None:
        names = self._session.labels
        for prediction in predictions:
            row = self._ms[self._predictions % LATENCIES]
            row[:] = [getattr(prediction.latency, f"{stage}_ms") for stage in STAGES]
            self._predictions += 1
            if prediction.truth is not None:
                self._judged += 1
                self._right += prediction.label == (prediction.truth if prediction.truth in names else UNKNOWN)
        if predictions:
            rows = self._ms[: min(self._predictions, LATENCIES)]
            p50, p99 = np.percentile(rows, (50, 99), axis=0).tolist()
            self._latency = {stage: Quantiles(p50[i], p99[i]) for i, stage in enumerate(STAGES)}

    def _tally(self) -> Tally:
        stats = self._recognizer.stats if self._recognizer else self._clock.stats
        elapsed_s = monotonic() - self._began_s
        stats = replace(stats, notes=[*self._source.notes, *stats.notes])
        return Tally(stats, self._predictions, self._right, self._judged, elapsed_s, self._latency)


def _arrived(event: Prediction | Gap, received_s: float) -> Prediction | Gap:
    """What a device told, with the time that it waited here."""
    if isinstance(event, Gap):
        return event
    queue_ms, latency = 1e3 * (monotonic() - received_s), event.latency
    return replace(event, latency=replace(latency, queue_ms=queue_ms, total_ms=queue_ms + latency.total_ms))


def _why_nothing(stats: StreamStats, spec: InputSpec) -> str:
    """One line for a source that came to its end without a prediction."""
    if stats.windows:
        reason = "its accelerometer repeats one value"
    elif stats.invalid > stats.samples / 2:
        reason = f"{stats.invalid} of its {stats.samples} samples are not finite or beyond any sensor's range"
    elif stats.repeated > stats.samples / 2:
        reason = f"time does not increase at {stats.repeated} of its {stats.samples} samples"
    elif stats.gaps:
        reason = f"it has {stats.gaps} gaps of more than {spec.max_gap_s:g} s in {stats.samples} samples"
    else:
        reason = f"it is {stats.signal_s:.2f} s long"
    window_s = spec.window / spec.rate_hz
    return f"nothing could be recognized: {reason}. A window needs {window_s:g} s of moving signal without a gap"
