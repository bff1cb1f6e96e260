"""Step 2: distill the student of a recipe: `python -m training.distill --recipe NAME`."""

from __future__ import annotations

import typer

from training.recipes.recipe import read_recipe
from training.release.run import Run
from training.support.command import OutOption, RecipeOption, ShardsOption, run


def main(recipe: RecipeOption = "base", out: OutOption = None, shards: ShardsOption = None) -> None:
    """Distill the student of a recipe from its teacher, which is pretrained first if it is missing."""
    this = Run(read_recipe(recipe), out, shards)
    this.student(this.teacher())
    typer.echo(f"student: {this.out / 'student.pt'}")


if __name__ == "__main__":
    run(main)
