"""Live recognition from Python: a function for each kind of source, and `recognize`, which runs one.

    for p in recognize(ble(), labels="physio-wrist"):
        print(f"{p.end_s:8.2f} s  {p.label} {p.score:.2f}")

Inside asyncio the same object is read with ``async for``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from mujo_edge import logs
from mujo_edge.bundle import LabelSet, ModelBundle
from mujo_edge.core import Bout, Chunk, Gap, Prediction, Repetition, Source, StreamInfo
from mujo_edge.engine import Engine
from mujo_edge.mounting import Worn
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import RunInfo, Sink, Summary, Update

if TYPE_CHECKING:
    from firmware_bridge.profiles.base import Profile
    from mujo_edge.sources.ble import BleSource

Event = TypeVar("Event", bound=Prediction | Gap | Repetition | Bout)

LIVE_LIMIT = 1 << 14
"""Events of a live source that may wait for the loop that reads them: over two hours of predictions."""

FILE_LIMIT = 256
"""Events that may wait where the source can wait, too."""

POLL_S = 0.5
"""Longest uninterrupted wait of the blocking form: on Windows Ctrl-C is seen only between waits."""


def ble(device: str | None = None, *, profile: str | Profile | None = None, rate_hz: float | None = None) -> Source:
    """A Bluetooth wearable, searched for when the source is entered.

    Args:
        device: its address, its name or a part of the name that only one device nearby has; None takes the known
            device with the strongest signal.
        profile: its protocol: a name of `firmware_bridge.profiles.PROFILES`, or a `Profile` of your own, see
            examples/own_device.py. None: recognized from what the device advertises.
        rate_hz: sample rate to ask for; None leaves the choice to the profile.

    Entering raises `DeviceError` if there is no such device or it does not stream, `UsageError` if several match.
    """
    return _Wearable(device, profile, rate_hz)


def serial(
    port: str = "auto", *, baud: int = 115200, columns: str | None = None, rate_hz: float | None = None
) -> Source:
    """A board at a serial port that prints lines of numbers, or speaks WitMotion's or our protocol.

    Args:
        port: name of the port or a pyserial URL; "auto" for the only USB port.
        baud: bits a second.
        columns: names of the numbers in a line, such as "t_ms,ax_g,ay_g,az_g"; None: found from the lines.
        rate_hz: nominal sample rate of a board that sends no time; None: measured.

    Raises:
        UsageError: an argument that cannot be right. Entering the source raises `DeviceError` or `DataError`.
    """
    from mujo_edge.sources.serial import SerialSource

    return SerialSource(port, baud=baud, columns=columns, rate_hz=rate_hz)


def phone(app: str = "browser", *, host: str | None = None, port: int | None = None, url: str | None = None) -> Source:
    """A phone, through its browser or an app (extra `phone`). Entering prints on stderr what to do on the phone.

    Args:
        app: "browser", "sensor-logger", "sensorserver" or "phyphox".
        host, port: address of this machine for the first two; loopback only if `host` is None.
        url: address that the phone shows, for the other two.

    Raises:
        UsageError: no such app, or an argument that is missing or does not belong to it.
        MissingExtraError: the extra `phone` is not installed.
    """
    from mujo_edge.sources.phone import phone_source

    return phone_source(app, host=host, port=port, url=url)


def replay(
    path: str | Path | None = None,
    *,
    speed: float | None = None,
    rate_hz: float | None = None,
    columns: str | None = None,
    units: str | None = None,
    time_unit: str | None = None,
    sign: Literal["+", "-"] | None = None,
) -> Source:
    """A recording: a session folder, a CSV or a Parquet file.

    Args:
        path: None plays the recording that comes with mujo-edge.
        speed: None is as fast as possible and drops nothing; 1 plays in real time, like a device.
        rate_hz: sample rate of a file without times, or with coarse ones.
        columns, units, time_unit, sign: what a file's columns mean, as the options of ``stream``: "t_s,ax_g,ay_g,az_g";
            "acc=g,gyro=deg/s"; "ms"; "-" if the axis that points up reads negative.

    Raises:
        UsageError: no such file, or a rate that is missing. DataError: not a recording.
    """
    from mujo_edge.recordings.units import Answers
    from mujo_edge.sources.replay import ReplaySource, shipped_recording

    answers = Answers.parse(columns, units, time_unit, sign)
    return ReplaySource(shipped_recording() if path is None else path, speed=speed, rate_hz=rate_hz, answers=answers)


@overload
def recognize(
    source: Source,
    labels: str | Path | LabelSet | None = ...,
    bundle: str | Path | ModelBundle | None = ...,
    *,
    worn: Worn | None = ...,
    gaps: Literal[False] = ...,
    counts: Literal[False] = ...,
    sinks: Sequence[Sink] = ...,
    runtime: str = ...,
    threads: int = ...,
    duration_s: float | None = ...,
    live: bool | None = ...,
) -> Recognition[Prediction]: ...


@overload
def recognize(
    source: Source,
    labels: str | Path | LabelSet | None = ...,
    bundle: str | Path | ModelBundle | None = ...,
    *,
    worn: Worn | None = ...,
    gaps: Literal[True],
    counts: Literal[False] = ...,
    sinks: Sequence[Sink] = ...,
    runtime: str = ...,
    threads: int = ...,
    duration_s: float | None = ...,
    live: bool | None = ...,
) -> Recognition[Prediction | Gap]: ...


@overload
def recognize(
    source: Source,
    labels: str | Path | LabelSet | None = ...,
    bundle: str | Path | ModelBundle | None = ...,
    *,
    worn: Worn | None = ...,
    gaps: bool = ...,
    counts: Literal[True],
    sinks: Sequence[Sink] = ...,
    runtime: str = ...,
    threads: int = ...,
    duration_s: float | None = ...,
    live: bool | None = ...,
) -> Recognition[Prediction | Gap | Repetition | Bout]: ...


def recognize(
    source: Source,
    labels: str | Path | LabelSet | None = None,
    bundle: str | Path | ModelBundle | None = None,
    *,
    worn: Worn | None = None,
    gaps: bool = False,
    counts: bool = False,
    sinks: Sequence[Sink] = (),
    runtime: str = "auto",
    threads: int = 1,
    duration_s: float | None = None,
    live: bool | None = None,
) -> Recognition[Any]:
    """Recognize a stream: iterate over the result with ``for``, or with ``async for`` inside asyncio.

    Nothing starts before the loop does. Samples are received and recognized in the background, so a slow loop body
    loses none; leaving the loop disconnects the source and finishes the sinks.

    Args:
        source: from `ble`, `serial`, `phone` or `replay`, or any `Source`.
        labels: a label set of the bundle, names of activities ("squat, deadlift, bench press"), a `LabelSet`, or the
            path of a file that `LabelSet.save` wrote. None: the set that the recording names, else one that suits the
            placement of the stream.
        bundle: what `ModelBundle.load` takes, or a loaded bundle. None: the one that comes with mujo-edge.
        worn: how a sensor at the wrist is worn: "as-trained", "inside", "upside-down", "inside-upside-down", or "auto"
            to find it from the first 20 s of movement. None: as trained; a note says if it does not seem so.
        gaps: yield a `Gap`, too, where the signal broke off.
        counts: yield every `Repetition`, too, and the `Bout` after the last one of a set, once they are final. The
            running count is in `Prediction.repetitions` without it.
        sinks: further receivers of the results, such as `mujo_edge.sinks.recording.RecordingSink`.
        runtime, threads: see `ModelBundle.load`; for a bundle that is not loaded yet.
        duration_s: end after this many seconds of signal.
        live: False for a source of your own that can wait, such as a file: no window is dropped as stale. None: True
            except for recordings played as fast as possible.

    The loop raises:
        UsageError: no such bundle or label set.
        DeviceError: the device is missing or went away for good.
        DataError: the recording or the bundle is damaged, or nothing in the recording could be recognized.
    """
    logs.show_as_environment_says()
    if live is None:
        live = getattr(source, "speed", 1.0) is not None
    model: list[ModelBundle] = [bundle] if isinstance(bundle, ModelBundle) else []

    def load(info: StreamInfo) -> Recognizer:
        if not model:
            assert not isinstance(bundle, ModelBundle)
            model.append(ModelBundle.load(bundle, runtime, threads))
        return Recognizer(model[0], info, labels, worn)

    def engine(events: Sink) -> Engine:
        own = [source] if isinstance(source, Sink) else []
        return Engine(
            source,
            [*sinks, *own, events],
            load,
            live=live,
            duration_s=duration_s,
            force_host=bundle is not None or labels is not None,
        )

    return Recognition(source, engine, gaps, counts, live)


class Recognition(Generic[Event]):
    """A stream to iterate over, made by `recognize`. Every loop over it is a run of its own, which enters the source.

    `summary` has the counts, latencies and notes of the last run once its loop has ended, None before.
    """

    def __init__(self, source: Source, engine: Callable[[Sink], Engine], gaps: bool, counts: bool, live: bool) -> None:
        self.summary: Summary | None = None
        self._source, self._engine, self._live = source, engine, live
        self._gaps, self._counts = gaps, counts

    def __repr__(self) -> str:
        return f"<Recognition of {type(self._source).__name__}>"

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        run = _Run(self, lambda: loop.call_soon_threadsafe(news.set))
        task = asyncio.create_task(run.work())
        task.add_done_callback(lambda _: news.set())
        try:
            while True:
                ended = task.done()
                for event in run.events.take():
                    yield event
                if ended:
                    break
                await news.wait()
                news.clear()
        finally:
            run.stop()
            await asyncio.gather(task, return_exceptions=True)
            self._finish(run)
        task.result()

    def __iter__(self) -> Generator[Event, None, None]:
        """The blocking form: the stream runs on a thread with an event loop of its own."""
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        loop = runner.get_loop()
        run = _Run(self)
        failure: list[BaseException] = []

        def work() -> None:
            try:
                with runner:
                    runner.run(run.work())
            except BaseException as error:
                failure.append(error)
            finally:
                run.events.close()

        thread = threading.Thread(target=work, name="mujo-edge", daemon=True)
        thread.start()
        try:
            while not run.events.closed:
                run.events.wait(POLL_S)
                yield from run.events.take()
            yield from run.events.take()
        finally:
            with suppress(RuntimeError):  # the loop is closed: nothing is left to stop
                loop.call_soon_threadsafe(run.stop)
            thread.join()
            self._finish(run)
        if failure:
            raise failure[0]

    def _finish(self, run: _Run[Event]) -> None:
        self.summary = run.summary
        if run.summary and run.events.dropped:
            note = f"the loop over the predictions was too slow: {run.events.dropped} were dropped"
            self.summary = replace(run.summary, notes=(*run.summary.notes, note))


class _Run(Generic[Event]):
    """One run of a `Recognition`, from entering the source to the summary. All methods belong to the loop's thread."""

    def __init__(self, recognition: Recognition[Event], wake: Callable[[], object] = lambda: None) -> None:
        self.events: _Events[Event] = _Events(recognition._gaps, recognition._counts, recognition._live, wake)
        self.summary: Summary | None = None
        self._source, self._engine = recognition._source, recognition._engine(self.events)
        self._entering: asyncio.Task[None] | None = None
        self._stopping = False

    async def work(self) -> None:
        """Raises what the source, the model or a sink raised, after the sinks were finished."""
        if self._stopping:
            return
        self._entering = asyncio.current_task()
        with ThreadPoolExecutor(1, "recognizer") as worker:
            async with self._source:
                self._entering = None
                self.summary, failure = await self._engine.work(worker)
        if failure:
            raise failure

    def stop(self) -> None:
        """End the run: received samples are still processed, but their events are not delivered."""
        self.events.close()
        self._stopping = True
        if self._entering:
            self._entering.cancel()
        else:
            self._engine.stop()


class _Events(Generic[Event]):
    """The `Sink` that hands events from the recognizer's thread to the loop that reads them."""

    def __init__(self, gaps: bool, counts: bool, live: bool, wake: Callable[[], object]) -> None:
        self.closed, self.dropped = False, 0
        self._gaps, self._counts, self._live, self._wake = gaps, counts, live, wake
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()

    def start(self, session: RunInfo) -> None:
        """Nothing to do."""

    def write(self, update: Update) -> None:
        """Queue the events; wait for room where the source can wait, drop them where it cannot."""
        for event in [*update.events, *(update.counted if self._counts else ())]:
            if not self._gaps and isinstance(event, Gap):
                continue
            with self._changed:
                if not self._live:
                    self._changed.wait_for(lambda: len(self._waiting) < FILE_LIMIT or self.closed)
                elif len(self._waiting) >= LIVE_LIMIT:
                    self.dropped += 1
                    continue
                self._waiting.append(cast(Event, event))
                self._changed.notify_all()
            self._wake()

    def finish(self, summary: Summary) -> None:
        """Nothing to do."""

    def take(self) -> list[Event]:
        """All events that wait."""
        with self._changed:
            taken = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        return taken

    def wait(self, timeout_s: float) -> None:
        """Block until events wait, none will come, or `timeout_s` is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed, timeout_s)

    def close(self) -> None:
        """Release all waiting threads."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class _Wearable:
    """A `BleSource` whose device is searched for when it is entered."""

    def __init__(self, device: str | None, profile: str | Profile | None, rate_hz: float | None) -> None:
        self._device, self._profile, self._rate_hz = device, profile, rate_hz
        self._source: BleSource | None = None

    def __repr__(self) -> str:
        return f"<ble source {self._device or 'of the nearest wearable'}>"

    @property
    def info(self) -> StreamInfo:
        """Complete once entered."""
        return self._source.info if self._source else StreamInfo(self._device or "wearable", (), self._rate_hz)

    @property
    def notes(self) -> Sequence[str]:
        """See `Source`."""
        return self._source.notes if self._source else ()

    @property
    def status(self) -> str:
        """See `Source`."""
        return self._source.status if self._source else "searching"

    async def __aenter__(self) -> Self:
        from mujo_edge.sources.ble import BleSource, find

        self._source = BleSource(await find(self._device, self._profile), rate_hz=self._rate_hz)
        await self._source.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._source:
            await self._source.__aexit__(*exc)

    def chunks(self) -> AsyncIterator[Chunk]:
        """See `Source`."""
        assert self._source is not None, "enter the source first"
        return self._source.chunks()
