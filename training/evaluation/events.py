"""Event scores of bouts: precision, recall, onset and end errors, and the event categories of Ward et al.

J. A. Ward, P. Lukowicz, H. W. Gellersen. Performance metrics for activity recognition. ACM TIST 2(1), 2011. A true
event is correct, deleted (nothing overlaps it), fragmented (several found events overlap it), merged (a found event
that overlaps it also overlaps another true one), or both; a found event is correct, inserted, fragmenting, merging, or
both. Only events of the same label overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TRUE_CATEGORIES = ("correct", "deleted", "fragmented", "merged", "fragmented and merged")
FOUND_CATEGORIES = ("correct", "inserted", "fragmenting", "merging", "fragmenting and merging")


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of one label, in seconds."""

    label: str
    start_s: float
    end_s: float

    def overlaps(self, other: Event) -> bool:
        """Whether both have the same label and time in common."""
        return self.label == other.label and self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True, slots=True)
class EventScores:
    """Numbers of true and found events by category, and the errors of found less true times of pairs of correct ones.

    `onset_s` and `end_s` (n,) are seconds; positive is late.
    """

    true: Counter[str]
    found: Counter[str]
    onset_s: np.ndarray
    end_s: np.ndarray

    @property
    def recall(self) -> float:
        """Share of true events that are not deleted; NaN without any."""
        return 1 - self.true["deleted"] / self.true.total() if self.true else float("nan")

    @property
    def precision(self) -> float:
        """Share of found events that are not inserted; NaN without any."""
        return 1 - self.found["inserted"] / self.found.total() if self.found else float("nan")

    def __add__(self, other: EventScores) -> EventScores:
        onset_s, end_s = (np.concatenate(pair) for pair in ((self.onset_s, other.onset_s), (self.end_s, other.end_s)))
        return EventScores(self.true + other.true, self.found + other.found, onset_s, end_s)


NO_EVENTS = EventScores(Counter(), Counter(), np.empty(0), np.empty(0))


def event_scores(true: Sequence[Event], found: Sequence[Event]) -> EventScores:
    """Scores of one recording."""
    overlap = np.array([[a.overlaps(b) for b in found] for a in true], bool).reshape(len(true), len(found))
    per_true, per_found = overlap.sum(1), overlap.sum(0)
    shared = (overlap & (per_found > 1)).any(1)
    splitting = (overlap & (per_true > 1)[:, None]).any(0)
    pairs = np.argwhere(overlap & (per_true == 1)[:, None] & (per_found == 1))
    errors = np.array([[found[j].start_s - true[i].start_s, found[j].end_s - true[i].end_s] for i, j in pairs])
    errors = errors.reshape(-1, 2)
    return EventScores(
        Counter(_category(n, n > 1, merged, TRUE_CATEGORIES) for n, merged in zip(per_true, shared, strict=True)),
        Counter(_category(n, splits, n > 1, FOUND_CATEGORIES) for n, splits in zip(per_found, splitting, strict=True)),
        errors[:, 0],
        errors[:, 1],
    )


def _category(overlaps: int, fragments: bool, merges: bool, names: Sequence[str]) -> str:
    correct, alone, fragmented, merged, both = names
    if not overlaps:
        return alone
    if fragments and merges:
        return both
    return fragmented if fragments else merged if merges else correct


def describe(scores: EventScores) -> str:
    """Two Markdown lines: precision, recall, medians of the absolute errors; and the categories."""
    onset_s, end_s = (float(np.median(np.abs(e))) if len(e) else float("nan") for e in (scores.onset_s, scores.end_s))
    counts = [
        ", ".join(f"{own[name]} {name}" for name in names if own[name])
        for own, names in ((scores.true, TRUE_CATEGORIES), (scores.found, FOUND_CATEGORIES))
    ]
    return (
        f"precision {scores.precision:.1%}, recall {scores.recall:.1%}; median absolute error of the onset "
        f"{onset_s:.1f} s, of the end {end_s:.1f} s.\n"
        f"True bouts: {counts[0] or 'none'}. Found: {counts[1] or 'none'}."
    )
