"""A Bluetooth wearable as a source: connected, started by its profile, and reconnected whenever it goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Self

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_never,
    wait_random_exponential,
)
from tenacity.stop import StopBaseT

from firmware_bridge.stream import Format
from mujo_edge.core import Chunk, DeviceError, StreamInfo, UsageError
from mujo_edge.signal import DEFAULT_INPUT
from mujo_edge.sources.ble.gatt import Link, LinkError, RefusedError
from mujo_edge.sources.ble.scan import DiscoveredDevice, adverts, find
from mujo_edge.sources.live import Assembler, stream_info

__all__ = ["BleSource", "find"]

logger = logging.getLogger(__name__)

FIRST_TRIES = 3
"""Attempts at the first connection before it is an error: radios fail now and then."""

SEEK_S = 8.0
"""Seconds to scan for the device between those attempts."""

BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
"""Seconds to wait after n failed connections in a row: random, up to `BACKOFF_S` * 2**(n - 1) or this limit."""

SILENT_S = 8.0
"""Seconds without data after which a connection counts as dead. The slowest device sends a batch every 1.5 s (Polar,
25 Hz), and a bad link may lose several in a row."""


class BleSource:
    """A `Source` of one wearable; its chunks never end by themselves.

    Args:
        discovered: the device, from `mujo_edge.sources.ble.scan.find`.
        rate_hz: the rate to request; None leaves it to the profile.
        name: of the stream; None takes the device's.

    Raises:
        UsageError: no profile is known for the device.
    """

    def __init__(self, discovered: DiscoveredDevice, *, rate_hz: float | None = None, name: str | None = None) -> None:
        if discovered.profile is None:
            raise UsageError(f"no profile recognizes {discovered}. Choose one with --profile")
        self.status = ""
        self._discovered, self._profile, self._rate_hz = discovered, discovered.profile, rate_hz
        self._link: Link | None = None
        self._assembler: Assembler | None = None
        self._ready: list[Chunk] = []
        self._name = name or discovered.name
        self._info = StreamInfo(self._name, discovered.profile.channels, rate_hz)
        self._peculiarities: list[str] = []
        self._returns = 0
        self._timeout_s = self._until_s = inf

    @property
    def info(self) -> StreamInfo:
        """The stream as the profile describes it; once connected, as the device was set up."""
        return self._info

    @property
    def notes(self) -> list[str]:
        """Peculiarities of this device, and how often it was reconnected."""
        often = "once" if self._returns == 1 else f"{self._returns} times"
        return [*self._peculiarities, f"reconnected {often}"] if self._returns else self._peculiarities

    async def __aenter__(self) -> Self:
        """Connect. Raises `DeviceError` if the device does not stream after `FIRST_TRIES` attempts."""
        try:
            async for attempt in self._attempts(stop_after_attempt(FIRST_TRIES), first=True):
                with attempt:
                    if attempt.retry_state.attempt_number == 1:
                        await self._open(self._discovered)
                    else:  # the system may have forgotten the device
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
        """Samples as they arrive. While the device is away there are none, and `status` describes the current step."""
        while True:
            for chunk in (ready := self._take()):
                yield chunk
            if any(payload.kind == "data" for chunk in ready for payload in chunk.raw):
                self._restart_timeout()
            try:
                await self._receive()
                continue
            except LinkError as error:
                logger.info("%s: %s", self._discovered, error)
                await self._disconnect()
            async for attempt in self._attempts(stop_never, first=False):
                for chunk in self._take():
                    yield chunk
                self.status = f"connection lost, looking for it (try {attempt.retry_state.attempt_number})"
                with attempt:
                    await self._open(await self._sight(None))
            self.status = ""
            self._returns += 1

    def _attempts(self, stop: StopBaseT, *, first: bool) -> AsyncRetrying:
        """Attempts to connect, with pauses. A device that refuses is tried again only if it has streamed before."""

        def worth_it(error: BaseException) -> bool:
            return isinstance(error, LinkError) and not (first and isinstance(error, RefusedError))

        def log(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause_s = state.next_action.sleep if state.next_action else 0.0
            logger.info("attempt %d failed: %s; next in %.1f s", state.attempt_number, error, pause_s)

        return AsyncRetrying(
            stop=stop,
            wait=wait_random_exponential(multiplier=BACKOFF_S, max=LONGEST_BACKOFF_S),
            retry=retry_if_exception(worth_it),
            before_sleep=log,
            reraise=True,
        )

    async def _open(self, discovered: DiscoveredDevice) -> None:
        """Connect, and wait for the first samples. Raises `LinkError`."""
        self._link = await Link(discovered, self._profile, self._rate_hz).open()
        format = self._link.decoder.format
        if self._assembler is None:
            self._assembler = Assembler(self._link.decoder)
            self._info = stream_info(self._name, format)
            self._peculiarities = _peculiarities(self._discovered, format, self._rate_hz)
        else:
            self._assembler.reopen(self._link.decoder)
        logger.info("%s streams %s at %s Hz", self._discovered, " ".join(format.channels), format.rate_hz)
        self._timeout_s = SILENT_S if format.even else inf
        self._until_s = monotonic() + self._timeout_s
        try:
            while format.even and not self._streams(await self._receive()):
                pass
        except LinkError:
            await self._disconnect()
            raise

    async def _sight(self, timeout_s: float | None) -> DiscoveredDevice:
        """Scan until the device advertises, also past the time that Bluetooth is switched off.

        Raises `LinkError` after `timeout_s`.
        """
        status = self.status
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), aclosing(adverts()) as stream:
                async for one in stream:
                    if isinstance(one, DeviceError):
                        self.status = f"connection lost; {str(one).partition('. ')[0]}"
                    elif one == self._discovered:
                        return replace(self._discovered, device=one.device)
                    else:
                        self.status = status
        raise LinkError(f"{self._discovered} does not advertise any more")

    async def _receive(self) -> list[Chunk]:
        """The next chunks, also appended to `_ready`. Raises `LinkError` if the connection is lost or silent."""
        assert self._link
        assert self._assembler
        left_s = max(0.0, self._until_s - monotonic())
        chunks = self._assembler.chunks(await self._link.take(None if left_s == inf else left_s))
        self._ready += chunks
        return chunks

    async def _disconnect(self) -> None:
        """Close the connection; chunks of payloads not taken yet are appended to `_ready`."""
        assert self._link
        assert self._assembler
        self._ready += self._assembler.chunks(await self._link.close())

    def _take(self) -> list[Chunk]:
        ready, self._ready = self._ready, []
        return ready

    def _streams(self, chunks: Sequence[Chunk]) -> bool:
        """Whether there are samples; if so, the timeout is restarted."""
        if any(len(chunk.t_s) for chunk in chunks):
            self._restart_timeout()
            return True
        return False

    def _restart_timeout(self) -> None:
        """Restart the timeout for silence, after the time that was spent on the last payloads."""
        self._until_s = monotonic() + self._timeout_s


def _peculiarities(discovered: DiscoveredDevice, format: Format, rate_hz: float | None) -> list[str]:
    """Notes for the user on how a device streams."""
    notes = []
    wanted_hz = DEFAULT_INPUT.rate_hz
    if not format.even:
        notes.append(f"{discovered.name} sends only what changes: no samples at rest, so labels need movement")
    if format.rate_hz is not None and rate_hz is not None and abs(format.rate_hz - rate_hz) > 0.5:
        notes.append(f"{discovered.name} was asked for {rate_hz:g} Hz and gives {format.rate_hz:g} Hz")
    if format.rate_hz is not None and format.rate_hz < 0.9 * wanted_hz:
        notes.append(
            f"{discovered.name} gives {format.rate_hz:g} Hz; models are made for {wanted_hz:g} Hz and may be wrong"
        )
    return notes
