"""Arguments, options and output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from click import Context, Parameter

HELP = {"help_option_names": ["-h", "--help"]}
"""Click's context settings of every program of this project."""


class _FlagsWithoutType:
    """Lists options without a value as such in the help; Typer shows them as <bool>."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        params: list[Parameter] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(_FlagsWithoutType, TyperCommand):  # type: ignore[misc]
    """A command of our programs."""


class Group(_FlagsWithoutType, TyperGroup):  # type: ignore[misc]
    """A group of commands."""


def run_alone(function: Callable[..., Any]) -> None:
    """Run `function` as the only command of a program, as `typer.run` does, with -h."""
    app = typer.Typer(add_completion=False, context_settings=HELP)
    app.command(cls=Command)(function)
    app()


def _verbose(count: int) -> int:
    if count:
        import logging

        from mujo_edge import logs

        logs.show(logging.INFO if count == 1 else logging.DEBUG)
    return count


BUNDLE_VARIABLE = "MUJO_EDGE_BUNDLE"
BUNDLE_METAVAR = "NAME|OWNER/NAME|PATH"

Bundle = Annotated[
    str | None,
    typer.Argument(
        metavar=BUNDLE_METAVAR,
        envvar=BUNDLE_VARIABLE,
        show_envvar=False,
        help="A shipped or pulled bundle, or a bundle's folder; see `models list`.",
    ),
]
BundleOption = Annotated[
    str | None,
    typer.Option("--bundle", metavar=BUNDLE_METAVAR, envvar=BUNDLE_VARIABLE, help="Model bundle; see `models list`."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=_verbose,
        show_default=False,
        metavar="",
        help="Log connections and retries to stderr; -vv also payloads and timing. Or set MUJO_EDGE_LOG=info, debug.",
    ),
]


def print_json(content: object) -> None:
    """Write one indented JSON document to stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=False))
