"""The recording that is shipped with mujo-edge, from one person of SPAR: `python -m training.demo_recording`.

The publisher recorded every exercise as a trial of its own. The middle parts of the seven trials of one side are joined
end to end on one 50 Hz clock, as session.json states.
"""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mujo_edge.core import CHANNELS, Chunk, DataError, StreamInfo, UsageError
from mujo_edge.recordings.writer import SessionWriter
from training.corpora import registry
from training.corpora.base import Recording
from training.support.command import run

SHIPPED = Path("mujo_edge/assets/recordings")
LICENSE_FILE = "LICENSE-SPAR"


def middle(recording: Recording, seconds: float) -> slice:
    """The middle `seconds` of a trial, or all of a shorter one; people get ready at the start and stop at the end."""
    n = min(len(recording.x), round(seconds * recording.rate_hz))
    start = (len(recording.x) - n) // 2
    return slice(start, start + n)


def build(subject: str, side: str, seconds: float) -> tuple[StreamInfo, Chunk, list[str]]:
    """Join one person's trials: the stream, all samples as one chunk, and notes for the reader."""
    corpus = registry.get("spar")
    trials = {str(r.labels[0]): r for r in registry.load("spar") if (r.subject, r.side) == (subject, side)}
    if set(trials) != set(corpus.classes):
        raise UsageError(f"SPAR has no person {subject!r} with all exercises on the {side} side; there are 1 to 10")
    parts = [(trials[name], middle(trials[name], seconds)) for name in corpus.classes]
    x = np.concatenate([trial.x[part] for trial, part in parts])
    truth = tuple(str(label) for trial, part in parts for label in trial.labels[part])
    t_s = np.arange(len(x)) / 50.0
    info = StreamInfo(f"SPAR person {subject}, {side} wrist", CHANNELS, 50.0, placement="wrist", labels="physio-wrist")
    notes = [
        f"Person {subject} of SPAR, {side} side, Apple Watch. The publisher recorded each exercise as a trial of its "
        f"own; the middle {seconds:g} s of each are joined here end to end on one 50 Hz clock.",
        "Units turned from g and rad/s into m/s2 (specific force: +9.81 m/s2 on the axis that points up) and rad/s.",
        corpus.citation,
        f"Data: {corpus.home}, BSD-3-Clause, see {LICENSE_FILE} beside this folder.",
    ]
    return info, Chunk(t_s, x, 0.0, 0, truth), notes


def license() -> str:
    """Statement of the covered files, and the license of the seglearn package, which contains the data."""
    paths = [path for path in files("seglearn") or [] if path.name == "LICENSE"]
    if not paths:
        raise DataError("the license of seglearn is not installed with it; install seglearn again with pip")
    return (
        "The recordings named spar-* in this folder are taken from the SPAR watch data set in the Python package\n"
        f"seglearn ({registry.get('spar').home}), under the license below.\n\n"
        f"Please cite: {registry.get('spar').citation}\n\n{paths[0].read_text()}"
    )


def main(
    subject: Annotated[str, typer.Option(help="Number of a person that no shipped model was trained on.")],
    out: Annotated[Path | None, typer.Option(help=f"Session folder.  [default: {SHIPPED}/spar-SUBJECT]")] = None,
    side: Annotated[str, typer.Option(help="left or right")] = "right",
    seconds: Annotated[float, typer.Option(min=18, max=25, help="Seconds of each exercise.")] = 22.0,
    replace: Annotated[bool, typer.Option(help="Remove existing spar-* recordings.")] = False,
) -> None:
    """Write the shipped recording."""
    out = out or SHIPPED / f"spar-{subject}"
    info, chunk, notes = build(subject, side, seconds)
    text = license()
    if replace:
        for old in out.parent.glob("spar-*/session.json"):
            shutil.rmtree(old.parent)
    with SessionWriter(out, info, source="SPAR (seglearn)", notes=notes) as session:
        session.write(chunk)
    (out.parent / LICENSE_FILE).write_text(text)
    typer.echo(f"{out}: {len(chunk.t_s)} samples, {len(chunk.t_s) / 50:.0f} s, {len(set(chunk.truth or ()))} exercises")


if __name__ == "__main__":
    run(main)
