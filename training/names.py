"""Add the vocabulary, names known by their words alone, to a trained release.

python -m training.names runs/base/release.pt runs/base/teacher.pt --recipe base --out runs/base/named.pt
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from training.corpora.labels import read_vocabulary
from training.models.sentence_embedding import TextProjection
from training.recipes.recipe import read_recipe
from training.recipes.splits import load_data
from training.release.vocabulary import known_names
from training.support.command import run


def main(
    release: Annotated[Path, typer.Argument(help="What training wrote for the export, release.pt.")],
    teacher: Annotated[Path, typer.Argument(help="The teacher whose text projection the student was distilled from.")],
    out: Annotated[Path, typer.Option(help="The release with names.")],
    recipe: Annotated[str, typer.Option(help="The recipe of the run.")] = "base",
) -> None:
    """Add names that are known by their words to a trained release."""
    from training.release.bundle import load_checkpoint, save_checkpoint
    from training.support.tensors import load_tensors

    model, spec, calibration, gate, made = load_checkpoint(release)
    state = load_tensors(teacher)["state"]
    text = TextProjection(model.config.embedding)
    text.load_state_dict(
        {name.removeprefix("text."): value for name, value in state.items() if name.startswith("text.")}
    )
    made_with = read_recipe(recipe)
    labels = read_vocabulary(corpora=made_with.corpora)
    known, found = known_names(text, model, labels, load_data(made_with), spec)
    made = replace(made, vocabulary=known, metrics={**made.metrics, "names": found})
    save_checkpoint(out, model, spec, calibration, gate, made)
    typer.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    run(main)
