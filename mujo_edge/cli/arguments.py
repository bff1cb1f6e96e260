"""Arguments and output that several commands share."""

from __future__ import annotations

import json
from typing import Annotated

import typer

Bundle = Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="A shipped bundle or a bundle's folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]


def print_json(content: object) -> None:
    """Write one indented JSON document to stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=False))
