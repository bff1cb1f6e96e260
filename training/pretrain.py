"""Step 1: pretrain the teacher of a recipe: `python -m training.pretrain`.

Under torchrun it runs in several processes.
"""

from __future__ import annotations

import typer

from training.learn.distributed import rank_and_world, together
from training.recipes.recipe import read_recipe
from training.release.run import Run
from training.support.command import OutOption, RecipeOption, ShardsOption, run


def main(recipe: RecipeOption = "base", out: OutOption = None, shards: ShardsOption = None) -> None:
    """Pretrain the teacher of a recipe; under torchrun, in several processes."""
    chosen = read_recipe(recipe)
    with together(chosen.teacher.device):
        this = Run(chosen, out, shards)
        this.teacher()
        if rank_and_world()[0] == 0:
            typer.echo(f"teacher: {this.out / 'teacher.pt'}")


if __name__ == "__main__":
    run(main)
