"""Several streams on one screen, two lines each; a pure function of their states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style

from mujo_edge.printable import printable
from mujo_edge.sinks.screen import WIDEST, Part, Screen, colour_of, condition, track

NAME = 20
LABEL = 26
ROOMY = 6
"""Streams that stand apart; more stand close, so that eight fit 24 lines."""


def render_board(screens: Sequence[Screen]) -> RenderableType:
    """Two lines a stream: name, label, confidence and timeline; then rate, losses, latency and what it does now."""
    return _Board(tuple(screens))


@dataclass(frozen=True, slots=True)
class _Board:
    screens: tuple[Screen, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        for line in _lines(self.screens, width):
            yield from (Segment(printable(text), Style.parse(style)) for text, style in line)
            yield Segment.line()


def _lines(screens: Sequence[Screen], width: int) -> Iterator[list[Part]]:
    title = " mujo-edge "
    elapsed_s = max(screen.tally.elapsed_s for screen in screens)
    clock = "{:02d}:{:02d} ".format(*divmod(int(elapsed_s), 60))
    devices = f" {len(screens)} devices"
    yield [(title, "bold reverse"), (devices, "bold"), (clock.rjust(width - len(title) - len(devices)), "bold")]
    model = screens[0].session
    parts = [model.bundle, model.runtime, model.label_set] if model.labels else []
    parts += [f"records to {screens[0].recording}"] if screens[0].recording else []
    yield [(" " * len(title) + " " + " · ".join(parts), "dim")]
    for number, screen in enumerate(screens):
        if len(screens) <= ROOMY or not number:
            yield []
        yield _what(screen, width)
        yield [("   " + _how(screen)[: width - 4], "dim")]
    yield []
    yield [(" Ctrl-C ends", "dim")]


def _what(screen: Screen, width: int) -> list[Part]:
    name = f" {screen.session.info.name[:NAME]:<{NAME}} "
    if not screen.session.labels:
        return [(name, "bold")]
    title, state = condition(screen)
    colour = colour_of(title, screen.session.labels) if state is None else "color(240)"
    share = f" {screen.prediction.score:>4.0%} " if screen.prediction and state is None else " " * 6
    return [
        (name, "bold"),
        (title.upper()[: LABEL - 2].center(LABEL), f"bold #101010 on {colour}"),
        (share, "bold"),
        *track(screen, max(0, width - len(name) - LABEL - len(share) - 1)),
    ]


def _how(screen: Screen) -> str:
    stats, latency = screen.tally.stats, screen.tally.latency
    fields = ["-" if stats.rate_hz is None else f"{stats.rate_hz:.2f} Hz", f"{stats.samples:,} samples"]
    counts = {"lost": stats.lost, "corrupt": stats.corrupt, "gaps": stats.gaps, "dropped": stats.dropped_windows}
    fields += [f"{name} {count}" for name, count in counts.items() if count]
    fields += ["recognised on the device"] if screen.session.info.names else []
    fields += [f"p99 {latency['total'].p99:.1f} ms"] if latency else []
    _, state = condition(screen)
    if state and (screen.session.labels or screen.idle_s >= 2):
        fields.insert(0, state)
    return " · ".join(fields)
