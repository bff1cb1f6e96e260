"""What the phone sources share: bytes that wait, a decoder for every connection, and patience."""

from __future__ import annotations

import asyncio
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

BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
"""Wait after the n-th connection in a row that failed: random, up to `BACKOFF_S` * 2**(n - 1), and never longer."""

SILENT_S = 3.0
"""A phone that sends nothing for so long is said to be silent."""

MEASURED_S = 3.0
"""Time of the phone over which its rate is first measured."""

Announce = Callable[[str], None]


def to_stderr(text: str) -> None:
    """How the user is told what to do on the phone: stdout may be a pipe."""
    print(text, file=sys.stderr, flush=True)


class GoneError(DeviceError):
    """No connection now; it may come back."""


class PhoneSource:
    """A `Source` of one phone. Subclasses put what comes into `_inlet`, every connection beginning with `_opened`.

    Args:
        name: of the stream. announce: tells the user what to do on the phone.
        faster: how the app is made to send faster.
    """

    def __init__(self, name: str, announce: Announce, faster: str = "") -> None:
        self._announce, self._faster = announce, faster
        self._inlet = PayloadQueue()
        self._assembler: Assembler | None = None
        self._decoder: Decoder | None = None
        self._ready: list[Chunk] = []
        self._info = StreamInfo(name, (), None)
        self._said: list[str] = []
        self._doing = ""
        self._sampled_s = monotonic()
        self._began_s: float | None = None
        self._counted, self._measured = 0, False
        self._connections = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def info(self) -> StreamInfo:
        """Complete once entered: which sensors the phone has is known by its first samples."""
        return self._info

    @property
    def notes(self) -> list[str]:
        """What is special about this phone, and how often it came back."""
        back = self._connections - 1
        return [
            *self._said,
            *(["the phone came back once" if back == 1 else f"the phone came back {back} times"] * (back > 0)),
        ]

    @property
    def status(self) -> str:
        """What is done about a phone that is away or silent."""
        silent_s = monotonic() - self._sampled_s
        return self._doing or (f"nothing from the phone for {silent_s:.0f} s" if silent_s > SILENT_S else "")

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
        """Samples as they come; it ends only by being left. Raises `DeviceError` if it comes back as another device."""
        while True:
            ready, self._ready = self._ready, []
            for chunk in ready:
                yield chunk
            self._ready = self._chunks(await self._take())

    async def _run(self) -> None:
        """Receive, for ever. Raises `MujoError` where that is of no use."""
        raise AssertionError(f"{type(self).__name__} does not receive")

    async def _keep(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Call `connect` again and again: it raises `GoneError`, or returns when a connection that streamed is lost.

        The first connection is tried once, so that a wrong address is said at once.
        """

        def say(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._doing = f"{str(error).partition('. ')[0]}, trying again (try {state.attempt_number + 1})"

        while True:
            async for attempt in AsyncRetrying(
                stop=stop_never if self._connections else stop_after_attempt(1),
                wait=wait_random_exponential(multiplier=BACKOFF_S, max=LONGEST_BACKOFF_S),
                retry=retry_if_exception_type(GoneError),
                before_sleep=say,
                reraise=True,
            ):
                with attempt:
                    await connect()
            self._doing = "connection to the phone lost, trying again"

    def _opened(self, about: Mapping[str, object], received_s: float | None = None) -> None:
        """A connection begins; `about` is what `firmware_bridge.phone.decoder` takes."""
        self._connections += 1
        self._doing = ""
        self._inlet.put(PhoneConnection(about).record(), kind="open", received_s=received_s)

    async def _take(self) -> list[Payload]:
        """What came. Raises what ended the receiving."""
        assert self._task
        taking = asyncio.ensure_future(self._inlet.take())
        try:
            await asyncio.wait({taking, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            self._task.result()
            raise AssertionError("receiving ended")
        finally:
            taking.cancel()

    def _chunks(self, raws: Sequence[Payload]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for part in split_connections(raws):
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
        """Note, once, if the phone sends less than models are made for."""
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
            self._said.append(
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
