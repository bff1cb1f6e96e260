"""`mujo-edge serve`: the web app for the phones around."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="What `export --target web` wrote; if left out, a new one (extra `web`)."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="auto|ADDRESS",
            help="Address on which the phone finds this machine; loopback only if not given.",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port for the phone to find it at.")] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Certificate that the phone trusts; else one for this run."),
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
) -> None:
    """Serve the web app, which recognizes on the phone itself, over https and with a QR code, until Ctrl-C."""
    import asyncio
    from contextlib import suppress
    from tempfile import TemporaryDirectory

    from mujo_edge.core import UsageError, require_extra
    from mujo_edge.engine import on_signals

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together: give both")
    for module in ("aiohttp", "ifaddr", "segno", "trustme"):
        require_extra(module, "phone")
    from mujo_edge.export.web.server import WebServer, own_certificate
    from mujo_edge.export.web.server import serve as run
    from mujo_edge.sources.phone.server import reachable

    if host is not None:
        reachable(host)  # an error before anything is exported
    context = own_certificate(certificate, key) if certificate and key else None

    async def until_interrupted(server: WebServer) -> None:
        serving = asyncio.ensure_future(run(server, lambda text: print(text, file=sys.stderr, flush=True)))
        # asyncio.run alone misses a signal that comes just before its loop waits.
        with on_signals(asyncio.get_running_loop(), serving.cancel), suppress(asyncio.CancelledError):
            await serving

    with TemporaryDirectory(prefix="mujo-edge-") as temporary, suppress(KeyboardInterrupt):
        asyncio.run(until_interrupted(WebServer(folder or _exported(Path(temporary)), host, port, context)))


def _exported(out: Path) -> Path:
    """The shipped bundle's web folder, made now."""
    from rich.console import Console

    from mujo_edge.export import export

    with Console(stderr=True).status("") as status:
        return export("web", None, out, report=lambda doing: status.update(doing))[0]
