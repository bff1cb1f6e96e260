"""Serves an exported web folder to the phones around: https, a QR code, and the same address every time."""

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
from mujo_edge.sources.phone.server import PhoneServer, is_loopback, new_token, qr_code

INDEX, WORKER = "index.html", "sw.js"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For every file; index.html has a stricter one of its own. `frame-ancestors` has a meaning in a header only."""

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
"""By ending; the operating system's own table may say otherwise. Scripts and wasm do not run as another kind."""

REQUESTS_S = 200.0
"""One phone asks for every file of the folder at once."""

Announce = Callable[[str], None]


def listed(folder: Path) -> dict[str, Path]:
    """The files of a web folder by their paths in it: those in SHA256SUMS and itself, each as it is said there.

    Raises:
        UsageError: this is no web folder.
        DataError: a file is missing, changed or outside.
    """
    if not all((folder / name).is_file() for name in (INDEX, WORKER, CONTRACT, SUMS)):
        raise UsageError(f"{folder} is no exported web folder; make one with: mujo-edge export --target web --out DIR")
    files = {SUMS: folder / SUMS}
    for line in (folder / SUMS).read_text("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not (path.resolve().is_relative_to(folder.resolve()) and path.is_file() and sha256(path) == digest):
            raise DataError(f"{path} is missing or not what {SUMS} says; export the folder again")
        files[name] = path
    return files


def kept_token() -> str:
    """The token of this user's addresses: with a new one for every run, what a phone installed would be lost.

    It is the file web-token of `state_folder`.
    Raises `UsageError` if it cannot be kept there.
    """
    path = state_folder() / "web-token"
    try:
        if path.exists() and re.fullmatch(r"[\w-]{22}", token := path.read_text("utf-8", "replace"), re.ASCII):
            return token
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text(token := new_token(), "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be kept: {error.strerror}; make that folder yours") from error
    return token


def own_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """A TLS context of PEM files. Raises `UsageError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{certificate} and {key} are no certificate and its key in PEM: {reason}") from error
    return context


class WebServer:
    """Serves the files of a web folder. Raises what `listed`, `kept_token` and `PhoneServer` raise.

    Args:
        folder: what `mujo-edge export --target web` wrote.
        host, port: to bind to; None is loopback, and the port of phones.
        context: the certificate to serve https with; without it one is made for this run, and loopback has http.
    """

    def __init__(self, folder: Path, host: str | None, port: int | None, context: ssl.SSLContext | None = None) -> None:
        self._files: Mapping[str, Path] = listed(folder)
        self.local, self.trusted = is_loopback(host), context is not None
        self._door = PhoneServer(
            host,
            port,
            tls=context or not self.local,
            max_body=0,
            requests_s=REQUESTS_S,
            bytes_s=0.0,
            token=kept_token(),
        )
        self._door.app.router.add_get("/{token}/{path:.*}", self._file)

    @property
    def url(self) -> str:
        """What the phone opens; known once it listens."""
        return f"{self._door.origin}/{self._door.token}/"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve. Raises `DeviceError` if the address cannot be bound to."""
        async with self._door.open():
            yield

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self._files.get(request.match_info["path"] or INDEX)
        if path is None:
            raise web.HTTPNotFound
        # Asked for again every time, and sent only if it has changed: an export at the same address is seen at once.
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        kind = KINDS.get(path.suffix, "application/octet-stream")
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        return web.FileResponse(path, headers=headers | {"Content-Type": kind + charset})


async def serve(server: WebServer, announce: Announce) -> None:
    """Serve until canceled; `announce` is told the address, with a QR code, and how the phone gets to it."""
    async with server.open():
        announce(f"{qr_code(server.url)}\nOpen this on the phone:\n\n  {server.url}\n\n{reach(server)}")
        await asyncio.Event().wait()


def reach(server: WebServer) -> str:
    """What the person should know of this address."""
    if server.trusted:
        return "It works offline once it was opened there, and can be installed."
    if server.local:
        return (
            "Only this machine reaches it, or a phone by USB (adb reverse); for a phone in the same network give "
            "--host with this machine's address."
        )
    return (
        "The certificate was made for this run and nobody vouches for it: the browser warns once; go on. Browsers keep "
        "a page for offline use only from a server that they trust: give --certificate and --key for that, or put the "
        "folder on any https host."
    )
