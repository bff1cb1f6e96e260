"""Cross-modal retrieval on held-out clips: `python -m training.retrieval RUN --shards DIR --out docs/retrieval`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.signal import DEFAULT_INPUT
from training.evaluation.retrieval import markdown, plot, read_teacher, retrieve
from training.fimad.shards import corpora_of, read, shards_sha256
from training.learn.clip_pool import make_clip_pool
from training.support.command import run
from training.support.provenance import git_commit


def main(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run, with teacher.pt and run.json")],
    shards: Annotated[Path, typer.Option(help="clips from `python -m training.fimad build`")],
    out: Annotated[Path, typer.Option(file_okay=False, help="folder of table and figure")] = Path("runs/retrieval"),
    split: Annotated[str, typer.Option(help="val or train")] = "val",
) -> None:
    """Recall at 1 and 5 and median rank of every ordered pair of modalities, with those of chance."""
    recipe, model = read_teacher(folder)
    clips = make_clip_pool(read(shards, recipe.allowed_clips(corpora_of(shards)), split), DEFAULT_INPUT)
    scores = list(retrieve(model, clips, recipe.teacher.modalities))
    out.mkdir(parents=True, exist_ok=True)
    about = {"git_commit": git_commit(), "shards_sha256": shards_sha256(shards), "split": split, "clips": len(clips)}
    (out / "retrieval.json").write_text(json.dumps(about | {"scores": [asdict(s) for s in scores]}, indent=1) + "\n")
    (out / "retrieval.md").write_text(markdown(scores))
    plot(scores, out / "retrieval.png")
    typer.echo(markdown(scores))


if __name__ == "__main__":
    run(main)
