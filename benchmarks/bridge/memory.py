"""Half an hour of every wearable in simulated time, through everything from notification to sinks except bleak."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any, Self

import numpy as np

from firmware_bridge.profiles import PROFILES
from firmware_bridge.simulator import motion
from firmware_bridge.simulator.conversation import converse
from firmware_bridge.simulator.wearable import Wearable
from firmware_bridge.simulator.wearables import WEARABLES
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import Chunk, Payload
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks.recording import RecordingSink
from mujo_edge.sources.live import Assembler, stream_info
from mujo_edge.sources.replay import shipped_recording

HALF_HOUR_MIN = 30.0
STEP_S = 0.1
LOSS = 0.1
BREAK_EVERY_S, AWAY_S = 15.0, 1.0
NOTE_S = 2.0
WARM_MIN = 2.0
"""Simulated minutes after which memory is compared: every buffer has been full once by then."""


class SimulatedSource:
    """A `Source` that runs a virtual wearable in simulated time, as fast as possible, with a fraction `LOSS` lost."""

    def __init__(self, wearable: Wearable, minutes: float, rss: list[tuple[float, float]] | None) -> None:
        self.notes: list[str] = []
        self.status = ""
        self._wearable, self._end_s, self._rss = wearable, 60 * minutes, rss
        self._profile = PROFILES[wearable.profile]
        self._random = Random(wearable.name)  # noqa: S311 - reproducible
        talk = converse(self._profile, wearable)
        self._now_s = talk.now_s
        self._assembler = Assembler(talk.decoder)
        self.info = stream_info(wearable.name, talk.decoder.format)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Chunks of `STEP_S` until the end of the run."""
        connected_s = self._now_s
        noted_s = -np.inf
        while self._now_s < self._end_s:
            self._now_s += STEP_S
            if self._now_s - connected_s > BREAK_EVERY_S:
                self._reconnect()
                connected_s = self._now_s
            payloads = [
                Payload(self._now_s, "data", uuid, payload)
                for uuid, payload in self._wearable.due(self._now_s)
                if self._random.random() >= LOSS
            ]
            for chunk in self._assembler.chunks(payloads):
                yield chunk
            over = self._now_s >= self._end_s
            if self._rss is not None and (over or self._now_s - noted_s >= NOTE_S):
                noted_s = self._now_s
                self._rss.append((self._now_s / 60, resident_mb()))

    def _reconnect(self) -> None:
        self._wearable.disconnect(self._now_s)
        self._now_s += AWAY_S
        talk = converse(self._profile, self._wearable, now_s=self._now_s)
        self._now_s = talk.now_s
        self._assembler.reopen(talk.decoder)


def half_hour(minutes: float) -> list[dict[str, Any]]:
    """Resident memory at several times of the run, and its growth since `WARM_MIN`."""
    played = motion.recording(shipped_recording())
    rss: list[tuple[float, float]] = []
    bundle = ModelBundle.load()
    with tempfile.TemporaryDirectory() as folder:
        engines = []
        fast = {name: wearable for name, wearable in WEARABLES.items() if wearable.rate_hz >= 10}
        for number, (name, wearable) in enumerate(fast.items()):
            source = SimulatedSource(wearable(played), minutes, None if number else rss)
            sinks = [RecordingSink(Path(folder) / name, source="simulator")]
            engines.append(Engine(source, sinks, lambda info: Recognizer(bundle, info), live=False))
        summaries = asyncio.run(run_together(engines))
    warm_min = min(WARM_MIN, minutes / 10)
    moments = [warm_min, *(at_min for at_min in np.linspace(minutes / 6, minutes, 6) if at_min > warm_min)]
    nearest = [min(rss, key=lambda one, at=at_min: abs(one[0] - at)) for at_min in moments]
    rows: list[dict[str, Any]] = [
        {"simulated min": round(at_min, 1), "RSS MB": round(mb, 1), "grown MB": round(mb - nearest[0][1], 1)}
        for at_min, mb in nearest
    ]
    counts = [summary.tally for summary in summaries]
    rows[-1] |= {
        "devices": len(counts),
        "samples": sum(tally.stats.samples for tally in counts),
        "predictions": sum(tally.predictions for tally in counts),
    }
    return rows


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")
