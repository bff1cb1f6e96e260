"""Evaluation of repetition counting on data sets with counted sets: within one, mean error, two baselines.

The streamed counter reads whole recordings and is given no segmentation: a repetition belongs to the set that its
middle lies in. The baselines, and the row "cut", are given each set exactly as annotated.

Constants are chosen on some people and reported on others (`chosen_on`). muvr's stated numbers are those that its
exercisers planned, in recordings that often hold a part of the set, or alternate arms; `muvr_counts.csv` therefore has
counts by eye of a random 96 of its 284 sets: one reader counted the peaks of plots of the smoothed signals, without
the stated number or any counter's, and left a set out where that was not possible.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from mujo_edge.bundle import ModelBundle
from mujo_edge.core import F32, F64, Bout, Chunk, Repetition, StreamInfo
from mujo_edge.counting import RepetitionCounter
from mujo_edge.cycles import CounterSettings, analyze, lags, principal, smooth
from mujo_edge.recognizer import Recognizer
from mujo_edge.signal import resample
from training.corpora import registry
from training.corpora.base import RATE_HZ, Recording
from training.evaluation.events import NO_EVENTS, Event, EventScores, event_scores

BY_EYE = Path(__file__).parents[1] / "corpora" / "muvr_counts.csv"
AS_STATED = "muvr as stated"
"""Name of muvr with its stated numbers, in no part."""
CHOSEN_ON: Mapping[str, tuple[str, ...]] = {"metamotion": ("A", "B"), "ptex": ("1", "2", "3"), "spar": tuple("12345")}
"""People whose sets the constants are chosen on; muvr's sets are listed in `BY_EYE`."""
COUNTED = ("muvr", "metamotion", "mm_fit", "ptex", "spar")
FRAME_HZ = 10.0
AT_ONCE = 5000
"""Samples that a recognizer gets at once."""
CUT_GRID: Mapping[str, tuple[float, ...]] = {
    "presmooth": (1, 3, 5),
    "octave": (0.8, 0.85, 0.9, 0.95),
    "smooth": (0.25, 0.3, 0.35, 0.4),
    "detrend": (1.25, 1.5, 1.75, 2.0),
    "hysteresis": (0.35, 0.4, 0.45, 0.5),
    "template": (0.2, 0.3, 0.4, 0.5),
    "size": (0.4, 0.5, 0.6),
    "apart": (0.5, 0.55, 0.6),
}
"""Values that `choose` tries on sets as annotated."""
STREAMED_GRID: Mapping[str, tuple[float, ...]] = {
    "salience": (0.3, 0.4, 0.5),
    "likeness": (0.5, 0.6, 0.7),
    "rest_s": (3.0, 4.0, 5.0),
    "rest_periods": (1.5, 2.0, 3.0),
    "memory_s": (60.0, 90.0, 120.0),
}
"""Values that `choose` tries on streams."""


@dataclass(frozen=True, slots=True)
class CountedSet:
    """An annotated set in the signal `x` (n, 3) m/s2 at 50 Hz of its whole recording; `part`: choose, report or ""."""

    corpus: str
    part: str
    person: str
    session: str
    placement: str
    exercise: str
    start_s: float
    end_s: float
    repetitions: int
    x: F32

    @property
    def cut(self) -> F32:
        """The samples of the set."""
        return self.x[round(self.start_s * RATE_HZ) : round(self.end_s * RATE_HZ)]


@dataclass(frozen=True, slots=True)
class Error:
    """Counted minus true repetitions of one set by one method."""

    method: str
    one: CountedSet
    counted: int

    @property
    def error(self) -> int:
        """Signed error."""
        return self.counted - self.one.repetitions


def counted_sets(root: Path, names: Iterable[str] = COUNTED) -> Iterator[CountedSet]:
    """The sets of two or more repetitions of the data sets that are under `root`."""
    here = registry.present(root)[0]
    for name in names:
        for recording in registry.load(name, root) if name in here else ():
            yield from sets_of(recording)


def sets_of(recording: Recording) -> Iterator[CountedSet]:
    """The sets of one recording; those of muvr once as stated and once, where there is one, with the count by eye."""
    counts = [one for one in recording.sets if one.repetitions > 1]
    if not counts:
        return
    x = resample(recording.x[:, :3], recording.rate_hz, RATE_HZ)
    for one in counts:
        part = "choose" if recording.subject in CHOSEN_ON.get(recording.corpus, ()) else "report"
        place = (recording.subject, recording.session, recording.placement, one.exercise, one.start_s, one.end_s)
        if recording.corpus != "muvr":
            yield CountedSet(recording.corpus, part, *place, one.repetitions, x)
            continue
        yield CountedSet(AS_STATED, "", *place, one.repetitions, x)
        part, by_eye = counts_by_eye().get(recording.session, ("", 0))
        if by_eye:
            yield CountedSet("muvr", part, *place, by_eye, x)


@cache
def counts_by_eye() -> Mapping[str, tuple[str, int]]:
    """Session of muvr -> (part, repetitions; 0 if they cannot be counted by eye)."""
    with BY_EYE.open(newline="") as file:
        return {row["session"]: (row["use"], int(row["repetitions"] or 0)) for row in csv.DictReader(file)}


def events_of(
    sets: Iterable[CountedSet], settings: CounterSettings | None = None
) -> dict[int, list[Repetition | Bout]]:
    """What the counter finds in the whole recording of each set, read once, by the `id` of its samples."""
    found: dict[int, list[Repetition | Bout]] = {}
    for one in sets:
        if id(one.x) not in found:
            counter = RepetitionCounter(RATE_HZ, settings)
            found[id(one.x)] = counter.update(np.arange(len(one.x)) / RATE_HZ, one.x) + counter.finish()
    return found


def streamed(sets: Sequence[CountedSet], settings: CounterSettings | None = None) -> list[Error]:
    """The counter over whole recordings."""
    found = events_of(sets, settings)
    out = []
    for one in sets:
        repetitions = [event for event in found[id(one.x)] if isinstance(event, Repetition)]
        middles = [(each.start_s + each.end_s) / 2 for each in repetitions]
        out.append(Error("streamed", one, sum(one.start_s <= at <= one.end_s for at in middles)))
    return out


def bout_scores(sets: Sequence[CountedSet]) -> EventScores:
    """The counter's bouts, whatever their label, as events against the annotated sets of whole recordings."""
    scores = NO_EVENTS
    for key, events in events_of(sets).items():
        true = [Event("", one.start_s, one.end_s) for one in sets if id(one.x) == key]
        found = [Event("", event.start_s, event.end_s) for event in events if isinstance(event, Bout)]
        scores += event_scores(true, found)
    return scores


def frames(x: F32) -> F64:
    """Means of (n, 3) at 50 Hz over blocks -> (m, 3) at 10 Hz."""
    block = round(RATE_HZ / FRAME_HZ)
    out: F64 = x[: len(x) // block * block].reshape(-1, block, 3).mean(1).astype(np.float64)
    return out


def cut(z: F64, settings: CounterSettings | None = None) -> int:
    """The counter's analysis of one set's frames."""
    settings = settings or CounterSettings()
    found = analyze(z, lags(settings, FRAME_HZ), settings)
    return 0 if found is None else len(found.spans)


def autocorrelation(z: F64) -> int:
    """Baseline: duration over the lag (0.5 to 8 s) of the highest peak of the first component's autocorrelation."""
    p = smooth(z, 3) @ principal(z)
    p = p - p.mean()
    longest = min(round(8 * FRAME_HZ), len(p) // 2)
    r = [float((p[k:] * p[: len(p) - k]).mean()) for k in range(longest + 1)]
    peaks = [k for k in range(round(0.5 * FRAME_HZ), longest) if r[k] > r[k - 1] and r[k] >= r[k + 1]]
    return round(len(p) / max(peaks, key=lambda k: r[k])) if peaks else 0


def peaks_of_component(z: F64) -> int:
    """Baseline: peaks of the smoothed first component that stand out by its standard deviation, 0.5 s apart."""
    from scipy.signal import find_peaks

    z = smooth(z, 5)
    p = z @ principal(z)
    return len(find_peaks(p, prominence=p.std(), distance=round(0.5 * FRAME_HZ))[0])


BASELINES: Mapping[str, Callable[[F64], int]] = {
    "cut": cut,
    "autocorrelation": autocorrelation,
    "peaks": peaks_of_component,
}


def evaluate(sets: Sequence[CountedSet]) -> list[Error]:
    """Every method on every set."""
    errors = streamed(sets)
    for name, method in BASELINES.items():
        errors += [Error(name, one, method(frames(one.cut))) for one in sets]
    return errors


def quiet(root: Path, labels: str | None = None, name: str = "stress_predict") -> str:
    """A line on the bouts found in a data set in which nobody exercises: by the counter alone, or, with `labels`, by
    the shipped bundle with that label set."""
    bundle = ModelBundle.load() if labels else None
    hours = 0.0
    found: list[Bout] = []
    for recording in registry.load(name, root):
        hours += recording.duration_s / 3600
        found += [event for event in everyday(recording, bundle, labels) if isinstance(event, Bout)]
    size = np.mean([bout.repetitions for bout in found] or [0])
    how = f"with {labels}" if labels else "without labels"
    bouts = f"{len(found) / hours:.2f} bouts an hour of {size:.1f} repetitions"
    return f"{name}, {hours:.1f} h without exercise, counted {how}: {bouts}\n"


def everyday(recording: Recording, bundle: ModelBundle | None, labels: str | None) -> list[Repetition | Bout]:
    """The events of one recording: of the counter, or of a recognizer of `bundle`."""
    if bundle is None:
        x = resample(recording.x[:, :3], recording.rate_hz, RATE_HZ)
        counter = RepetitionCounter(RATE_HZ)
        return counter.update(np.arange(len(x)) / RATE_HZ, x) + counter.finish()
    info = StreamInfo(recording.session, recording.channels, recording.rate_hz, recording.placement)
    recognizer = Recognizer(bundle, info, labels)
    t_s = np.arange(len(recording.x)) / recording.rate_hz
    events: list[Repetition | Bout] = []
    for first in range(0, len(t_s), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        recognizer.classify(recognizer.cut(Chunk(t_s[part], recording.x[part], 0.0)))
        events += recognizer.counted()
    return events + recognizer.counted(ended=True)


def loss(errors: Sequence[Error]) -> float:
    """Mean over data sets of the mean absolute error, at most 3, less the fraction within one."""
    by: dict[str, list[int]] = {}
    for each in errors:
        by.setdefault(each.one.corpus, []).append(abs(each.error))
    return float(np.mean([np.minimum(v, 3).mean() - (np.asarray(v) <= 1).mean() for v in by.values()]))


def choose(
    sets: Sequence[CountedSet], seed: int, rounds: int = 2, say: Callable[[str], None] = lambda _: None
) -> CounterSettings:
    """Coordinate descent of `loss`, over `CUT_GRID` and then `STREAMED_GRID`, in an order drawn by `seed`."""

    def whole(settings: CounterSettings) -> float:
        return loss(streamed(sets, settings))

    def annotated(settings: CounterSettings) -> float:
        return loss([Error("cut", one, cut(z, settings)) for one, z in pieces])

    pieces = [(one, frames(one.cut)) for one in sets]
    settings, rng = CounterSettings(), np.random.default_rng(seed)
    for grid, cost in ((CUT_GRID, annotated), (STREAMED_GRID, whole)):
        best = cost(settings)
        for name in [name for _ in range(rounds) for name in rng.permutation(list(grid)).tolist()]:
            for value in grid[name]:
                trial = replace(settings, **{name: value})
                if trial != settings and (now := cost(trial)) < best - 1e-9:
                    best, settings = now, trial
                    say(f"{name} {value:g}: {best:.4f}")
    return settings


def table(errors: Sequence[Error]) -> str:
    """Markdown: one row per part, data set and method."""
    lines = [
        "| part | data set | sets | method | within one | mean error | too few | too many |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    parts = [part for part in ("report", "choose", "") if any(each.one.part == part for each in errors)]
    for part in parts:
        own = [each for each in errors if each.one.part == part]
        corpora = sorted({each.one.corpus for each in own})
        for corpus in [*corpora, *(["all"] if len(corpora) > 1 else [])]:
            for method in dict.fromkeys(each.method for each in own):
                e = np.array([x.error for x in own if x.method == method and corpus in (x.one.corpus, "all")])
                within, few, many = (f"{np.mean(which):.1%}" for which in (np.abs(e) <= 1, e < -1, e > 1))
                cells = (part or "-", corpus, str(len(e)), method, within, f"{np.abs(e).mean():.2f}", few, many)
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_sets(errors: Sequence[Error], path: Path) -> None:
    """Set by set: true and counted repetitions of every method, as CSV."""
    methods = list(dict.fromkeys(each.method for each in errors))
    rows: dict[tuple[object, ...], dict[str, int]] = {}
    for each in errors:
        one = each.one
        times = (round(one.start_s, 2), round(one.end_s, 2))
        key = (one.part, one.corpus, one.person, one.session, one.placement, *times, one.exercise, one.repetitions)
        rows.setdefault(key, {})[each.method] = each.counted
    head = ("part", "data_set", "person", "session", "placement", "start_s", "end_s", "exercise", "repetitions")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*head, *methods])
        writer.writerows([*key, *(counts[method] for method in methods)] for key, counts in sorted(rows.items()))
