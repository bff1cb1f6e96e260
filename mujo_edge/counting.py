"""Streaming repetition counter: accelerometer samples -> repetitions and bouts of any periodic movement.

Samples are averaged to frames at about 10 Hz. Once a second the frames of the present bout (at most `memory_s`) are
analyzed again: the period is the shortest peak, among lags of 0.5 to 10 s, of a self-similarity averaged over the
half of the time that repeats best; the frames, smoothed over a fraction of that period so that the two half movements
of a repetition merge, are projected on their first principal direction; extrema with hysteresis are candidates; and
a candidate counts if its shape and size fit the median of all. The running count may therefore be corrected while a
bout lasts, and `Repetition`s are emitted when they are final. Every step is elementary arithmetic on bounded arrays,
and the result does not depend on how the samples are split into chunks.

The hysteresis and the principal direction follow RecoFit (Morris et al., CHI 2014); the normalized self-similarity is
the difference function of YIN (de Cheveigne and Kawahara, 2002) in three dimensions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from mujo_edge.core import F32, F64, UNKNOWN, Bout, Repetition
from mujo_edge.cycles import CounterSettings, analyze, lags

UNCOUNTED = frozenset(
    {
        UNKNOWN,
        "background",
        "rest",
        "off",
        *("walking", "walking upstairs", "walking downstairs", "jogging", "running", "cycling"),
        *("sitting", "standing", "lying", "standing up", "sitting down", "turning"),
    }
)
"""Labels, in lower case, whose movements are no repetitions of an exercise: they are neither counted nor bouts."""


def is_counted(label: str) -> bool:
    """Whether repetitions of movements with this label are counted: all but `UNCOUNTED`, in any case."""
    return label.casefold() not in UNCOUNTED


SWITCH = 5
"""Repetitions in a row with another label that begin a new bout without a rest."""


class RepetitionCounter:
    """Counts repetitions in a stream of accelerometer samples.

    Args:
        rate_hz: rate of the samples.
        settings: constants of the method; the default is the chosen ones.
    """

    def __init__(self, rate_hz: float = 50.0, settings: CounterSettings | None = None) -> None:
        self.settings = settings = settings or CounterSettings()
        self._block = max(1, round(rate_hz / settings.frame_hz))
        self._hz = rate_hz / self._block
        self._lags = lags(settings, self._hz)
        self._memory = round(settings.memory_s * self._hz)
        self._every = round(self._hz)
        self._samples = np.empty((0, 4))
        self._restart()

    @property
    def count(self) -> int:
        """Repetitions of the present bout so far, 0 outside a bout. May be corrected until the bout ends."""
        return self._final.n + len(self._spans)

    @property
    def start_s(self) -> float | None:
        """Start of the present bout, None outside a bout."""
        if not self._open or not self.count:
            return None
        return self._final.start_s if self._final.n else float(self._frames[self._spans[0, 0], 0])

    @property
    def retained(self) -> int:
        """Numbers kept from the samples so far; at most `memory_s` and a second of frames, and one block of samples."""
        return self._frames.size + self._samples.size

    def update(self, t_s: F64, x: F32) -> list[Repetition | Bout]:
        """Add consecutive samples: times (n,) in seconds, `x` (n, 3 or more) in m/s2 -> what became final.

        A `Bout` follows its last `Repetition`; its label is empty. A sample that is not finite ends the bout, and
        counting starts anew after it.
        """
        events: list[Repetition | Bout] = []
        rows = np.column_stack([t_s, x[:, :3]]).astype(np.float64)
        finite = np.isfinite(rows).all(1)
        edges = np.flatnonzero(~finite).tolist()
        for first, stop in zip([0, *(edge + 1 for edge in edges)], [*edges, len(rows)], strict=True):
            events += self._add(rows[first:stop])
            if stop < len(rows):
                events += self.finish()
        return events

    def finish(self) -> list[Repetition | Bout]:
        """End the present bout, if any, and forget all samples: the next ones are not continuous with them."""
        if len(self._frames) % self._every:
            self._analyze()
        events = self._end() if self._open else []
        self._samples = self._samples[:0]
        self._restart()
        return events

    def _restart(self) -> None:
        self._frames = np.empty((0, 4))
        self._seen = 0
        self._open = False
        self._spans = np.empty((0, 2), np.int64)
        self._period = 0
        self._final = Tally()

    def _add(self, rows: F64) -> list[Repetition | Bout]:
        events: list[Repetition | Bout] = []
        self._samples = np.concatenate([self._samples, rows])
        used = len(self._samples) // self._block * self._block
        frames = self._samples[:used].reshape(-1, self._block, 4).mean(1)
        self._samples = self._samples[used:]
        start = 0
        while start < len(frames):
            stop = min(len(frames), start + self._every - self._seen % self._every)
            self._frames = np.concatenate([self._frames, frames[start:stop]])
            self._seen += stop - start
            start = stop
            if self._seen % self._every == 0:
                events += self._step()
        return events

    def _step(self) -> list[Repetition | Bout]:
        """Once a second: analyze, end the bout if it rests, finalize what is about to leave the memory."""
        self._analyze()
        if not self._open:
            self._frames = self._frames[-self._memory :]
            return []
        events: list[Repetition | Bout] = []
        s = self.settings
        rest = max(s.rest_s * self._hz, s.rest_periods * self._period)
        last = int(self._spans[-1, 1]) if len(self._spans) else 0
        if len(self._frames) - last > rest:
            return self._end()
        if len(self._frames) >= self._memory:
            old = self._spans[self._spans[:, 1] < len(self._frames) // 2]
            keep = int(old[-1, 1]) if len(old) else len(self._frames) // 2
            events += self._finalize(old)
            self._frames = self._frames[keep:]
            self._spans = self._spans[len(old) :] - keep
        return events

    def _analyze(self) -> None:
        """Update the present bout's repetitions, or begin a bout."""
        s, n = self.settings, len(self._frames)
        if not self._open and np.ptp(self._frames[-self._every :, 1:], axis=0).max(initial=0) < s.min_swing / 2:
            return
        if self._open:
            found = analyze(self._frames[:, 1:], self._lags, s)
            self._spans = found.spans if found else self._spans
            self._period = found.period if found else self._period
            return
        for seconds in s.open_s:
            size = round(seconds * self._hz)
            if n < size // 2:
                return
            found = analyze(self._frames[-size:, 1:], self._lags, s)
            first = max(0, n - size)
            if (
                found
                and len(found.spans) >= s.least
                and found.salience >= s.salience
                and found.likeness >= s.likeness
                and n - first - found.spans[-1, 1] <= 1.5 * found.period
            ):
                begin = max(0, first + int(found.spans[0, 0]) - 2 * found.period)
                self._frames = self._frames[begin:]
                self._open, self._period = True, found.period
                self._spans = found.spans + (first - begin)
                return

    def _finalize(self, spans: np.ndarray) -> list[Repetition | Bout]:
        """The repetitions of these spans, added to the tally of the bout."""
        times = self._frames[:, 0]
        done = [Repetition(float(times[a]), float(times[min(b, len(times) - 1)])) for a, b in spans.tolist()]
        for one in done:
            self._final = self._final.add(one)
        return list(done)

    def _end(self) -> list[Repetition | Bout]:
        """End the bout -> its last repetitions and the bout; nothing if it has too few."""
        events: list[Repetition | Bout] = []
        if self.count >= self.settings.least:
            events = self._finalize(self._spans)
            events.append(self._final.bout())
        after = int(self._spans[-1, 1]) if len(self._spans) else len(self._frames)
        frames, seen = self._frames[after:], self._seen
        self._restart()
        self._frames, self._seen = frames, seen
        return events


class LabeledBouts:
    """Splits the labeled repetitions of a bout into bouts of one label each, and leaves out those not counted.

    Another label begins when `SWITCH` repetitions in a row have it; fewer take the label of those around them.
    """

    def __init__(self) -> None:
        self._label: str | None = None
        self._tally = Tally()
        self._held: list[Repetition] = []

    def add(self, one: Repetition) -> list[Repetition | Bout]:
        """Add a repetition -> what is decided now."""
        self._held.append(one)
        if len(self._held) < SWITCH:
            return []
        if self._label is None:
            self._label = self._majority()
        labels = {each.label for each in self._held}
        if len(labels) == 1 and labels != {self._label}:
            events = self._close()
            self._label = one.label
            return events
        return self._attribute(1)

    def end(self) -> list[Repetition | Bout]:
        """The bout has ended -> all that remains of it."""
        if self._label is None:
            self._label = self._majority()
        events = self._attribute(len(self._held)) + self._close()
        self._label = None
        return events

    def _majority(self) -> str | None:
        labels = Counter(each.label for each in self._held)
        return labels.most_common(1)[0][0] if labels else None

    def _attribute(self, n: int) -> list[Repetition | Bout]:
        """The first `n` held repetitions with the present label."""
        label = self._label or UNKNOWN
        done = [replace(one, label=label) for one in self._held[:n]]
        self._held = self._held[n:]
        for one in done:
            self._tally = self._tally.add(one)
        return list(done) if is_counted(label) else []

    def _close(self) -> list[Repetition | Bout]:
        label, tally = self._label or UNKNOWN, self._tally
        self._tally = Tally()
        return [replace(tally.bout(), label=label)] if tally.n and is_counted(label) else []


@dataclass(frozen=True, slots=True)
class Tally:
    """Number, first start, last end, and sums of the durations of a bout's final repetitions."""

    n: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    total_s: float = 0.0
    squares: float = 0.0

    def add(self, one: Repetition) -> Tally:
        """With one more repetition."""
        length = one.end_s - one.start_s
        start_s = self.start_s if self.n else one.start_s
        return Tally(self.n + 1, start_s, one.end_s, self.total_s + length, self.squares + length * length)

    def bout(self) -> Bout:
        """The bout, without a label."""
        mean = self.total_s / self.n
        return Bout("", self.start_s, self.end_s, self.n, mean, sqrt(max(0.0, self.squares / self.n - mean * mean)))
