"""From a board at a port to labels: the engine and the shipped bundle, on the shipped recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ListSink, ListSource
from listening import stall_s

from firmware_bridge.simulator import motion
from firmware_bridge.simulator.board import Board, Line
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import Chunk, StreamInfo
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources.replay import ReplaySource, shipped_recording
from mujo_edge.sources.serial import SerialSource

FIRST = 700
"""First sample of the recording that the board sends: 8 s before one exercise ends and the next begins."""

SECONDS = 14.0

BUSY_S, TRIES = 0.15, 3
"""Lateness of a line at which a run says nothing: 0.25 s without one is a gap in samples without a clock."""


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("packet", {"batch": 3}),
        ("csv", {"columns": "ax_g,ay_g,az_g,gx_deg_s,gy_deg_s,gz_deg_s", "header": True}),
    ],
)
async def test_live_labels_equal_those_of_a_replay(tmp_path: Path, protocol: str, options: dict[str, Any]) -> None:
    folder = shipped_recording()
    labels = ReplaySource(folder).info.labels

    def load(info: StreamInfo) -> Recognizer:
        return Recognizer(ModelBundle.load(None), info, labels)

    for _ in range(TRIES):
        live, sink = ListSink(), ListSink()
        board = Board(motion.recording(folder), protocol, first=FIRST, **options)
        async with Line(board, tmp_path / "board", resets=True) as line:
            summary = await Engine(SerialSource(line.port), [live], load, duration_s=SECONDS).run()
        late_s = stall_s(raw for update in live.updates for chunk in update.chunks for raw in chunk.raw)
        if late_s < BUSY_S:
            break
    else:
        pytest.skip(f"this machine is busy: lines arrived {late_s:.2f} s late, {TRIES} times over")
    stats = summary.tally.stats
    assert (stats.lost, stats.corrupt, stats.gaps, stats.dropped_windows) == (0, 0, 0, 0)
    assert stats.rate_hz == pytest.approx(50.0, rel=0.02)

    sent = [chunk async for chunk in ReplaySource(folder, speed=None).chunks()]
    x = np.concatenate([chunk.x for chunk in sent])[FIRST:]
    first = next(update.chunks[0].x[0] for update in live.updates if update.chunks and len(update.chunks[0].x))
    begin = int(np.argmin(np.abs(x[:3] - first).max(1)))
    np.testing.assert_allclose(x[begin], first, atol=0.01)
    n = round(SECONDS * 50)
    chunk = Chunk(np.arange(n) / 50, x[begin : begin + n], 0.0)
    await Engine(ListSource([chunk]), [sink], load, live=False).run()

    got, expected = [[each.raw_label for each in one.predictions] for one in (live, sink)]
    assert len(set(expected)) > 1
    assert len(got) == pytest.approx(len(expected), abs=1)
    assert np.mean([a == b for a, b in zip(got, expected, strict=False)]) >= 0.9
