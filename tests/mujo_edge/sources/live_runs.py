"""Live runs of every kind of source without radio, port or network: their payloads and chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from firmware_bridge.phone import browser
from firmware_bridge.profiles import PROFILES
from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import cobs_encode
from firmware_bridge.serial import SerialFormat
from firmware_bridge.simulator.conversation import advert, converse
from firmware_bridge.simulator.motion import sine
from firmware_bridge.simulator.wearables import WEARABLES
from mujo_edge.core import Chunk, Payload, StreamInfo
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sources.connections import read_connection, split_connections
from mujo_edge.sources.live import Assembler, stream_info
from mujo_edge.sources.replay import RawReplay


def wearable(name: str, seconds: float = 4.0, seed: int = 0) -> list[Payload]:
    """A simulated wearable over two connections. One payload in ten is lost, one in twenty damaged."""
    rng = np.random.default_rng(seed)
    device = WEARABLES[name](sine)
    profile = PROFILES[device.profile]
    raws: list[Payload] = []
    now_s = 100.0
    for _ in range(2):
        talk = converse(profile, device, None, now_s)
        services = {service.uuid for service in device.services}
        services |= {one.uuid for service in device.services for one in service.characteristics}
        about = {
            "kind": "ble",
            "profile": profile.name,
            "name": advert(device).name,
            "address": advert(device).address,
            "rate_hz": None,
            "services": sorted(services),
        }
        raws.append(Payload(now_s, "open", "", json.dumps(about).encode()))
        early, late = talk.waiting[:1], talk.waiting[1:]
        raws += [Payload(now_s, "data", uuid, payload) for uuid, payload in early]
        raws += [Payload(now_s, "reply", "", reply) for reply in talk.replies]
        raws += [Payload(talk.now_s, "data", uuid, payload) for uuid, payload in late]
        now_s = talk.now_s
        for at_s in now_s + np.arange(1, round(seconds * 50)) / 50:
            for uuid, payload in device.due(float(at_s)):
                fate = rng.random()
                if fate > 0.1:
                    raws.append(Payload(float(at_s), "data", uuid, payload if fate > 0.15 else payload[:-3]))
        now_s += seconds
        device.disconnect(now_s)
        raws.append(Payload(now_s, "close", "", b""))
        now_s += 1.5
    return raws


def board() -> list[Payload]:
    """mujo-edge's own packets over a serial line, split at random, over two connections."""
    raws, number = [], 0
    for start_s in (10.0, 20.0):
        opened = {"kind": "serial", "port": "/dev/x", "baud": 115200, **SerialFormat("packet", True, 50.0).dump()}
        raws.append(Payload(start_s, "open", "", json.dumps(opened).encode()))
        t = start_s + np.arange(200) / 50
        frames = [packet.encode(sine(t[i : i + 1]), number + i, round(t[i] * packet.TICK_HZ)) for i in range(200)]
        stream = b"".join(cobs_encode(frame) for frame in frames)
        raws += [Payload(start_s + i / 1000, "data", "", stream[i : i + 37]) for i in range(0, len(stream), 37)]
        raws += [Payload(start_s + 6, "overrun", "", b"12"), Payload(start_s + 6, "close", "", b"")]
        number += 300
    return raws


def phone() -> list[Payload]:
    """The page in a phone's browser, which loses a batch."""
    opened = {"kind": "phone", "app": "browser", "vendor": "Google Inc.", "gyroscope": True}
    raws = [Payload(5.0, "open", "", json.dumps(opened).encode())]
    for k in [*range(20), *range(21, 40)]:
        t = (np.arange(6) + 6 * k) / 60
        rows = np.concatenate([1e3 * t[:, None], sine(t)], 1)
        raws.append(Payload(5.1 + t[-1], "data", "", browser.encode(rows, 6 * k)))
    return raws


RUNS = {**{name: lambda name=name: wearable(name) for name in WEARABLES}, "board": board, "phone": phone}


def play_live(raws: Sequence[Payload], seed: int = 0) -> tuple[StreamInfo, list[Chunk]]:
    """The chunks of a live source for payloads that arrive a few at a time."""
    rng = np.random.default_rng(seed)
    assembler: Assembler | None = None
    chunks: list[Chunk] = []
    for connection in split_connections(raws):
        replies = [raw.data for raw in connection if raw.kind == "reply"]
        decoder = read_connection(connection[0].data).decoder(replies)
        if assembler:
            assembler.reopen(decoder)
        else:
            assembler = Assembler(decoder)
        while connection:
            n = int(rng.integers(1, 9))
            chunks += assembler.chunks(connection[:n])
            del connection[:n]
    return stream_info("a device", decoder.format), chunks


def record(folder: Path, raws: Sequence[Payload]) -> list[Chunk]:
    info, chunks = play_live(raws)
    with SessionWriter(folder, info, source="a test") as writer:
        for chunk in chunks:
            writer.write(chunk)
    return chunks


def joined(chunks: Sequence[Chunk]) -> tuple[object, ...]:
    """Bits of all samples, losses by the number of the sample that they precede, other counts, and payloads."""
    at, lost = 0, dict[int, int]()
    for chunk in chunks:
        lost[at] = lost.get(at, 0) + chunk.lost
        at += len(chunk.t_s)
    return (
        np.concatenate([chunk.t_s for chunk in chunks]).tobytes(),
        np.concatenate([chunk.x for chunk in chunks]).tobytes(),
        {number: count for number, count in lost.items() if count},
        sum(chunk.corrupt for chunk in chunks),
        [raw for chunk in chunks for raw in chunk.raw],
    )


def play(path: Path, speed: float | None = None) -> list[Chunk]:
    async def run() -> list[Chunk]:
        async with RawReplay(path, speed=speed) as source:
            return [chunk async for chunk in source.chunks()]

    return asyncio.run(run())
