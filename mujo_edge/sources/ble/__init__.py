"""A Bluetooth wearable as a source: connected, started by its profile, and fetched back whenever it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Self

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_never, wait_random_exponential
from tenacity.stop import StopBaseT

from firmware_bridge.stream import Format
from mujo_edge.core import Chunk, DeviceError, StreamInfo, UsageError
from mujo_edge.signal import DEFAULT_INPUT
from mujo_edge.sources.ble.gatt import Link, LinkError, RefusedError
from mujo_edge.sources.ble.scan import DiscoveredDevice, adverts, find
from mujo_edge.sources.live import Assembler, stream_info

__all__ = ["BleSource", "find"]

FIRST_TRIES = 3
"""Radios fail now and then: so often is the first connection tried before the user is told."""

SEEK_S = 8.0
"""... and so long is the device looked for in between."""

BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
"""Wait after the n-th connection in a row that failed: random, up to `BACKOFF_S` * 2**(n - 1), and never longer."""

SILENT_S = 8.0
"""A connected device that sends nothing for so long is dead. The slowest sends a batch every 1.5 s (Polar, 25 Hz), of
which a bad link may lose some in a row."""


class BleSource:
    """A `Source` of one wearable; it ends only by being left.

    Args:
        found: the device, from `mujo_edge.sources.ble.scan.find`. rate_hz: to ask for; None leaves it to the profile.

    Raises:
        UsageError: no profile is known for the device.
    """

    def __init__(self, found: DiscoveredDevice, *, rate_hz: float | None = None) -> None:
        if found.profile is None:
            raise UsageError(f"{found} does not say what it speaks. Name it with --profile")
        self.status = ""
        self._found, self._profile, self._rate_hz = found, found.profile, rate_hz
        self._link: Link | None = None
        self._assembler: Assembler | None = None
        self._ready: list[Chunk] = []
        self._info = StreamInfo(found.name, found.profile.channels, rate_hz)
        self._said: list[str] = []
        self._returns = 0
        self._patience_s = self._until_s = inf

    @property
    def info(self) -> StreamInfo:
        """What the profile promises; once connected, what the device was set to."""
        return self._info

    @property
    def notes(self) -> list[str]:
        """What is special about this device, and how often it went away."""
        often = "once" if self._returns == 1 else f"{self._returns} times"
        return [*self._said, f"reconnected {often}"] if self._returns else self._said

    async def __aenter__(self) -> Self:
        """Connect. Raises `DeviceError` if the device does not stream after `FIRST_TRIES` attempts."""
        try:
            async for attempt in self._attempts(stop_after_attempt(FIRST_TRIES), first=True):
                with attempt:
                    if attempt.retry_state.attempt_number == 1:
                        await self._open(self._found)
                    else:  # the system may have forgotten what it heard
                        await self._open(await self._sight(SEEK_S))
        except BaseException as error:
            await self.__aexit__()
            if isinstance(error, LinkError) and not isinstance(error, RefusedError):
                raise DeviceError(f"{error}. Bring it near, switch it off and on, and close its phone app") from error
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._link:
            await self._link.close()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Samples as they come. While the device is away none do, and `status` says what is done about it."""
        while True:
            for chunk in (ready := self._take()):
                yield chunk
            if any(raw.kind == "data" for chunk in ready for raw in chunk.raw):
                self._wait_anew()
            try:
                await self._receive()
                continue
            except LinkError:
                await self._hang_up()
            async for attempt in self._attempts(stop_never, first=False):
                for chunk in self._take():
                    yield chunk
                self.status = f"connection lost, looking for it (try {attempt.retry_state.attempt_number})"
                with attempt:
                    await self._open(await self._sight(None))
            self.status = ""
            self._returns += 1

    def _attempts(self, stop: StopBaseT, *, first: bool) -> AsyncRetrying:
        """Attempts to connect, with pauses; a device that refuses is asked again only once it has streamed before."""

        def worth_it(error: BaseException) -> bool:
            return isinstance(error, LinkError) and not (first and isinstance(error, RefusedError))

        wait = wait_random_exponential(multiplier=BACKOFF_S, max=LONGEST_BACKOFF_S)
        return AsyncRetrying(stop=stop, wait=wait, retry=retry_if_exception(worth_it), reraise=True)

    async def _open(self, found: DiscoveredDevice) -> None:
        """Connect, and wait for the first samples. Raises `LinkError`."""
        self._link = await Link(found, self._profile, self._rate_hz).open()
        format = self._link.decoder.format
        if self._assembler is None:
            self._assembler = Assembler(self._link.decoder)
            self._info = stream_info(self._found.name, format)
            self._said = _peculiarities(self._found, format, self._rate_hz)
        else:
            self._assembler.reopen(self._link.decoder)
        self._patience_s = SILENT_S if format.even else inf
        self._until_s = monotonic() + self._patience_s
        try:
            while format.even and not self._streams(await self._receive()):
                pass
        except LinkError:
            await self._hang_up()
            raise

    async def _sight(self, timeout_s: float | None) -> DiscoveredDevice:
        """Scan until the device advertises. A computer whose Bluetooth is switched off is asked again and again.

        Raises `LinkError` after `timeout_s`.
        """
        status = self.status
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), aclosing(adverts()) as stream:
                async for one in stream:
                    if isinstance(one, DeviceError):
                        self.status = f"connection lost; {str(one).partition('. ')[0]}"
                    elif one == self._found:
                        return replace(self._found, device=one.device)
                    else:
                        self.status = status
        raise LinkError(f"{self._found} is not heard any more")

    async def _receive(self) -> list[Chunk]:
        """What came next, which is `_ready` as well. Raises `LinkError` if the connection is lost or silent."""
        assert self._link
        assert self._assembler
        left_s = max(0.0, self._until_s - monotonic())
        chunks = self._assembler.chunks(await self._link.take(None if left_s == inf else left_s))
        self._ready += chunks
        return chunks

    async def _hang_up(self) -> None:
        """Close the connection; what had come and was not taken becomes `_ready`."""
        assert self._link
        assert self._assembler
        self._ready += self._assembler.chunks(await self._link.close())

    def _take(self) -> list[Chunk]:
        ready, self._ready = self._ready, []
        return ready

    def _streams(self, chunks: Sequence[Chunk]) -> bool:
        """Whether there are samples; if so, patience begins anew."""
        if any(len(chunk.t_s) for chunk in chunks):
            self._wait_anew()
            return True
        return False

    def _wait_anew(self) -> None:
        """Patience begins anew, after the time that was spent on what came."""
        self._until_s = monotonic() + self._patience_s


def _peculiarities(found: DiscoveredDevice, format: Format, rate_hz: float | None) -> list[str]:
    """What the user should know of how a device streams."""
    notes = []
    wanted_hz = DEFAULT_INPUT.rate_hz
    if not format.even:
        notes.append(f"{found.name} sends only what changes: at rest nothing comes, and labels need movement")
    if format.rate_hz is not None and rate_hz is not None and abs(format.rate_hz - rate_hz) > 0.5:
        notes.append(f"{found.name} was asked for {rate_hz:g} Hz and gives {format.rate_hz:g} Hz")
    if format.rate_hz is not None and format.rate_hz < 0.9 * wanted_hz:
        notes.append(f"{found.name} gives {format.rate_hz:g} Hz; models are made for {wanted_hz:g} Hz and may be wrong")
    return notes
