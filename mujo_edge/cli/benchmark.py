"""`mujo-edge benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.cli.arguments import Bundle


def benchmark(
    bundle: Bundle = None,
    threads: Annotated[int, typer.Option(min=1, help="Measure with so many threads besides one.")] = 1,
    calls: Annotated[int, typer.Option(min=100, help="Timed windows a model.")] = 2000,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page.")] = None,
) -> None:
    """Measure every model of a bundle in every installed runtime, and the whole live path."""
    import json as codec

    from rich.console import Console
    from rich.progress import Progress

    from mujo_edge import benchmark as bench
    from mujo_edge.benchmark import report
    from mujo_edge.core import UsageError, require_extra

    for out in (json, html):
        if out and not out.parent.is_dir():
            raise UsageError(f"{out} cannot be written: there is no folder {out.parent}")
    if html:
        for module in ("jinja2", "matplotlib"):  # before the minutes that the measurement takes
            require_extra(module, "report")
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        result = bench.run(
            bundle, threads, calls, lambda what, share: bar.update(task, description=what, completed=share)
        )
    Console().print(*report.terminal(result), sep="\n")
    if json:
        _write(json, codec.dumps(result.table(), indent=1) + "\n")
    if html:
        _write(html, report.html(result))


def _write(path: Path, text: str) -> None:
    from mujo_edge.core import UsageError

    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; give a path in a folder that exists") from error
