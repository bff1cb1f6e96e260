"""What every live source shares: bytes are stamped as they come, and later become chunks.

A callback calls `PayloadQueue.put` and nothing else. `Assembler` runs the decoder of the connection and has samples
stamped. The raws of a connection begin with its "open", and `reopen` comes between those of two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic

import numpy as np

from firmware_bridge.stream import Decoder, Format, Packet
from mujo_edge.core import F32, F64, Chunk, DeviceError, Gap, Kind, Latency, Payload, Prediction, StreamInfo
from mujo_edge.sources.timebase import Timebase

LIMIT, LIMIT_BYTES = 1 << 15, 1 << 26
"""Payloads that may wait to be decoded, and what they may hold in all: over a minute of the fastest device."""


class PayloadQueue:
    """Payloads that arrived and were not taken yet. All methods belong to the event loop's thread.

    What comes when `LIMIT` of them wait is left out, except that connections begin and end; how many payloads were is
    then the last that waits, so that it is told and recorded. A device's counter or clock shows what was in them.
    """

    def __init__(self) -> None:
        self._waiting: deque[Payload] = deque()
        self._bytes = 0
        self._overrun = 0
        self._news = asyncio.Event()

    def put(self, data: bytes, origin: str = "", kind: Kind = "data", received_s: float | None = None) -> None:
        """Stamp and append."""
        if kind == "data" and (len(self._waiting) >= LIMIT or self._bytes + len(data) > LIMIT_BYTES):
            self._overrun += 1
            return
        now_s = monotonic() if received_s is None else received_s
        self._tell_overrun(now_s)
        self._waiting.append(Payload(now_s, kind, origin, bytes(data)))
        self._bytes += len(data)
        self._news.set()

    async def take(self) -> list[Payload]:
        """All that waits; at least one."""
        await self._news.wait()
        self._news.clear()
        self._tell_overrun(self._waiting[-1].received_s)
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken

    def _tell_overrun(self, received_s: float) -> None:
        if self._overrun:
            self._waiting.append(Payload(received_s, "overrun", "", str(self._overrun).encode()))
            self._overrun = 0


class Assembler:
    """Payloads of one device into chunks, over all its connections.

    Args:
        decoder: of the first connection; later ones must have its channels.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.timebase = Timebase(decoder.format)
        self._decoder = decoder
        self._bad = decoder.bad
        self._overrun = 0

    def reopen(self, decoder: Decoder) -> None:
        """Go on with the decoder of a new connection. Raises `DeviceError` if it has other channels."""
        old, new = self._decoder.format, decoder.format
        if (new.channels, new.gravity) != (old.channels, old.gravity):
            raise DeviceError("the device came back with other channels than before. Start again")
        self._decoder, self._bad = decoder, decoder.bad
        self.timebase.interrupt(new)

    def chunks(self, raws: Iterable[Payload]) -> list[Chunk]:
        """Chunks of payloads in order of arrival: a new one after every loss, and one even if only for its `raw`."""
        chunks: list[Chunk] = []
        kept: list[Payload] = []
        for raw in raws:
            kept.append(raw)
            if raw.kind == "overrun":
                self._overrun += int(raw.data)
            packets: list[Packet] = []
            if raw.kind == "data":
                packets = self._decoder.feed(raw.data, raw.origin)
            elif raw.kind == "close":
                packets = self._decoder.finish()
            for packet in packets:
                if packet.prediction:
                    predictions = self._predictions(packet, raw.received_s)
                    chunks.append(
                        replace(self._chunk(np.empty(0), packet.x, raw.received_s, 0, kept), predictions=predictions)
                    )
                else:
                    t_s, lost = self.timebase.stamp(packet, raw.received_s)
                    chunks.append(self._chunk(t_s, packet.x, raw.received_s, lost, kept))
                kept = []
        if kept:
            width = len(self._decoder.format.channels)
            chunks.append(self._chunk(np.empty(0), np.empty((0, width), np.float32), kept[-1].received_s, 0, kept))
        return _joined(chunks)

    def _predictions(self, packet: Packet, received_s: float) -> tuple[Prediction | Gap, ...]:
        """What the device recognized, with its time on the scale of the samples; nothing before the first of them."""
        prediction, names, tick = packet.prediction, self._decoder.format.names, packet.tick
        assert prediction
        assert names
        assert tick is not None
        if not names.samples:  # then this is all that tells of the device's clock
            self.timebase.stamp(Packet(np.zeros((1, packet.x.shape[1]), np.float32), tick=tick), received_s)
        end_s = self.timebase.at(tick)
        if end_s == -np.inf:
            return ()
        if prediction.reason:
            return (Gap(self.timebase.at(prediction.start_tick), end_s, prediction.reason),)
        inference_ms = 1e3 * prediction.inference_s
        label = names.labels[prediction.label]
        return (
            Prediction(
                end_s=end_s,
                label=label,
                score=prediction.score,
                raw_label=names.labels[prediction.raw_label],
                scores={label: prediction.score},
                embedding=np.empty(0, np.float32),
                latency=Latency(0.0, 0.0, inference_ms, inference_ms),
                by="device",
            ),
        )

    def _chunk(self, t_s: F64, x: F32, received_s: float, lost: int, raws: list[Payload]) -> Chunk:
        corrupt = self._decoder.bad - self._bad + self._overrun
        self._bad, self._overrun = self._decoder.bad, 0
        return Chunk(t_s, x, received_s, lost, corrupt=corrupt, drift_ppm=self.timebase.drift_ppm, raw=tuple(raws))


def _joined(chunks: list[Chunk]) -> list[Chunk]:
    """Neighbors without a loss between them as one chunk, which arrived when its last sample did."""
    groups: list[list[Chunk]] = []
    for chunk in chunks:
        if groups and not chunk.lost:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return [
        group[0]
        if len(group) == 1
        else Chunk(
            np.concatenate([chunk.t_s for chunk in group]),
            np.concatenate([chunk.x for chunk in group]),
            next((chunk.received_s for chunk in reversed(group) if len(chunk.t_s)), group[-1].received_s),
            group[0].lost,
            corrupt=sum(chunk.corrupt for chunk in group),
            drift_ppm=group[-1].drift_ppm,
            raw=tuple(raw for chunk in group for raw in chunk.raw),
            predictions=tuple(event for chunk in group for event in chunk.predictions),
        )
        for group in groups
    ]


def stream_info(name: str, format: Format) -> StreamInfo:
    """What the engine needs to know of a device called `name`."""
    return StreamInfo(name, format.channels, format.rate_hz, format.placement, format.gravity, names=format.names)
