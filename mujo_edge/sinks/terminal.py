"""The live screen in a terminal, of one stream or of several, and a picture of it in a file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from mujo_edge.core import DataError, StreamStats
from mujo_edge.printable import printable
from mujo_edge.sinks import RunInfo, Sink, Summary, Tally, Update
from mujo_edge.sinks.background import BackgroundWriter
from mujo_edge.sinks.screen import (
    WIDEST,
    Part,
    Screen,
    advance,
    color_of,
    condition,
    describe,
    explanation,
    render,
    track,
)

REFRESH_S = 0.25
"""Seconds between frames, at least."""

PICTURE_COLUMNS = 100
"""Width of the picture in characters."""

NAME = 20
LABEL = 26
"""Columns of a name and of a label."""

ROOMY = 6
"""Largest number of streams with blank lines between them; without, eight fit 24 lines."""


class _Watcher:
    """Keeps the state of a screen from update to update."""

    screen: Screen

    def __init__(self, recording: str | None = None) -> None:
        self._recording = recording
        self._received_s = 0.0

    def start(self, session: RunInfo) -> None:
        """Set up the empty screen."""
        self._received_s = monotonic()
        self.screen = Screen(session, Tally(StreamStats(), 0, 0, 0, 0.0, None), recording=self._recording)

    def write(self, update: Update) -> None:
        """Update the screen."""
        now_s = monotonic()
        if update.chunks:
            self._received_s = now_s
        self.screen = advance(self.screen, update, now_s - self._received_s)


class TerminalSink(_Watcher):
    """Shows the live screen, and finally the summary. A frame is drawn when something has changed.

    Args:
        output: the writer below the console. While it is busy, as on a stopped terminal, frames are skipped.
    """

    def __init__(self, console: Console, recording: str | None = None, output: BackgroundWriter | None = None) -> None:
        super().__init__(recording)
        self._console, self._output = console, output
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._drawn_s = 0.0

    def start(self, session: RunInfo) -> None:
        """Switch to the terminal's other screen."""
        super().start(session)
        self._live.start()
        self._draw()

    def write(self, update: Update) -> None:
        """Redraw for an event or another label, or after a second. Raises as `BackgroundWriter.check` does."""
        before = self.screen.annotated
        super().write(update)
        changed = bool(update.events) or self.screen.annotated != before
        if _due(self._drawn_s, changed, self._output):
            self._draw()

    def finish(self, summary: Summary) -> None:
        """Return to the terminal's own screen and print the summary."""
        self._live.stop()
        self._console.print(describe(summary, self._recording), markup=False, highlight=False)

    def _draw(self) -> None:
        self._drawn_s = monotonic()
        self._live.update(render(self.screen), refresh=True)


class TerminalBoard:
    """Shows several streams on one live screen, and their summaries when the last one has ended.

    All methods are called on the recognizer's thread. The arguments are those of `TerminalSink`.
    """

    def __init__(self, console: Console, recording: str | None = None, output: BackgroundWriter | None = None) -> None:
        self._console, self._recording, self._output = console, recording, output
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._rows: list[_Row] = []
        self._running = 0
        self._drawn_s = 0.0
        self._summaries: list[Summary] = []

    def row(self) -> Sink:
        """Add a stream -> its sink."""
        self._rows.append(_Row(self, self._recording))
        return self._rows[-1]

    def started(self) -> None:
        """Note that a row started: the first one switches to the terminal's other screen."""
        if not self._running:
            self._live.start()
        self._running += 1

    def changed(self, event: bool) -> None:
        """Redraw for an event, or after a second without one. Raises as `BackgroundWriter.check` does."""
        if _due(self._drawn_s, event, self._output):
            self._drawn_s = monotonic()
            self._live.update(render_board([row.screen for row in self._rows if row.begun]), refresh=True)

    def finished(self, summary: Summary) -> None:
        """Note that a row ended: the last one returns to the terminal's own screen and prints all summaries."""
        self._summaries.append(summary)
        self._running -= 1
        if not self._running:
            self._live.stop()
            for each in self._summaries:
                self._console.print(describe(each, self._recording) + "\n", markup=False, highlight=False)


class _Row(_Watcher):
    def __init__(self, board: TerminalBoard, recording: str | None) -> None:
        super().__init__(recording)
        self.begun = False
        self._board = board

    def start(self, session: RunInfo) -> None:
        super().start(session)
        self.begun = True
        self._board.started()

    def write(self, update: Update) -> None:
        super().write(update)
        self._board.changed(bool(update.events))

    def finish(self, summary: Summary) -> None:
        self._board.finished(summary)


def _due(drawn_s: float, event: bool, output: BackgroundWriter | None) -> bool:
    """Whether it is time for the next frame, and the last one was written."""
    if output:
        output.check()
    return monotonic() - drawn_s >= (REFRESH_S if event else 4 * REFRESH_S) and (output is None or output.idle)


class PictureSink(_Watcher):
    """Writes the last screen as an SVG picture without external references."""

    def __init__(self, path: Path, recording: str | None = None) -> None:
        super().__init__(recording)
        self._path = path

    def start(self, session: RunInfo) -> None:
        """Raise `DataError` if there is no such folder, now rather than at the end."""
        super().start(session)
        if not self._path.absolute().parent.is_dir():
            raise DataError(f"cannot write {self._path}: there is no folder {self._path.absolute().parent}")

    def finish(self, summary: Summary) -> None:
        """Write the file. Raises `DataError` if that fails."""
        console = Console(
            record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="256"
        )
        console.print(render(self.screen))
        picture = console.export_svg(title="mujo-edge stream", unique_id="mujo-edge")
        # rich refers to a web font; the viewer's own monospace font will do.
        picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        try:
            self._path.write_text(picture, encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot write {self._path}: {error.strerror}") from None


def render_board(screens: Sequence[Screen]) -> RenderableType:
    """Two lines per stream: name, label, confidence and timeline; then rate, losses, latency and status."""
    return _Board(tuple(screens))


@dataclass(frozen=True, slots=True)
class _Board:
    screens: tuple[Screen, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        for line in _board_lines(self.screens, width):
            yield from (Segment(printable(text), Style.parse(style)) for text, style in line)
            yield Segment.line()


def _board_lines(screens: Sequence[Screen], width: int) -> Iterator[list[Part]]:
    title = " mujo-edge "
    elapsed_s = max(screen.tally.elapsed_s for screen in screens)
    clock = "{:02d}:{:02d} ".format(*divmod(int(elapsed_s), 60))
    devices = f" {len(screens)} devices"
    yield [(title, "bold reverse"), (devices, "bold"), (clock.rjust(width - len(title) - len(devices)), "bold")]
    model = screens[0].session
    parts = [model.bundle, model.runtime, model.label_set] if model.labels else []
    parts += [f"records to {screens[0].recording}"] if screens[0].recording else []
    yield [(" " * len(title) + " " + " · ".join(parts), "dim")]
    if model.labels:
        yield [explanation(model, width)]
    for number, screen in enumerate(screens):
        if len(screens) <= ROOMY or not number:
            yield []
        yield _board_label(screen, width)
        yield [("   " + _board_counts(screen)[: width - 4], "dim")]
    yield []
    yield [(" Ctrl-C ends", "dim")]


def _board_label(screen: Screen, width: int) -> list[Part]:
    name = f" {screen.session.info.name[:NAME]:<{NAME}} "
    if not screen.session.labels:
        return [(name, "bold")]
    title, state = condition(screen)
    color = color_of(title, screen.session.labels) if state is None else "color(240)"
    n = screen.prediction.repetitions if screen.prediction and state is None else 0
    count = f" x{n}" if n else ""
    share = f" {screen.prediction.score:>4.0%} " if screen.prediction and state is None else " " * 6
    return [
        (name, "bold"),
        ((title.upper()[: LABEL - 2 - len(count)] + count).center(LABEL), f"bold #101010 on {color}"),
        (share, "bold"),
        *track(screen, max(0, width - len(name) - LABEL - len(share) - 1)),
    ]


def _board_counts(screen: Screen) -> str:
    stats, latency = screen.tally.stats, screen.tally.latency
    fields = ["-" if stats.rate_hz is None else f"{stats.rate_hz:.2f} Hz", f"{stats.samples:,} samples"]
    counts = {"lost": stats.lost, "corrupt": stats.corrupt, "gaps": stats.gaps, "dropped": stats.dropped_windows}
    fields += [f"{name} {count}" for name, count in counts.items() if count]
    fields += ["recognized on the device"] if screen.session.info.device_model else []
    fields += [f"p99 {latency['total'].p99:.1f} ms"] if latency else []
    _, state = condition(screen)
    if state and (screen.session.labels or screen.idle_s >= 2):
        fields.insert(0, state)
    return " · ".join(fields)
