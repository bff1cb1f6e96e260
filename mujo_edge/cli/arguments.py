"""Arguments, options and output that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

HELP = {"help_option_names": ["-h", "--help"]}
"""Click's context settings of every program of this project."""


def run_alone(function: Callable[..., Any]) -> None:
    """Run `function` as the only command of a program, as `typer.run` does, with -h."""
    app = typer.Typer(add_completion=False, context_settings=HELP)
    app.command()(function)
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
        metavar=f"[{BUNDLE_METAVAR}]",
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
