"""Several streams on one screen, as text."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion
from test_terminal import SESSION, TALLY, prediction, watched

from mujo_edge.core import Chunk, StreamInfo
from mujo_edge.sinks import RunInfo, Summary, Update
from mujo_edge.sinks.screen import Screen, advance
from mujo_edge.sinks.terminal import TerminalBoard, render_board


def named(screen: Screen, name: str) -> Screen:
    session = replace(screen.session, info=replace(screen.session.info, name=name))
    return replace(screen, session=session)


QUIET = replace(TALLY, stats=replace(TALLY.stats, lost=0, gaps=0, dropped_windows=0, corrupt=7))
SCREENS = [
    named(watched(), "Polar Sense 1A2B3C4D and more"),
    named(replace(watched(), tally=QUIET), "WT901BLE67"),
    named(advance(watched(), Update([], [], TALLY, "connection lost, looking for it (try 2)"), 7.0), "Bangle.js c4e2"),
    named(Screen(SESSION, TALLY), "micro:bit"),
    named(Screen(RunInfo(StreamInfo("recorder", ("ax", "ay", "az"), 50.0)), TALLY), "recorder"),
]


def text(screens: list[Screen], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None, legacy_windows=False)
    console.print(render_board(screens))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_board_shows_one_row_per_stream(width: int, snapshot: SnapshotAssertion) -> None:
    shown = text(SCREENS, width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown == snapshot


def test_board_of_eight_fits_24_lines_and_narrow_terminals() -> None:
    assert len(text(SCREENS[:1] * 8, 80).splitlines()) <= 24
    assert max(map(len, text(SCREENS, 60).splitlines())) <= 80


def test_live_board_shows_every_row_and_then_every_summary() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="256", legacy_windows=False)
    board = TerminalBoard(console, "walks")
    rows = [board.row(), board.row()]
    sessions = [replace(SESSION, info=replace(SESSION.info, name=name)) for name in ("left watch", "right watch")]
    chunk = Chunk(np.zeros(1), np.zeros((1, 6), np.float32), 0.0)
    for row, session in zip(rows, sessions, strict=True):
        row.start(session)
    rows[0].write(Update([chunk], [prediction(3.0, "abduction")], TALLY))
    rows[1].write(Update([chunk], [prediction(3.0, "pendulum")], TALLY))
    rows[0].finish(Summary(sessions[0], TALLY, "end"))
    assert isinstance(console.file, io.StringIO)
    assert "2,953 samples at" not in console.file.getvalue()
    rows[1].finish(Summary(sessions[1], TALLY, "end"))
    shown = console.file.getvalue()
    assert "ABDUCTION" in shown
    assert "left watch: 2,953 samples at 50.02 Hz" in shown
    assert "right watch: 2,953 samples at 50.02 Hz" in shown
    assert shown.count("recorded to walks; play it with: mujo-edge stream walks") == 2
