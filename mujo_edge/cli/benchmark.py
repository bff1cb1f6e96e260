"""`mujo-edge benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.cli.arguments import Bundle, Json, print_json

Out = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Also write the result: .json, or .html for one self-contained page (extra `report`).",
    ),
]


def benchmark(
    bundle: Bundle = None,
    threads: Annotated[
        int, typer.Option(min=1, envvar="MUJO_EDGE_THREADS", help="Measure with this many threads, too.")
    ] = 1,
    calls: Annotated[int, typer.Option(min=100, help="Timed windows a model.")] = 2000,
    json: Json = False,
    out: Out = None,
) -> None:
    """Measure every model of a bundle in every installed runtime, and the whole live path."""
    import json as codec

    from rich.console import Console
    from rich.progress import Progress

    from mujo_edge import benchmark as bench
    from mujo_edge.benchmark import report
    from mujo_edge.core import UsageError, require_extra

    for path in out or ():
        if path.suffix not in (".json", ".html"):
            raise UsageError(f"--out {path}: give a file that ends with .json or .html")
        if not path.parent.is_dir():
            raise UsageError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.suffix == ".html":
            for module in ("jinja2", "matplotlib"):  # before the minutes that the measurement takes
                require_extra(module, "report")
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        result = bench.run(
            bundle, threads, calls, lambda what, share: bar.update(task, description=what, completed=share)
        )
    if json:
        print_json(result.table())
    else:
        Console().print(*report.terminal(result), sep="\n")
    for path in out or ():
        _write(path, report.html(result) if path.suffix == ".html" else codec.dumps(result.table(), indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    from mujo_edge.core import UsageError

    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give a path in a folder that exists") from error
