"""The live screen, as text, at several widths and in every state; the picture of it; the summary."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import INFO
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from mujo_edge.core import UNKNOWN, DataError, Gap, Latency, Prediction, StreamInfo, StreamStats
from mujo_edge.sinks import Confusion, LabelTime, Quantiles, Recognized, RunInfo, Summary, Tally, Update
from mujo_edge.sinks.screen import Mark, Screen, advance, describe, render
from mujo_edge.sinks.terminal import PictureSink, TerminalSink

LABELS = ("pendulum", "abduction", "forward elevation", "internal rotation", UNKNOWN)
SESSION = RunInfo(
    StreamInfo("person 10, right wrist", INFO.channels, 50.0),
    "mujo-student 0.1.0",
    "litert",
    "physio-wrist",
    LABELS,
    0.5,
    "shoulder exercises, wrist",
    other_sets=("gym-wrist", "gestures-wrist", "daily-pocket", "daily-wrist"),
)
RECOGNIZED = Recognized(
    (LabelTime("pendulum", 31.5, 2, 30.0), LabelTime("abduction", 20.5, 1, 20.5), LabelTime(UNKNOWN, 3.5, 1, 3.5)),
    (Confusion("abduction", "pendulum", 6), Confusion("abduction", UNKNOWN, 1)),
    12,
    10,
)
EMPTY = Tally(StreamStats(), 0, 0, 0, 0.0, None)
STATS = StreamStats(
    samples=2953, lost=2, gaps=1, invalid=3, windows=115, dropped_windows=4, rate_hz=50.02, signal_s=59.0
)
LATENCY = {
    "queue": Quantiles(0.21, 1.74),
    "preprocess": Quantiles(0.27, 0.35),
    "inference": Quantiles(0.32, 0.43),
    "total": Quantiles(0.8, 2.41),
}
TALLY = Tally(STATS, 111, 96, 103, 59.1, LATENCY)


def prediction(end_s: float, label: str, truth: str | None = None) -> Prediction:
    scores = {**dict.fromkeys(LABELS, 0.03), label: 0.88}
    return Prediction(end_s, label, 0.88, label, scores, np.zeros(3, np.float32), Latency(0.2, 0.3, 0.3, 0.8), truth)


def watched(truth: bool = True) -> Screen:
    """After a minute: two exercises, a gap, an unknown stretch."""
    screen = Screen(SESSION, EMPTY)
    events: list[Prediction | Gap] = []
    for i in range(120):
        end_s = 3 + i / 2
        true = LABELS[i // 40] if truth and i % 40 > 5 else None
        label = UNKNOWN if 90 <= i < 96 else LABELS[(i - 3) // 40]
        if not 70 <= i < 78:
            events.append(prediction(end_s, label, true))
    return advance(screen, Update([], events, TALLY), 0.0)


def text(screen: Screen, width: int = 80, color: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="256" if color else None,
        legacy_windows=False,
    )
    console.print(render(screen))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


SCREENS = {
    "recognized": watched(),
    "without truth": watched(truth=False),
    "listening": Screen(SESSION, EMPTY),
    "gap": advance(watched(), Update([], [Gap(63.0, 64.0, "invalid")], TALLY), 0.0),
    "silent": advance(watched(), Update([], [], TALLY), 7.2),
    "wrong and noted": replace(
        watched(),
        prediction=prediction(62.5, "abduction", "pendulum"),
        tally=replace(
            TALLY, stats=replace(STATS, notes=["worn at the pocket, but physio-wrist was trained at the wrist"])
        ),
    ),
    "truth outside the set": replace(watched(), prediction=prediction(62.5, UNKNOWN, "juggling")),
    "warned": replace(
        watched(), session=replace(SESSION, title="", warning="known by words alone: plank; expect mistakes")
    ),
    "recording": Screen(RunInfo(INFO), TALLY, recording="walks/monday"),
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen_at_80_by_24(name: str, snapshot: SnapshotAssertion) -> None:
    shown = text(SCREENS[name])
    assert len(shown.splitlines()) <= 24
    assert max(map(len, shown.splitlines())) <= 80
    assert shown == snapshot


@pytest.mark.parametrize("width", [120, 200])
def test_screen_uses_a_wide_terminal(width: int, snapshot: SnapshotAssertion) -> None:
    assert text(SCREENS["recognized"], width) == snapshot


@pytest.mark.parametrize("width", [10, 40, 79])
@pytest.mark.parametrize("name", SCREENS)
def test_screen_fits_a_narrow_terminal(name: str, width: int) -> None:
    shown = text(SCREENS[name], width)
    assert max(map(len, shown.splitlines())) <= max(width, 1)


@pytest.mark.parametrize(("n", "shown"), [(12, "12 repetitions"), (1, "1 repetition ")])
def test_screen_shows_the_running_count_below_the_label(n: int, shown: str) -> None:
    screen = SCREENS["recognized"]
    assert screen.prediction
    counting = replace(screen, prediction=replace(screen.prediction, repetitions=n))
    assert "repetition" not in text(screen)
    lines = text(counting).splitlines()
    label = next(i for i, line in enumerate(lines) if "FORWARD ELEVATION" in line)
    assert shown in lines[label + 1]
    gap = advance(counting, Update([], [Gap(63.0, 64.0, "missing")], TALLY), 0.0)
    assert "repetition" not in text(gap)


def test_every_label_has_its_color(snapshot: SnapshotAssertion) -> None:
    assert text(SCREENS["recognized"], color=True) == snapshot


def test_thirty_labels_are_distinguishable() -> None:
    labels = (*(f"exercise {i}" for i in range(30)), UNKNOWN)
    session = replace(SESSION, labels=labels)
    marks = tuple(Mark(i / 2, label, None) for i, label in enumerate(labels))
    cells = text(Screen(session, TALLY, marks=marks), 120, color=True)
    (cells,) = [line for line in cells.splitlines() if "recognized" in line]
    assert len(set(cells.split("\x1b[0m"))) > 30


def test_timeline_shows_the_last_thirty_seconds() -> None:
    screen = SCREENS["recognized"]
    assert screen.marks[-1].end_s - screen.marks[0].end_s == 29.5
    line = text(screen).splitlines()[11]
    assert line.startswith(" recognized  ")
    assert line.rstrip()[-1] != " "
    assert "    " in line[13:].rstrip()  # the gap


def test_summary_as_text(snapshot: SnapshotAssertion) -> None:
    notes = ("time unit found from the steps: ms", "word " * 100)
    assert describe(Summary(SESSION, TALLY, "interrupted", notes, None, RECOGNIZED), "walks/monday") == snapshot
    assert describe(Summary(RunInfo(INFO), EMPTY, "end")) == snapshot


def test_summary_begins_with_time_and_bouts_by_label() -> None:
    text = describe(Summary(SESSION, TALLY, "end", (), None, RECOGNIZED))
    rows = [line.split() for line in text.splitlines()]
    assert ["pendulum", "0:32", "57%", "2", "0:30"] in rows
    assert ["unknown", "0:04", "6%", "1", "0:04"] in rows
    assert "mistaken: abduction for pendulum, 6 windows" in text
    assert "12 windows annotated with labels that this set lacks, not scored; 10 of them unknown" in text
    assert "--labels gym-wrist, gestures-wrist, daily-pocket, daily-wrist" in text
    assert text.index("pendulum") < text.index("mistaken") < text.index("latency")


@pytest.mark.parametrize(("seconds", "remarked"), [(90.0, True), (30.0, False)])
def test_summary_remarks_that_most_was_unknown(seconds: float, remarked: bool) -> None:
    times = (LabelTime(UNKNOWN, seconds, 1, seconds), LabelTime("pendulum", 10.0, 1, 10.0))
    text = describe(Summary(SESSION, TALLY, "end", (), None, Recognized(times)))
    assert ("most of it fits none of these labels" in text) == remarked


def test_summary_limits_the_pairs_of_mistaken_labels() -> None:
    pairs = tuple(Confusion(f"a{i}", f"b{i}", 9 - i) for i in range(8))
    text = describe(Summary(SESSION, TALLY, "end", (), None, replace(RECOGNIZED, confusions=pairs)))
    assert text.count("mistaken") == 5
    assert "and 9 windows of 3 other pairs of labels" in text


def test_screen_states_the_source_and_the_model() -> None:
    shown = text(SCREENS["recognized"]).splitlines()[2]
    assert "shoulder exercises, wrist" in shown
    assert "unknown: none of these 4" in shown
    assert "others: --labels" in shown
    assert "expect mistakes" in text(SCREENS["warned"]).splitlines()[2]
    assert "juggling  not in this label set" in text(SCREENS["truth outside the set"])


def test_sink_draws_on_the_alternate_screen_and_leaves_the_summary() -> None:
    out = io.StringIO()
    sink = TerminalSink(Console(file=out, width=80, height=24, force_terminal=True, color_system="256"))
    sink.start(SESSION)
    sink.write(Update([], [prediction(3.0, "pendulum", "pendulum")], TALLY))
    sink.finish(Summary(SESSION, TALLY, "end"))
    live, _, after = out.getvalue().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in live
    assert "L I S T E N I N G" in live
    assert "111 predictions" in after
    assert out.getvalue().rfind("\x1b[?25h") > out.getvalue().rfind("\x1b[?25l")  # the cursor is back


def test_sink_limits_its_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mujo_edge.sinks.terminal.monotonic", lambda: now[0])
    sink = TerminalSink(Console(file=io.StringIO(), width=80, height=24, force_terminal=True))
    draws: list[float] = []
    monkeypatch.setattr(sink._live, "update", lambda *_, **__: draws.append(now[0]))
    sink.start(SESSION)
    for i in range(1, 101):
        now[0] = 100 + i / 50
        sink.write(Update([], [prediction(i, "pendulum")] if i <= 50 else [], TALLY))
    sink.finish(Summary(SESSION, TALLY, "end"))
    assert draws == pytest.approx([100.0, 100.26, 100.52, 100.78, 101.78], abs=0.03)


def test_picture_is_a_self_contained_svg(tmp_path: Path) -> None:
    path = tmp_path / "screen.svg"
    sink = PictureSink(path)
    sink.start(SESSION)
    sink.write(Update([], [prediction(3.0, "pendulum")], TALLY))
    sink.finish(Summary(SESSION, TALLY, "end"))
    svg = path.read_text(encoding="utf-8")
    root = ET.fromstring(svg)
    words = "".join(root.itertext()).replace("\xa0", " ")
    assert "P E N D U L U M" in words
    assert "url(http" not in svg
    assert "@font-face" not in svg
    again = PictureSink(tmp_path / "again.svg")
    again.start(SESSION)
    again.write(Update([], [prediction(3.0, "pendulum")], TALLY))
    again.finish(Summary(SESSION, TALLY, "end"))
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == svg


def test_unwritable_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        PictureSink(tmp_path / "no" / "screen.svg").start(SESSION)
    sink = PictureSink(tmp_path)
    sink.start(SESSION)
    with pytest.raises(DataError, match="cannot write"):
        sink.finish(Summary(SESSION, TALLY, "end"))
