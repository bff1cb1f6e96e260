"""Inspection of a data set on disk for `python -m training.corpora`: recordings, problems, window counts, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mujo_edge.core import DataError, require_extra
from training.corpora.base import Corpus, Recording, WindowSet, problems, rest_acceleration, unique
from training.corpora.files import Tree, natural


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set read file by file, so that one bad file does not hide the others.

    `problems` are (file or session, problem and advice); `repeats` is the number of recordings equal to earlier ones.
    """

    corpus: Corpus
    path: Path
    recordings: list[Recording]
    problems: list[tuple[str, str]]
    repeats: int

    @property
    def subjects(self) -> list[str]:
        """Names of the people, in natural order."""
        return sorted({r.subject for r in self.recordings}, key=natural)

    @property
    def hours(self) -> float:
        """Total duration of the recordings."""
        return sum(r.duration_s for r in self.recordings) / 3600

    @property
    def rates_hz(self) -> str:
        """Rate of the recordings in whole hertz; lowest and highest if they differ."""
        rates = sorted({round(r.rate_hz) for r in self.recordings})
        return str(rates[0]) if len(rates) == 1 else f"{rates[0]}-{rates[-1]}"

    @property
    def rest(self) -> float:
        """|a| at rest, m/s2."""
        return rest_acceleration(self.recordings)


def inspect(corpus: Corpus, path: Path) -> Inspection:
    """Read every file of `corpus` at `path` and collect problems. Raises `DataError` if `path` cannot be opened."""
    recordings: list[Recording] = []
    collected: list[tuple[str, str]] = []
    with Tree.open(path) as tree:
        units = corpus.units(tree)
        for unit, part in units.items():
            try:
                recordings += corpus.read(part)
            except DataError as error:
                collected.append((unit, str(error).removeprefix(f"{path}: ").removeprefix(f"{unit}: ")))
        count = sum(len(part.names) for part in units.values())
    if corpus.files is not None and count < corpus.files:
        collected.append(
            ("", f"{count} of the publisher's {corpus.files} files are here: unpack or fetch the data set again")
        )
    collected += problems(recordings, corpus.classes)
    distinct = unique(recordings)
    return Inspection(corpus, path, distinct, collected, len(recordings) - len(distinct))


def count_windows(data: WindowSet) -> tuple[list[str], np.ndarray]:
    """Names of the people in natural order, and window counts (classes, people)."""
    people = sorted(set(data.subject.tolist()), key=natural)
    counts = np.stack([np.bincount(data.y[data.subject == p], minlength=len(data.classes)) for p in people], 1)
    return people, counts


def plot(recording: Recording, path: Path) -> None:
    """Draw one recording's channels over time, labels shaded, to an image file.

    Raises `DataError` for a file type that cannot be drawn and `MissingExtraError` without matplotlib.
    """
    require_extra("matplotlib", "report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(2 if recording.has_gyro else 1, 1, sharex=True, squeeze=False)[:, 0]
    t_s = np.arange(len(recording.x)) / recording.rate_hz
    units = ("acceleration (m/s²)", "angular rate (rad/s)")
    for panel, unit, first in zip(panels, units, (0, 3), strict=False):
        for column, axis in enumerate("xyz"):
            panel.plot(t_s, recording.x[:, first + column], label=axis, linewidth=0.8)
        panel.set_ylabel(unit)
        panel.margins(x=0)
        panel.legend(loc="upper right", ncols=3)
        shade(panel, recording)
    panels[-1].set_xlabel("time (s)")
    side = f"{recording.side} " if recording.side else ""
    panels[0].set_title(
        f"{recording.corpus} · person {recording.subject} · {recording.session} · {side}{recording.placement}"
    )
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be drawn ({error}). Use a name that ends in .png, .svg or .pdf") from None


def shade(panel: Any, recording: Recording) -> None:
    """Shade the labeled runs, with their labels where there is room."""
    names: Sequence[str] = sorted({label for label, *_ in recording.segments()} - {""})
    for label, start, stop in recording.segments():
        if label:
            span = start / recording.rate_hz, stop / recording.rate_hz
            panel.axvspan(*span, color=f"C{names.index(label) % 10}", alpha=0.08)
            if (stop - start) > len(recording.x) / 20:
                panel.text(np.mean(span), 0.02, label, transform=panel.get_xaxis_transform(), ha="center", fontsize=7)
