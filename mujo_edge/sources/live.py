"""Shared by all live sources: payloads are timestamped on arrival, and decoded into chunks later.

A callback calls `PayloadQueue.put` and nothing else. `Assembler` runs the decoder of a connection and gives samples
their times. The payloads of a connection begin with an "open"; `Assembler.reopen` is called before each further one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic

import numpy as np

from firmware_bridge.stream import Decoder, Format, Packet
from mujo_edge.core import F32, F64, Chunk, DeviceError, Gap, Kind, Latency, Payload, Prediction, StreamInfo
from mujo_edge.sources.timebase import Timebase

logger = logging.getLogger(__name__)

LIMIT, LIMIT_BYTES = 1 << 15, 1 << 26
"""Payloads that may wait to be decoded, and their total size: over a minute of the fastest device."""


class PayloadQueue:
    """Payloads that arrived and were not taken yet. All methods are called on the event loop's thread.

    Data that arrives while the queue is full is dropped. The number of dropped payloads is queued as an "overrun", so
    that it is counted and recorded; the device's counter or clock shows how many samples they held.
    """

    def __init__(self) -> None:
        self._waiting: deque[Payload] = deque()
        self._bytes = 0
        self._overrun = 0
        self._arrived = asyncio.Event()

    def put(self, data: bytes, origin: str = "", kind: Kind = "data", received_s: float | None = None) -> None:
        """Timestamp a payload and append it."""
        if kind == "data" and (len(self._waiting) >= LIMIT or self._bytes + len(data) > LIMIT_BYTES):
            self._overrun += 1
            return
        now_s = monotonic() if received_s is None else received_s
        self._queue_overrun(now_s)
        self._waiting.append(Payload(now_s, kind, origin, bytes(data)))
        self._bytes += len(data)
        self._arrived.set()

    async def take(self) -> list[Payload]:
        """All waiting payloads; waits for at least one."""
        await self._arrived.wait()
        self._arrived.clear()
        self._queue_overrun(self._waiting[-1].received_s)
        taken = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return taken

    def _queue_overrun(self, received_s: float) -> None:
        if self._overrun:
            self._waiting.append(Payload(received_s, "overrun", "", str(self._overrun).encode()))
            self._overrun = 0


class Assembler:
    """Turns the payloads of one device into chunks, over all its connections. Time begins with the first sample.

    Args:
        decoder: of the first connection; those of later ones must have the same channels.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.timebase = Timebase(decoder.format)
        self._decoder = decoder
        self._bad = decoder.bad
        self._overrun = 0
        self._origin_s: float | None = None
        """The timebase's time of the first sample."""

    def reopen(self, decoder: Decoder) -> None:
        """Continue with the decoder of a new connection. Raises `DeviceError` if it has other channels."""
        old, new = self._decoder.format, decoder.format
        if (new.channels, new.gravity) != (old.channels, old.gravity):
            raise DeviceError("the device reconnected with other channels than before. Start again")
        self._decoder, self._bad = decoder, decoder.bad
        self.timebase.interrupt(new)

    def chunks(self, payloads: Iterable[Payload]) -> list[Chunk]:
        """Chunks of payloads in order of arrival: a new one after every loss; also one without samples."""
        chunks: list[Chunk] = []
        pending: list[Payload] = []
        for payload in payloads:
            pending.append(payload)
            if payload.kind == "overrun":
                self._overrun += int(payload.data)
            packets: list[Packet] = []
            if payload.kind == "data":
                packets = self._decoder.feed(payload.data, payload.origin)
            elif payload.kind == "close":
                packets = self._decoder.finish()
            for packet in packets:
                if packet.prediction:
                    predictions = self._predictions(packet, payload.received_s)
                    chunk = self._chunk(np.empty(0), packet.x, payload.received_s, 0, pending)
                    chunks.append(replace(chunk, predictions=predictions))
                else:
                    t_s, lost = self.timebase.stamp(packet, payload.received_s)
                    chunks.append(self._chunk(self._since_start(t_s), packet.x, payload.received_s, lost, pending))
                pending = []
        if pending:
            width = len(self._decoder.format.channels)
            empty = np.empty((0, width), np.float32)
            chunks.append(self._chunk(np.empty(0), empty, pending[-1].received_s, 0, pending))
        return _joined(chunks)

    def _predictions(self, packet: Packet, received_s: float) -> tuple[Prediction | Gap, ...]:
        """The device's own prediction, timed like the samples; none before the first sample."""
        prediction, model, tick = packet.prediction, self._decoder.format.device_model, packet.tick
        assert prediction
        assert model
        assert tick is not None
        if not model.samples:  # then predictions are the only readings of the device's clock
            self.timebase.stamp(Packet(np.zeros((1, packet.x.shape[1]), np.float32), tick=tick), received_s)
        if self.timebase.at(tick) == -np.inf:
            return ()
        ticks = (prediction.start_tick, tick) if prediction.reason else (tick,)
        *start_s, end_s = self._since_start(np.array([self.timebase.at(each) for each in ticks])).tolist()
        if prediction.reason:
            return (Gap(start_s[0], end_s, prediction.reason),)
        inference_ms = 1e3 * prediction.inference_s
        label = model.labels[prediction.label]
        return (
            Prediction(
                end_s=end_s,
                label=label,
                score=prediction.score,
                raw_label=model.labels[prediction.raw_label],
                scores={label: prediction.score},
                embedding=np.empty(0, np.float32),
                latency=Latency(0.0, 0.0, inference_ms, inference_ms),
                by="device",
            ),
        )

    def _since_start(self, t_s: F64) -> F64:
        """Times of the timebase as seconds since the first one."""
        if self._origin_s is None and np.isfinite(t_s).any():
            self._origin_s = float(t_s[np.isfinite(t_s)][0])
        return t_s if self._origin_s is None else t_s - self._origin_s

    def _chunk(self, t_s: F64, x: F32, received_s: float, lost: int, payloads: list[Payload]) -> Chunk:
        corrupt = self._decoder.bad - self._bad + self._overrun
        if self._overrun:
            logger.info("%d payloads were dropped: too many were waiting", self._overrun)
        if self._decoder.bad > self._bad:
            logger.debug("%d payloads refused: %s", self._decoder.bad - self._bad, self._decoder.why)
        self._bad, self._overrun = self._decoder.bad, 0
        return Chunk(t_s, x, received_s, lost, corrupt=corrupt, drift_ppm=self.timebase.drift_ppm, raw=tuple(payloads))


def _joined(chunks: list[Chunk]) -> list[Chunk]:
    """Merge chunks without a loss between them; a merged chunk arrived when its last sample did."""
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
            raw=tuple(payload for chunk in group for payload in chunk.raw),
            predictions=tuple(event for chunk in group for event in chunk.predictions),
        )
        for group in groups
    ]


def stream_info(name: str, format: Format) -> StreamInfo:
    """The stream of a device called `name`."""
    model = format.device_model
    return StreamInfo(name, format.channels, format.rate_hz, format.placement, format.gravity, device_model=model)
