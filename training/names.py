"""Add the vocabulary (names without training data, known by their text only) to a trained release.

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
    release: Annotated[Path, typer.Argument(help="release.pt of a run.")],
    teacher: Annotated[Path, typer.Argument(help="teacher.pt of the same run.")],
    out: Annotated[Path, typer.Option(help="The new release file.")],
    recipe: Annotated[str, typer.Option(help="The recipe of the run.")] = "base",
) -> None:
    """Add the vocabulary to a trained release, and print how well held-out windows find its names."""
    from training.release.bundle import load_checkpoint, save_checkpoint
    from training.support.tensors import load_tensors

    model, spec, calibration, gate, contents = load_checkpoint(release)
    state = load_tensors(teacher)["state"]
    text = TextProjection(model.config.embedding)
    text.load_state_dict(
        {name.removeprefix("text."): value for name, value in state.items() if name.startswith("text.")}
    )
    trained_with = read_recipe(recipe)
    labels = read_vocabulary(corpora=trained_with.corpora)
    known, metrics = known_names(text, model, labels, load_data(trained_with), spec)
    contents = replace(contents, vocabulary=known, metrics={**contents.metrics, "names": metrics})
    save_checkpoint(out, model, spec, calibration, gate, contents)
    typer.echo(json.dumps(metrics, indent=1))


if __name__ == "__main__":
    run(main)
