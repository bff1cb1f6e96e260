"""Entry point and shared options of the commands `python -m training.<step>`: a `MujoError` becomes one line on stderr
and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from mujo_edge.cli.arguments import run_alone
from mujo_edge.core import MujoError


def step(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a Typer command that exits with the code of its error, 130 after Ctrl-C."""

    # Caught inside the command: Typer would end it without a message on Ctrl-C.
    @wraps(function)
    def guarded(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except MujoError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("stopped; the same command resumes from here", err=True)
            raise typer.Exit(130) from None

    return guarded


def run(function: Callable[..., Any]) -> None:
    """Run `function` as the only Typer command of a program; see `step`."""
    run_alone(step(function))


RecipeOption = Annotated[str, typer.Option("--recipe", help="tiny, base, or a .toml file")]


OutOption = Annotated[
    Path | None, typer.Option("--out", file_okay=False, help="folder of the run  [default: runs/RECIPE]")
]


ShardsOption = Annotated[
    Path | None,
    typer.Option("--shards", exists=True, file_okay=False, help="clips from `python -m training.fimad build`"),
]
