"""Base of the phone sources: a queue of payloads, a decoder for every connection, and reconnecting."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Self

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_never
from tenacity.wait import wait_random_exponential

from firmware_bridge.stream import CodecError, Decoder
from mujo_edge.core import Chunk, DataError, DeviceError, Payload, StreamInfo
from mujo_edge.signal import DEFAULT_INPUT
from mujo_edge.sources.connections import PhoneConnection, read_connection, split_connections
from mujo_edge.sources.live import Assembler, PayloadQueue, stream_info

logger = logging.getLogger(__name__)

BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
"""Seconds to wait after n failed connections in a row: random, up to `BACKOFF_S` * 2**(n - 1) or this limit."""

SILENT_S = 3.0
"""Seconds without samples after which the status calls a phone silent."""

MEASURED_S = 3.0
"""Signal over which the phone's rate is measured for a note."""

Announce = Callable[[str], None]
"""Shows the user what to do on the phone."""


def to_stderr(text: str) -> None:
    """Print to stderr, as stdout may be a pipe."""
    print(text, file=sys.stderr, flush=True)


class GoneError(DeviceError):
    """There is no connection now; trying again may help."""


class PhoneSource:
    """A `Source` of one phone. Subclasses call `_opened` when a connection begins, then put its payloads into `_queue`.

    Args:
        name: of the stream. announce: shows the user what to do on the phone.
        faster: advice on how to make the app send faster.
    """

    def __init__(self, name: str, announce: Announce, faster: str = "") -> None:
        self._announce, self._faster = announce, faster
        self._queue = PayloadQueue()
        self._assembler: Assembler | None = None
        self._decoder: Decoder | None = None
        self._ready: list[Chunk] = []
        self._info = StreamInfo(name, (), None)
        self._peculiarities: list[str] = []
        self._state = ""
        self._sampled_s = monotonic()
        self._began_s: float | None = None
        self._counted, self._measured = 0, False
        self._connections = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def info(self) -> StreamInfo:
        """Complete once entered: the first samples show which sensors the phone has."""
        return self._info

    @property
    def notes(self) -> list[str]:
        """Peculiarities of this phone, and how often it reconnected."""
        back = self._connections - 1
        return [
            *self._peculiarities,
            *(["the phone reconnected once" if back == 1 else f"the phone reconnected {back} times"] * (back > 0)),
        ]

    @property
    def status(self) -> str:
        """Why no samples arrive: the phone is away or silent; empty while they do."""
        silent_s = monotonic() - self._sampled_s
        return self._state or (f"nothing from the phone for {silent_s:.0f} s" if silent_s > SILENT_S else "")

    async def __aenter__(self) -> Self:
        """Wait for the first samples. Raises what `_run` raises."""
        self._task = asyncio.create_task(self._run())
        try:
            while not any(len(chunk.t_s) for chunk in self._ready):
                self._ready += self._chunks(await self._take())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Samples as they arrive, without end. Raises `DeviceError` if the phone reconnects with other channels."""
        while True:
            ready, self._ready = self._ready, []
            for chunk in ready:
                yield chunk
            self._ready = self._chunks(await self._take())

    async def _run(self) -> None:
        """Receive until canceled. Raises `MujoError` if that is impossible."""
        raise AssertionError(f"{type(self).__name__} does not receive")

    async def _reconnect(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Call `connect` repeatedly: it raises `GoneError`, or returns when a connection that sent samples is lost.

        The first connection is tried only once, so that a wrong address is reported at once.
        """

        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            logger.info("attempt %d failed: %s", state.attempt_number, error)
            self._state = f"{str(error).partition('. ')[0]}, trying again (try {state.attempt_number + 1})"

        while True:
            async for attempt in AsyncRetrying(
                stop=stop_never if self._connections else stop_after_attempt(1),
                wait=wait_random_exponential(multiplier=BACKOFF_S, max=LONGEST_BACKOFF_S),
                retry=retry_if_exception_type(GoneError),
                before_sleep=note,
                reraise=True,
            ):
                with attempt:
                    await connect()
            logger.info("%s: connection lost", self._info.name)
            self._state = "connection to the phone lost, trying again"

    def _opened(self, about: Mapping[str, object], received_s: float | None = None) -> None:
        """Begin a connection; `about` is what `firmware_bridge.phone.decoder` takes."""
        logger.info("%s connected: %s", self._info.name, about)
        self._connections += 1
        self._state = ""
        self._queue.put(PhoneConnection(about).record(), kind="open", received_s=received_s)

    async def _take(self) -> list[Payload]:
        """The payloads received since the last call. Raises the error that ended `_run`."""
        assert self._task
        taking = asyncio.ensure_future(self._queue.take())
        try:
            await asyncio.wait({taking, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            self._task.result()
            raise AssertionError("receiving ended")
        finally:
            taking.cancel()

    def _chunks(self, payloads: Sequence[Payload]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for part in split_connections(payloads):
            if part[0].kind == "open":
                self._begin(part[0])
            if self._assembler:
                chunks += self._assembler.chunks(part)
        for chunk in chunks:
            if len(chunk.t_s):
                self._sampled_s = monotonic()
                self._measure(chunk)
        return chunks

    def _measure(self, chunk: Chunk) -> None:
        """Add a note, once, if the phone samples slower than models expect."""
        if self._measured:
            return
        if self._began_s is None:
            self._began_s = float(chunk.t_s[0])
        self._counted += len(chunk.t_s) + chunk.lost
        span_s, wanted_hz = float(chunk.t_s[-1]) - self._began_s, DEFAULT_INPUT.rate_hz
        if span_s < MEASURED_S:
            return
        self._measured = True
        if (rate_hz := (self._counted - 1) / span_s) < 0.9 * wanted_hz:
            self._peculiarities.append(
                f"the phone gives {rate_hz:.3g} Hz; models are made for {wanted_hz:g} Hz and may be wrong{self._faster}"
            )

    def _begin(self, opening: Payload) -> None:
        try:
            made = read_connection(opening.data).decoder()
        except CodecError as error:
            raise DataError(f"{self._info.name}: {error}") from None
        self._decoder = made
        if self._assembler:
            self._assembler.reopen(made)
        else:
            self._assembler = Assembler(made)
            self._info = stream_info(self._info.name, made.format)
