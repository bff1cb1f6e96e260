"""Shared by the measurements of `benchmarks.bridge`: a simulated world in another process, and monitored streams."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from firmware_bridge.simulator.remote import RemoteWorld
from mujo_edge.benchmark import machine
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import F32, F64, Chunk, Gap, Prediction, StreamInfo, Window
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import RunInfo, Summary, Update
from mujo_edge.sources.ble import BleSource, find
from mujo_edge.sources.ble.scan import DiscoveredDevice

SETTLE_S = 3.0
"""Seconds without faults at the end of a run, so that the last sample arrives before the sensors are silenced."""

SILENCE = "0 skip 1000000"


class RecordingRecognizer(Recognizer):
    """A recognizer that also records its windows, in order."""

    def __init__(self, bundle: ModelBundle, info: StreamInfo) -> None:
        super().__init__(bundle, info)
        self.windows: list[Window] = []

    def cut(self, chunk: Chunk) -> list[Window | Gap]:
        """See `Recognizer`."""
        events = super().cut(chunk)
        self.windows += [event for event in events if isinstance(event, Window)]
        return events


@dataclass(slots=True)
class Run:
    """The record of one stream. Times of arrival are seconds since its source was opened."""

    name: str
    opened_s: float = 0.0
    entered_s: float = 0.0
    info: StreamInfo | None = None
    t_s: list[F64] = field(default_factory=list)
    x: list[F32] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    predictions: list[tuple[float, Prediction]] = field(default_factory=list)
    lost: int = 0
    summary: Summary | None = None
    recognizer: RecordingRecognizer | None = None
    notes: Sequence[str] = ()
    sent: dict[str, Any] = field(default_factory=dict)

    def start(self, session: RunInfo) -> None:
        """See `mujo_edge.sinks.Sink`."""
        self.info = session.info

    def write(self, update: Update) -> None:
        """Record an update."""
        now_s = monotonic() - self.opened_s
        for chunk in update.chunks:
            self.lost += chunk.lost
            if len(chunk.t_s):
                self.t_s.append(chunk.t_s)
                self.x.append(chunk.x)
                self.arrived_s.append(chunk.received_s - self.opened_s)
        self.predictions += [(now_s, event) for event in update.events if isinstance(event, Prediction)]

    def finish(self, summary: Summary) -> None:
        """Record the summary."""
        self.summary, self.notes = summary, summary.notes

    @property
    def delivered(self) -> int:
        """Number of samples that arrived, without repeated ones."""
        assert self.summary
        return self.summary.tally.stats.samples - self.summary.tally.stats.repeated

    @property
    def expected(self) -> int:
        """Number of samples that the sensor took, from the first to the last sent one."""
        return int(self.sent["ended"] - self.sent["begun"])


@contextmanager
def world(names: Sequence[str], *options: str) -> Iterator[RemoteWorld]:
    """Context in which virtual wearables replace this machine's Bluetooth."""
    with RemoteWorld(*names, options=options) as remote:
        before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = remote.address
        try:
            yield remote
        finally:
            if before is None:
                del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
            else:
                os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


async def watch(
    remote: RemoteWorld,
    seconds: float,
    faults: Sequence[str] = (),
    end: Sequence[str] = (),
    rate_hz: float | None = None,
) -> dict[str, Run]:
    """Stream from every wearable of a world for `seconds`, with `faults`, and for `SETTLE_S` after them.

    `end` are the steps that end the faults ("0 loss 0"). The runs are by the wearable's name in the world.
    """
    runs: dict[str, Run] = {}
    engines: list[Engine] = []
    bundle = ModelBundle.load()
    for name, stats in remote.stats().items():
        run = runs[name] = Run(stats["name"], opened_s=monotonic())
        discovered = await find(stats["address"], None)
        engines.append(Engine(_Timed(discovered, rate_hz, run), [run], _loader(bundle, run)))
    together = asyncio.create_task(run_together(engines))
    while not together.done() and not all(run.predictions or run.lost or run.x for run in runs.values()):
        await asyncio.sleep(0.05)
    remote.fault(*faults)
    await asyncio.wait([together], timeout=seconds)
    remote.fault(*end)
    await asyncio.wait([together], timeout=SETTLE_S)
    remote.fault(SILENCE)
    await asyncio.wait([together], timeout=1.0)
    for name, stats in remote.stats().items():
        runs[name].sent = stats
    for engine in engines:
        engine.stop()
    await together
    return runs


class _Timed(BleSource):
    """A source that records its connection time."""

    def __init__(self, discovered: DiscoveredDevice, rate_hz: float | None, run: Run) -> None:
        super().__init__(discovered, rate_hz=rate_hz)
        self._run = run

    async def __aenter__(self) -> _Timed:
        self._run.opened_s = monotonic()
        await super().__aenter__()
        self._run.entered_s = monotonic() - self._run.opened_s
        return self


def _loader(bundle: ModelBundle, run: Run) -> Callable[[StreamInfo], Recognizer]:
    def load(info: StreamInfo) -> Recognizer:
        run.recognizer = RecordingRecognizer(bundle, info)
        return run.recognizer

    return load


def show(title: str, rows: Sequence[dict[str, Any]], path: Path | None) -> None:
    """Print rows as a Markdown table, and write them to `path` with a description of the machine."""
    headings = list(dict.fromkeys(key for row in rows for key in row))
    print(f"\n{title} ({datetime.now(UTC):%Y-%m-%d})\n")
    print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join("" if row.get(key) is None else str(row[key]) for key in headings) + " |")
    if path:
        content = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "rows": rows}
        path.write_text(json.dumps(content, indent=1) + "\n")


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenation of all parts."""
    return np.concatenate(list(parts)) if parts else np.empty(0)
