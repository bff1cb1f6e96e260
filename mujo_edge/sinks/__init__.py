"""Sinks: outputs that are started once, written to after every batch of chunks, and finished with the summary.

All three run on the recognizer's thread, never on the one that receives bytes. A sink may wait for a file, but not for
the reader of its output: `mujo_edge.sinks.background` does that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from mujo_edge.core import Bout, Chunk, Gap, Prediction, Repetition, StreamInfo, StreamStats

STAGES = ("queue", "preprocess", "inference", "total")
"""Stages of the live path whose latency is measured, in order; the fields of `Latency` without "_ms"."""

Ended = Literal["end", "duration", "interrupted", "closed", "error"]
"""Why a run ended: the source ended, the duration was reached, the user interrupted it, the reader of the output
closed it, or an error."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The stream and the model of a run. `labels` ends with "unknown"; it is empty without a model.

    `title` says what the label set is about; `warning` is the label set's own note. `other_sets` are names of the
    bundle's label sets that were not chosen.
    """

    info: StreamInfo
    bundle: str = ""
    runtime: str = ""
    label_set: str = ""
    labels: tuple[str, ...] = ()
    hop_s: float = 0.0
    title: str = ""
    warning: str = ""
    other_sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds, over the last `mujo_edge.worker.LATENCIES` windows."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of a stream at one moment.

    `right` of `judged` predictions agree with the annotation. Judged are those whose window has one
    annotated label throughout, and one of the label set. `elapsed_s` is wall time since the model was
    loaded. `latency` is by stage, None before the first prediction.
    """

    stats: StreamStats
    predictions: int
    right: int
    judged: int
    elapsed_s: float
    latency: Mapping[str, Quantiles] | None

    @property
    def accuracy(self) -> float | None:
        """Share of right predictions, None if none were judged."""
        return self.right / self.judged if self.judged else None

    @property
    def speed(self) -> float | None:
        """Seconds of signal processed per second of wall time."""
        return self.stats.signal_s / self.elapsed_s if self.elapsed_s > 0 else None


@dataclass(frozen=True, slots=True)
class LabelTime:
    """The time recognized as one label, where a window counts as the time since the previous one. `bouts` are its
    stretches without another label or a gap, the longest of `longest_s`."""

    label: str
    seconds: float
    bouts: int
    longest_s: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Number of windows of one annotated label that were recognized as another one of the label set."""

    truth: str
    label: str
    windows: int


@dataclass(frozen=True, slots=True)
class Recognized:
    """The results of a run: `times` from the longest to the shortest, `confusions` from the most to the least frequent.

    `outside` windows have an annotated label that the label set lacks; `outside_unknown` of them were recognized as
    "unknown". `bouts` are the counted ones in order of time, at most the last `mujo_edge.worker.MOST_BOUTS`.
    """

    times: tuple[LabelTime, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    outside: int = 0
    outside_unknown: int = 0
    bouts: tuple[Bout, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """A batch of chunks, and the predictions and gaps that they completed, in order.

    An update without chunks means that the source was silent for a second, or has ended. `status` is the source's.
    `counted` are the repetitions and bouts that became final: some seconds after they ended.
    """

    chunks: Sequence[Chunk]
    events: Sequence[Prediction | Gap]
    tally: Tally
    status: str = ""
    counted: Sequence[Repetition | Bout] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run. `notes` are those of source and recognizer; `error` is the message if it ended with one."""

    session: RunInfo
    tally: Tally
    ended: Ended
    notes: tuple[str, ...] = ()
    error: str | None = None
    recognized: Recognized = Recognized()


@runtime_checkable
class Sink(Protocol):
    """An output of results."""

    def start(self, session: RunInfo) -> None:
        """Called once, before the first update. May raise `MujoError`."""

    def write(self, update: Update) -> None:
        """Called after every batch. May raise `MujoError`, or `BrokenPipeError` when the reader is gone."""

    def finish(self, summary: Summary) -> None:
        """Called once if the sink was started, also after an error."""
