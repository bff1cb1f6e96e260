"""A Bluetooth source that is read in the background, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from firmware_bridge.protocol.packet import decode
from firmware_bridge.simulator.remote import RemoteWorld
from firmware_bridge.stream import F32, CodecError
from mujo_edge.core import Chunk, Payload
from mujo_edge.sources.ble import BleSource
from mujo_edge.sources.ble.scan import DiscoveredDevice, find

PATIENCE_S = 30.0


@dataclass
class Stream:
    """A source that is read in the background, and its output."""

    discovered: DiscoveredDevice
    rate_hz: float | None = None
    slow_s: float = 0.0
    chunks: list[Chunk] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.source = BleSource(self.discovered, rate_hz=self.rate_hz)
        await self.source.__aenter__()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks)
        await self.source.__aexit__(*exc)

    async def _listen(self) -> None:
        async for chunk in self.source.chunks():
            self.chunks.append(chunk)
            time.sleep(self.slow_s)

    async def _watch(self) -> None:
        while True:
            if [self.source.status] != self.statuses[-1:]:
                self.statuses.append(self.source.status)
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds. Raises `TimeoutError`."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert not self._tasks[0].done()
                await asyncio.sleep(0.02)

    async def comes_back(self) -> None:
        """Wait for half a second of samples after one more reconnect."""
        opened = self.kinds.count("open")
        await self.until(lambda: self.kinds.count("open") > opened)
        samples = len(self.x)
        await self.until(lambda: len(self.x) >= samples + 25)

    @property
    def raws(self) -> list[Payload]:
        return [raw for chunk in self.chunks for raw in chunk.raw]

    @property
    def kinds(self) -> list[str]:
        return [raw.kind for raw in self.raws]

    @property
    def data(self) -> list[bytes]:
        return [raw.data for raw in self.raws if raw.kind == "data"]

    @property
    def x(self) -> F32:
        return np.concatenate([np.empty((0, len(self.source.info.channels)), np.float32), *(c.x for c in self.chunks)])

    @property
    def t_s(self) -> np.ndarray:
        return np.concatenate([np.empty(0), *(chunk.t_s for chunk in self.chunks)])


def numbers(stream: Stream) -> list[int]:
    """Sample numbers in payloads of mujo-edge's own service, in order of arrival; damaged packets have none."""
    received: list[int] = []
    for data in stream.data:
        with suppress(CodecError):
            for packet in decode(data):
                assert packet.seq is not None
                received += range(packet.seq, packet.seq + len(packet.x))
    return received


async def near(world: RemoteWorld, name: str, profile: str | None = None) -> DiscoveredDevice:
    """A wearable, found by its address."""
    return await find(world.stats()[name]["address"], profile, PATIENCE_S)


def stall_s(payloads: Iterable[Payload]) -> float:
    """By how much the longest pause between payloads exceeds a usual one (their 90 % quantile): how late this machine,
    or the device's process on it, was at times."""
    pauses = np.diff([payload.received_s for payload in payloads if payload.kind == "data"])
    return float(pauses.max() - np.quantile(pauses, 0.9)) if len(pauses) else 0.0
