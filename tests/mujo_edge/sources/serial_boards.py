"""Helpers of the tests of the serial source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np

from firmware_bridge.stream import F32, F64
from mujo_edge.core import Chunk, Payload
from mujo_edge.sources.serial import SerialSource

NAMED = "ax_m_s2,ay_m_s2,az_m_s2,gx_deg_s,gy_deg_s,gz_deg_s"


async def collect(source: SerialSource, seconds: float) -> list[Chunk]:
    """The chunks of some seconds of wall time."""
    chunks = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for chunk in source.chunks():
                chunks.append(chunk)
    return chunks


async def signal(source: SerialSource, seconds: float) -> list[Chunk]:
    """The chunks of some seconds of signal, with those received while the source was entered."""
    chunks: list[Chunk] = []
    async with asyncio.timeout(20), aclosing(source.chunks()) as coming:
        async for chunk in coming:
            chunks.append(chunk)
            t, _ = joined(chunks)
            if len(t) and t[-1] - t[0] > seconds:
                break
    return chunks


def joined(chunks: Sequence[Chunk]) -> tuple[F64, F32]:
    return np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])


def raws(chunks: Sequence[Chunk]) -> list[Payload]:
    return [raw for chunk in chunks for raw in chunk.raw]


def usb(device: str, serial_number: str | None = "A1", **more: Any) -> SimpleNamespace:
    fields = {"vid": 0x2341, "pid": 0x805A, "product": "Nano 33 BLE", "description": device, **more}
    return Info(device=device, serial_number=serial_number, **fields)


class Info(SimpleNamespace):
    def __lt__(self, other: Info) -> bool:
        return str(self.device) < str(other.device)
