"""Serves an exported web folder to phones in the network: https, a QR code, and the same address every time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from mujo_edge.core import DataError, UsageError
from mujo_edge.export import CONTRACT, SUMS
from mujo_edge.files import sha256
from mujo_edge.folders import state_folder
from mujo_edge.sources.phone.server import PhoneServer, invitation, is_loopback, new_token, only_here

INDEX, WORKER = "index.html", "sw.js"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of every file; index.html adds a stricter one. `frame-ancestors` works only in a header."""

KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/plain",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
"""Media types by suffix; the operating system's table may differ, and scripts and wasm run only with these types."""

REQUESTS_S = 200.0
"""Requests per second that are allowed: a phone requests every file of the folder at once."""

Announce = Callable[[str], None]


def listed(folder: Path) -> dict[str, Path]:
    """The verified files of a web folder by relative path: SHA256SUMS, and all that it lists.

    Raises:
        UsageError: this is no web folder.
        DataError: a file is missing, does not match its hash, or is outside of the folder.
    """
    if not all((folder / name).is_file() for name in (INDEX, WORKER, CONTRACT, SUMS)):
        raise UsageError(f"{folder} is no exported web folder; make one with: mujo-edge export --target web --out DIR")
    files = {SUMS: folder / SUMS}
    for line in (folder / SUMS).read_text("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not (path.resolve().is_relative_to(folder.resolve()) and path.is_file() and sha256(path) == digest):
            raise DataError(f"{path} is missing or does not match {SUMS}; export the folder again")
        files[name] = path
    return files


def stored_token() -> str:
    """This user's stored URL token: a new one for every run would change the address of an installed page.

    It is the file web-token of `state_folder`. Raises `UsageError` if it cannot be stored there.
    """
    path = state_folder() / "web-token"
    try:
        if path.exists() and re.fullmatch(r"[\w-]{22}", token := path.read_text("utf-8", "replace"), re.ASCII):
            return token
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text(token := new_token(), "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; make that folder yours") from error
    return token


def own_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """A TLS context from PEM files. Raises `UsageError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{certificate} and {key} are no certificate and its key in PEM: {reason}") from error
    return context


class WebServer:
    """Serves the files of a web folder. Raises what `listed`, `stored_token` and `PhoneServer` raise.

    Args:
        folder: output of `mujo-edge export --target web`.
        host, port: address to bind to; None is loopback, and the port of the phone source.
        context: TLS context for https; without it a certificate is made for this run, and loopback uses http.
    """

    def __init__(self, folder: Path, host: str | None, port: int | None, context: ssl.SSLContext | None = None) -> None:
        self._files: Mapping[str, Path] = listed(folder)
        self.local, self.trusted = is_loopback(host), context is not None
        self._server = PhoneServer(
            host,
            port,
            tls=context or not self.local,
            max_body=0,
            requests_s=REQUESTS_S,
            bytes_s=0.0,
            token=stored_token(),
        )
        self._server.app.router.add_get("/{token}/{path:.*}", self._file)

    @property
    def url(self) -> str:
        """The URL that the phone opens; known once the server listens."""
        return f"{self._server.origin}/{self._server.token}/"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve. Raises `DeviceError` if the address cannot be bound to."""
        async with self._server.open():
            yield

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self._files.get(request.match_info["path"] or INDEX)
        if path is None:
            raise web.HTTPNotFound
        # Revalidated at every load, so that a new export at the same address shows at once.
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        kind = KINDS.get(path.suffix, "application/octet-stream")
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        return web.FileResponse(path, headers=headers | {"Content-Type": kind + charset})


async def serve(server: WebServer, announce: Announce) -> None:
    """Serve until canceled; `announce` is called with the address, its QR code, and how a phone reaches it."""
    async with server.open():
        announce(f"{invitation(server.url, server.local)}\n{reach(server)}")
        await asyncio.Event().wait()


def reach(server: WebServer) -> str:
    """A note for the user on who can reach this address, and how."""
    if server.trusted:
        return "Once opened, it works offline and can be installed."
    if server.local:
        return only_here()
    return (
        "The certificate is self-signed and made for this run: the browser warns once; continue. Browsers keep a page "
        "for offline use only if they trust its server: for that, give --certificate and --key, or put the folder on "
        "any https host."
    )
