"""The live screen as a pure function of its state: 24 lines of 80 to 120 columns; and the text that remains of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import sqrt
from operator import itemgetter
from shlex import quote
from textwrap import shorten

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style

from mujo_edge.core import UNKNOWN, Bout, Gap, Prediction
from mujo_edge.printable import printable
from mujo_edge.sinks import STAGES, RunInfo, Summary, Tally, Update

SPAN_S = 30.0
"""Seconds of signal on the timeline."""

PALETTE = (39, 208, 41, 199, 226, 105, 203, 87, 154, 177, 215, 30)
"""xterm-256 colors of the labels in the order of the label set; further rounds use further `SHADES`."""

SHADES = "█▓▒"
WIDEST = 120
NOTE_WIDTH = 100

MOSTLY = 0.8
"""Share of the time beyond which "unknown" is remarkable."""

MOST_CONFUSIONS = 5
"""Most pairs of labels in the summary."""

MARGIN = 13

REASONS = {
    "missing": "samples are missing",
    "invalid": "samples are not finite or not possible",
    "clock": "device time went backwards",
    "constant": "the sensor repeats one value",
}

Part = tuple[str, str]
"""Text and the rich style that it is shown in."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One recognized window on the timeline."""

    end_s: float
    label: str
    truth: str | None


@dataclass(frozen=True, slots=True)
class Screen:
    """State of the screen. `gap` is later than `prediction`; `idle_s` is wall time since the last samples.

    `status` is the source's; `annotated` is the label of the last sample if samples have labels, "" for none.
    """

    session: RunInfo
    tally: Tally
    prediction: Prediction | None = None
    gap: Gap | None = None
    marks: tuple[Mark, ...] = ()
    idle_s: float = 0.0
    status: str = ""
    recording: str | None = None
    annotated: str | None = None


def advance(screen: Screen, update: Update, idle_s: float) -> Screen:
    """The screen after `update`."""
    prediction, gap, marks = screen.prediction, screen.gap, list(screen.marks)
    for event in update.events:
        if isinstance(event, Gap):
            gap = event
        else:
            prediction, gap = event, None
            marks.append(Mark(event.end_s, event.label, event.truth))
    if marks:
        begin_s = marks[-1].end_s - SPAN_S
        marks = [mark for mark in marks if mark.end_s > begin_s]
    labels = [chunk.truth[-1] for chunk in update.chunks if chunk.truth]
    return replace(
        screen,
        annotated=labels[-1] if labels else screen.annotated,
        tally=update.tally,
        prediction=prediction,
        gap=gap,
        marks=tuple(marks),
        idle_s=idle_s,
        status=update.status,
    )


def render(screen: Screen) -> RenderableType:
    """The screen as a renderable that rich prints at any width."""
    return _View(screen)


@dataclass(frozen=True, slots=True)
class _View:
    # Segments rather than Text and Table: they take a third of the time, and drawing is most of the live path's cost.
    screen: Screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        for line in _lines(self.screen, width):
            yield from (Segment(printable(text), Style.parse(style)) for text, style in line)
            yield Segment.line()


def _lines(screen: Screen, width: int) -> Iterator[list[Part]]:
    yield from _header(screen, width)
    if screen.session.labels:
        yield from _now(screen, width)
        yield []
        yield from _timeline(screen, width)
    elif screen.annotated is not None:
        yield []
        yield [(" label ", "dim"), (screen.annotated or "none", "bold")]
    yield []
    yield from _stream(screen)
    if screen.session.labels:
        yield []
        yield from _latency(screen)
    else:
        yield []
    notes = screen.tally.stats.notes
    yield [(f" note: {notes[-1]}" if notes else " Ctrl-C ends", "dim")]


def _header(screen: Screen, width: int) -> Iterator[list[Part]]:
    session = screen.session
    name, clock = " mujo-edge ", "{:02d}:{:02d} ".format(*divmod(int(screen.tally.elapsed_s), 60))
    source = f" {session.info.name}"[: width - len(name) - len(clock) - 1]
    yield [(name, "bold reverse"), (source, "bold"), (clock.rjust(width - len(name) - len(source)), "bold")]
    model = [session.bundle, session.runtime, session.label_set] if session.labels else []
    recording = [f"records to {screen.recording}"] if screen.recording else []
    yield [(" " * len(name) + " " + " · ".join(model + recording), "dim")]
    if session.labels:
        yield [explanation(session, width)]


def explanation(session: RunInfo, width: int) -> Part:
    """A line on what the labels are, or the label set's warning."""
    fields = [session.title] if session.title else []
    fields += [f"unknown: none of these {len(session.labels) - 1}"]
    fields += [f"others: --labels {', '.join(session.other_sets)}"] if session.other_sets else []
    text = session.warning or " · ".join(fields)
    return (
        f" {shorten(text, max(8, width - 2), placeholder=' ...', break_on_hyphens=False)}",
        "yellow" if session.warning else "dim",
    )


def _now(screen: Screen, width: int) -> Iterator[list[Part]]:
    """The current label in large type, with its confidence and the true label; below it the next best labels."""
    prediction, labels = screen.prediction, screen.session.labels
    title, state = condition(screen)
    box = max(34, width // 2 - 6)
    color = color_of(title, labels) if state is None else "color(240)"
    large = " ".join(title.upper())
    large = large if len(large) <= box - 4 else title.upper()[: box - 4]
    side: list[list[Part]] = [[], [], []]
    if state:
        side[1] = [(state[: width - box - 4], "yellow")]
    elif prediction:
        side[0] = [(f"{prediction.score:.0%}".ljust(5), "bold"), *_bar(prediction.score, width - box - 9, color)]
        side[1] = _verdict(prediction, labels)
        side[2] = _accuracy(screen.tally)
    n = prediction.repetitions if prediction and not state else 0
    counted = f"{n} {_plural('repetition', n)}" if n else ""
    for text, parts in zip(("", large, counted), side, strict=True):
        yield [(" ", ""), (text.center(box), f"bold #101010 on {color}"), ("  ", ""), *parts]
    yield []
    scores = prediction.scores if prediction and not state else {}
    others = sorted((label for label in scores if label != title), key=lambda label: -scores[label])[:3]
    for label in others:
        name, score = label[: box - 1].rjust(box), f"{scores[label]:.0%}".ljust(5)
        yield [(f" {name}  {score}", ""), *_bar(scores[label], width - box - 9, color_of(label, labels))]
    yield from [[]] * (3 - len(others))


def condition(screen: Screen) -> tuple[str, str | None]:
    """Text of the large box, and the reason if there is no current prediction."""
    if screen.idle_s >= 2:
        return "no samples", screen.status or f"none for {screen.idle_s:.0f} s"
    if screen.gap:
        return "gap", REASONS[screen.gap.reason]
    if screen.prediction:
        return screen.prediction.label, None
    return "listening", "the first window is not full yet"


def _verdict(prediction: Prediction, labels: tuple[str, ...]) -> list[Part]:
    if prediction.truth is None:
        return []
    if prediction.truth not in labels:
        return [("true label ", "dim"), (prediction.truth, ""), ("  not in this label set", "dim")]
    right = prediction.label == prediction.truth
    return [("true label ", "dim"), (prediction.truth, ""), ("  ✓", "green") if right else ("  ✗", "red")]


def _accuracy(tally: Tally) -> list[Part]:
    if tally.accuracy is None:
        return []
    return [("right so far ", "dim"), (f"{tally.accuracy:.1%}", "bold"), (f" of {tally.judged} windows", "dim")]


def _timeline(screen: Screen, width: int) -> Iterator[list[Part]]:
    marks, labels = screen.marks, screen.session.labels
    cells = width - MARGIN - 2
    shown = _spread(screen, cells)
    yield [(" recognized  ", "dim"), *_merged(_cell(mark.label if mark else None, labels) for mark in shown)]
    if any(mark.truth for mark in marks):
        yield [(" true label  ", "dim"), *_merged(_cell(mark.truth if mark else None, labels) for mark in shown)]
    else:
        yield []
    third = cells // 3
    axis = "-30 s".ljust(third) + "-20 s".ljust(third) + "-10 s".ljust(cells - 2 * third - 3) + "now"
    yield [(" " * MARGIN + axis, "dim")]
    legend: list[Part] = [(" " * MARGIN, "")]
    room = cells
    for label in dict.fromkeys(mark.label for mark in reversed(marks)):
        room -= len(label) + 4
        if room < 0:
            break
        legend += [_cell(label, labels), (f" {label}  ", "")]
    yield legend


def track(screen: Screen, cells: int) -> list[Part]:
    """The labels of the last `SPAN_S` in `cells` characters."""
    labels = screen.session.labels
    return list(_merged(_cell(mark.label if mark else None, labels) for mark in _spread(screen, cells)))


def _spread(screen: Screen, cells: int) -> list[Mark | None]:
    """The window at each of `cells` moments of the timeline, None if there was none."""
    marks, hop_s = screen.marks, screen.session.hop_s
    end_s = marks[-1].end_s if marks else 0.0
    ends = [mark.end_s for mark in marks]
    shown: list[Mark | None] = []
    for cell in range(cells):
        at_s = end_s - SPAN_S * (cells - cell - 0.5) / cells
        i = bisect_left(ends, at_s)
        shown.append(marks[i] if i < len(marks) and at_s > ends[i] - hop_s else None)
    return shown


def _stream(screen: Screen) -> Iterator[list[Part]]:
    stats = screen.tally.stats
    rate = "-" if stats.rate_hz is None else f"{stats.rate_hz:.2f} Hz"
    speed = screen.tally.speed
    drift = [] if stats.drift_ppm is None else [("clock", f"{stats.drift_ppm:+.0f} ppm", False)]
    yield _fields(
        ("rate", rate, False),
        ("samples", f"{stats.samples:,}", False),
        ("signal", f"{stats.signal_s:.1f} s", False),
        ("speed", "-" if speed is None else f"{speed:,.1f}x", False),
        *drift,
    )
    yield _fields(
        ("gaps", f"{stats.gaps}", stats.gaps > 0),
        ("lost", f"{stats.lost}", stats.lost > 0),
        *([("corrupt", f"{stats.corrupt}", True)] if stats.corrupt else []),
        ("invalid", f"{stats.invalid}", stats.invalid > 0),
        ("repeated", f"{stats.repeated}", stats.repeated > 0),
        ("dropped windows", f"{stats.dropped_windows}", stats.dropped_windows > 0),
    )


def _fields(*fields: tuple[str, str, bool]) -> list[Part]:
    """Names and values in a row; warnings are highlighted."""
    parts: list[Part] = []
    for name, value, warn in fields:
        parts += [(f" {name} ", "dim"), (f"{value}  ", "bold yellow" if warn else "")]
    return parts


def _latency(screen: Screen) -> Iterator[list[Part]]:
    yield [(" latency ms  " + "".join(f"{stage:>12}" for stage in STAGES), "dim")]
    latency = screen.prediction.latency if screen.prediction else None
    summed = screen.tally.latency
    last = [f"{getattr(latency, f'{stage}_ms'):12.2f}" if latency else f"{'-':>12}" for stage in STAGES]
    p50 = [f"{summed[stage].p50:12.2f}" if summed else f"{'-':>12}" for stage in STAGES]
    p99 = [f"{summed[stage].p99:12.2f}" if summed else f"{'-':>12}" for stage in STAGES]
    for name, values in (("last", last), ("p50", p50), ("p99", p99)):
        yield [(f" {name:<12}", "dim"), ("".join(values), "")]


def _bar(share: float, width: int, color: str) -> list[Part]:
    filled = round(share * width)
    return [("━" * filled, color), ("─" * (width - filled), "color(240)")]


def color_of(label: str, labels: tuple[str, ...]) -> str:
    """The color of a label of a set; grey for unknown."""
    if label == UNKNOWN or label not in labels:
        return "color(245)"
    return f"color({PALETTE[labels.index(label) % len(PALETTE)]})"


def _cell(label: str | None, labels: tuple[str, ...]) -> Part:
    """One character of the timeline: blank for none, grey for unknown."""
    if not label:
        return " ", ""
    if label == UNKNOWN or label not in labels:
        return "░", "color(245)"
    shade = SHADES[labels.index(label) // len(PALETTE) % len(SHADES)]
    return shade, color_of(label, labels)


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Merge neighboring parts of the same style."""
    for style, run in groupby(parts, key=itemgetter(1)):
        yield "".join(text for text, _ in run), style


def describe(summary: Summary, recording: str | None = None) -> str:
    """The summary as text: time by label, counted sets, mistakes, other things to try; then counts and latency."""
    session, tally, stats = summary.session, summary.tally, summary.tally.stats
    corrupt = f" · corrupt {stats.corrupt}" if stats.corrupt else ""
    rate = "" if stats.rate_hz is None else f" at {stats.rate_hz:.2f} Hz"
    speed = "" if tally.speed is None else f", {tally.speed:,.1f} times real time"
    lines = list(_results(summary)) if session.labels else []
    lines += [
        f"{session.info.name}: {stats.samples:,} samples{rate}",
        f"{stats.signal_s:.1f} s of signal in {tally.elapsed_s:.1f} s{speed}",
        f"lost {stats.lost}{corrupt} · invalid {stats.invalid} · repeated {stats.repeated} · gaps {stats.gaps} "
        f"· dropped windows {stats.dropped_windows}",
    ]
    if session.labels:
        lines.append(f"{session.bundle} · {session.runtime} · {session.label_set}: {tally.predictions:,} predictions")
    for name in ("p50", "p99") if tally.latency else ():
        stages = ", ".join(f"{stage} {getattr(both, name):.2f}" for stage, both in (tally.latency or {}).items())
        lines.append(f"latency {name}, ms: {stages}")
    lines += [shorten(f"note: {note}", NOTE_WIDTH, placeholder=" ...") for note in summary.notes]
    if recording:
        lines.append(f"recorded to {recording}; play it with: mujo-edge stream {quote(recording)}")
    return "\n".join(map(printable, lines))


def _results(summary: Summary) -> Iterator[str]:
    """The lines on what was recognized, ended by an empty one."""
    session, tally, recognized = summary.session, summary.tally, summary.recognized
    about = f" ({session.title})" if session.title else ""
    yield f"{session.info.name}, recognized with {session.label_set}{about}:"
    yield ""
    if recognized.times:
        width = max(len(each.label) for each in recognized.times)
        total_s = sum(each.seconds for each in recognized.times)
        yield f"  {'':{width}}     time  share   bouts  longest"
        for each in recognized.times:
            share = f"{each.seconds / total_s:.0%}"
            yield (
                f"  {each.label:{width}}  {_clock(each.seconds):>7}  {share:>5}  {each.bouts:>6,}  "
                f"{_clock(each.longest_s):>7}"
            )
    else:
        yield "  nothing: no window was complete"
    yield ""
    if recognized.bouts:
        yield from workout_lines(recognized.bouts)
        yield ""
    if tally.accuracy is not None:
        yield f"{tally.accuracy:.1%} of {tally.judged:,} predictions outside transitions are right"
    for pair in recognized.confusions[:MOST_CONFUSIONS]:
        yield f"  mistaken: {pair.truth} for {pair.label}, {pair.windows:,} {_plural('window', pair.windows)}"
    if more := recognized.confusions[MOST_CONFUSIONS:]:
        yield f"  and {sum(pair.windows for pair in more):,} windows of {len(more)} other pairs of labels"
    if n := recognized.outside:
        unknown = f"{recognized.outside_unknown:,} of them unknown"
        yield f"{n:,} {_plural('window', n)} annotated with labels that this set lacks, not scored; {unknown}"
    times = {each.label: each.seconds for each in recognized.times}
    if times.get(UNKNOWN, 0.0) > MOSTLY * sum(times.values()):
        yield "most of it fits none of these labels: are these the movements, and is this where the sensor was worn?"
    if session.other_sets:
        yield f"other label sets: --labels {', '.join(session.other_sets)}; your own: examples/own_labels.py"
    yield ""


def workout_lines(bouts: Sequence[Bout]) -> Iterator[str]:
    """A line for every label with counted sets, in order of the first: "3 sets of 12, 12 and 10 squat, ..."."""
    for label in dict.fromkeys(bout.label for bout in bouts):
        own = [bout for bout in bouts if bout.label == label]
        counts = [str(bout.repetitions) for bout in own]
        listed = counts[0] if len(set(counts)) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
        total = sum(bout.repetitions for bout in own)
        tempo_s = sum(bout.tempo_s * bout.repetitions for bout in own) / total
        spread_s = sqrt(sum(bout.tempo_sd_s**2 * bout.repetitions for bout in own) / total)
        yield (
            f"  {len(own)} {_plural('set', len(own))} of {listed} {label}, "
            f"{tempo_s:.1f} ± {spread_s:.1f} s per repetition"
        )


def _clock(seconds: float) -> str:
    """Minutes and seconds, rounded to the second."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
