"""`python -m training.fimad.skeletons`: compare the skeletons of all sources in a table and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from mujo_edge.core import DataError, UsageError
from training.corpora.registry import data_root
from training.fimad.clip import JOINTS, Motion, Source, Take
from training.fimad.inspect import draw_skeleton, project
from training.fimad.sources import cmu, hdm05, mocap6, penn_action, ui_prmd, utd_mhad
from training.support.command import run
from training.support.provenance import git_commit

SOURCES = tuple(module.SOURCE for module in (hdm05, mocap6, cmu, ui_prmd, utd_mhad, penn_action))
EXAMPLES = ("squat", "deep squat", "jog")
"""Titles of takes that may be drawn; the first such take of each source is."""
SEGMENTS = {
    "trunk": ("pelvis", "neck"),
    "head": ("neck", "head"),
    "upper arm": ("{}_shoulder", "{}_elbow"),
    "forearm": ("{}_elbow", "{}_wrist"),
    "thigh": ("{}_hip", "{}_knee"),
    "shank": ("{}_knee", "{}_ankle"),
    "foot": ("{}_ankle", "{}_foot"),
}
MIN_KNOWN = 0.65
"""Minimum fraction of known joints in a take that is drawn; flat takes have at most 14 of 20."""
MOMENTS = 5
"""Number of frames drawn per take."""
REACH_M = 1.15
"""Half of the width and height of each panel."""

Data = Annotated[Path | None, typer.Option("--data", help="Folder of the data sets.  [default: $MUJO_DATA]")]
Out = Annotated[Path, typer.Option(help="Folder of skeletons.md, skeletons.json and skeletons.png.")]
Every = Annotated[int, typer.Option(min=1, help="Read only every Nth file of a source.")]


@dataclass(slots=True)
class Summary:
    """Statistics of one source's takes: lengths (m) of every take's segments, left and right; one take to draw."""

    failures: int = 0
    people: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    rates_hz: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lengths_m: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in SEGMENTS})
    example: Take | None = None

    def add(self, take: Take) -> None:
        """Add a take to the statistics."""
        self.people.add(take.subject)
        self.titles.add(take.name)
        self.rates_hz.append(take.motion.rate_hz)
        self.seconds += len(take.motion.x) / take.motion.rate_hz
        for name, (start, end) in SEGMENTS.items():
            both = [length_m(take.motion, start.format(side), end.format(side)) for side in ("left", "right")]
            self.lengths_m[name].append((both[0], both[1]))
        if take.name in EXAMPLES and self.example is None and np.isfinite(take.motion.x[:, :, 2]).mean() > MIN_KNOWN:
            self.example = take


def length_m(motion: Motion, start: str, end: str) -> float:
    """Median length of a segment, NaN if unknown; the 95th percentile for flat joints, which appear shortened."""
    difference = motion.x[:, JOINTS.index(end)] - motion.x[:, JOINTS.index(start)]
    lengths = np.linalg.norm(difference[:, ::2] if motion.flat else difference, axis=1)
    lengths = lengths[np.isfinite(lengths)]
    return float(np.percentile(lengths, 95 if motion.flat else 50)) if len(lengths) else float("nan")


def summarize(source: Source, path: Path, every: int, console: Console) -> Summary:
    """Read a source and count the tasks that fail."""
    summary = Summary()
    for task in track(list(source.tasks(path))[::every], source.name, console=console, transient=True):
        try:
            for take in task.read(*task.arguments):
                summary.add(take)
        except DataError:
            summary.failures += 1
    return summary


def row(summary: Summary) -> dict[str, object]:
    """Counts, mean and standard deviation over clips of each segment's length (cm), and the difference of the sides."""
    cells: dict[str, object] = {
        "clips": len(summary.rates_hz),
        "not usable": summary.failures,
        "people": len(summary.people),
        "titles": len(summary.titles),
        "minutes": round(summary.seconds / 60, 1),
        "rate_hz": round(float(np.median(summary.rates_hz)), 1),
    }
    differences = []
    for name, pairs in summary.lengths_m.items():
        lengths = 100 * np.array(pairs).reshape(-1, 2)
        whole = lengths[np.isfinite(lengths).all(1)]
        if len(whole):
            mean = whole.mean(1)
            cells[name] = [round(float(mean.mean()), 1), round(float(mean.std()), 1)]
            if "{}" in SEGMENTS[name][0]:
                differences.append(np.abs(whole[:, 0] - whole[:, 1]) / mean)
    cells["sides differ by (%)"] = round(100 * float(np.median(np.concatenate(differences))), 1)
    return cells


def table(rows: dict[str, dict[str, object]]) -> str:
    """Markdown table; lengths in cm as mean ± standard deviation over clips."""
    names = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    lines = [f"| source | {' | '.join(name.replace('rate_hz', 'rate (Hz)') for name in names)} |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for source, cells in rows.items():
        shown = (cells.get(name, "") for name in names)
        texts = (" ± ".join(map(str, cell)) if isinstance(cell, list) else str(cell) for cell in shown)
        lines.append(f"| {source} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def draw(examples: Sequence[Take]) -> Figure:
    """One row per take: `MOMENTS` frames to one scale, pelvis centered, viewed from beside the front; left blue, right
    red."""
    figure = Figure(figsize=(2 * MOMENTS, 2.1 * len(examples)), layout="constrained")
    panels = figure.subplots(len(examples), MOMENTS, squeeze=False, sharex=True, sharey=True)
    for line, take in zip(panels, examples, strict=True):
        flat = project(take.motion.x, take.motion.flat)
        flat[..., 0] -= flat[:, :1, 0]
        flat[..., 1] -= np.nanmin(flat[..., 1])
        frames = np.linspace(0, len(flat) - 1, MOMENTS).round().astype(int)
        for axes, frame in zip(line, frames, strict=True):
            draw_skeleton(axes, flat[frame])
            axes.set(xlim=(-REACH_M, REACH_M), ylim=(-0.1, 2 * REACH_M - 0.1), aspect="equal")
            axes.tick_params(labelsize=6)
            axes.set_title(f"{frame / take.motion.rate_hz:.1f} s", size=7)
        line[0].set_ylabel(f"{take.corpus}\n{take.name}", size=8)
    return figure


def main(data: Data = None, out: Out = Path("docs/fimad"), every: Every = 1) -> None:
    """Read the skeletons of every source that is found, count the clips, measure bones, and draw one clip of each."""
    root, console = data or data_root(), Console(stderr=True)
    present = {source.name: (source, path) for source in SOURCES if (path := source.find(root))}
    if not present:
        raise UsageError(f"no source of skeletons was found under {root}. Set MUJO_DATA to the folder that holds them")
    summaries = {name: summarize(source, path, every, console) for name, (source, path) in present.items()}
    rows = {name: row(summary) for name, summary in summaries.items() if summary.rates_hz}
    out.mkdir(parents=True, exist_ok=True)
    (out / "skeletons.md").write_text(table(rows))
    about = {"command": "python -m training.fimad.skeletons", "every": every, "git": git_commit(), "sources": rows}
    (out / "skeletons.json").write_text(json.dumps(about, indent=1) + "\n")
    draw([summary.example for summary in summaries.values() if summary.example]).savefig(out / "skeletons.png", dpi=80)
    console.print(table(rows))


if __name__ == "__main__":
    run(main)
