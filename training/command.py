"""How every `python -m training.<step>` runs: a user's mistake is a line on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from mujo_edge.core import MujoError


def run(function: Callable[..., Any]) -> None:
    """Run `function` as a Typer command and end the process with its exit code; 130 after Ctrl-C."""
    try:
        typer.run(function)
    except MujoError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        sys.exit(130)
