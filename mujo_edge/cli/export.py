"""`mujo-edge export`: folders for a product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.cli.arguments import BundleOption


def export(
    target: Annotated[
        str, typer.Option(metavar="web|android|ios|mcu|all", help="What the folder is for; web needs the extra `web`.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder goes, under the target's name.")],
    bundle: BundleOption = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|A,B,...",
            envvar="MUJO_EDGE_LABELS",
            help='Label set to start with, file of one (.json), or names of activities: "squat,deadlift".',
        ),
    ] = None,
) -> None:
    """Write a folder for an app, a web page or a microcontroller: model, labels, code, golden vectors, README."""
    from rich.console import Console

    from mujo_edge.export import export as run

    with Console(stderr=True).status("") as status:
        run(target, bundle, out, labels, lambda doing: status.update(doing), _show)


def _show(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{folder}: {len(files)} files, {size / 1e6:.1f} MB; start with {folder / 'README.md'}", flush=True)
