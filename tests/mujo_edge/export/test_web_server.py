"""The server of the web app: only the folder's files, only at the tokened address, cacheable by browsers."""

from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from mujo_edge.core import DataError, DeviceError, UsageError
from mujo_edge.export.web.server import WebServer, listed, own_certificate, reach, serve, stored_token
from mujo_edge.files import sha256

FILES = {
    "index.html": "<!doctype html>",
    "sw.js": "self",
    "mujo.json": "{}",
    "wasm/runtime.wasm": "\0asm",
    "wasm/runtime.mjs": "export {}",
    "manifest.webmanifest": "{}",
    "model.tflite": "TFL3",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small web folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "web"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    summed(folder, FILES)
    (tmp_path / "secret").write_text("not for the network")
    return folder


def summed(folder: Path, names: Iterable[str]) -> None:
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


@asynccontextmanager
async def asked(server: WebServer, path: str, **headers: str) -> AsyncIterator[ClientResponse]:
    """A GET of a path below the server's address, or of an absolute one; sent as it stands."""
    origin, _, token = server.url.rstrip("/").rpartition("/")
    url = URL(origin + path if path.startswith("/") else f"{origin}/{token}/{path}", encoded=True)
    async with (
        ClientSession() as session,
        session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer,
    ):
        yield answer


async def test_files_have_their_media_type_and_are_revalidated(folder: Path) -> None:
    server = WebServer(folder, None, 0)
    async with server.open():
        assert server.url.startswith("http://127.0.0.1:")
        kinds = {
            "": "text/html; charset=utf-8",
            "sw.js": "text/javascript; charset=utf-8",
            "wasm/runtime.wasm": "application/wasm",
            "wasm/runtime.mjs": "text/javascript; charset=utf-8",
            "manifest.webmanifest": "application/manifest+json",
            "model.tflite": "application/octet-stream",
            "SHA256SUMS": "application/octet-stream",
        }
        for name, kind in kinds.items():
            async with asked(server, name) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == kind
                assert await answer.read() == (folder / (name or "index.html")).read_bytes()
                # A browser may keep it, but asks each time whether it is still that.
                assert answer.headers["Cache-Control"] == "no-cache"
                policy = answer.headers["Content-Security-Policy"]
                assert "script-src 'self' 'wasm-unsafe-eval';" in policy
                assert "default-src 'none'" in policy
                assert "accelerometer=(self)" in answer.headers["Permissions-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                tag = answer.headers["ETag"]
            async with asked(server, name, **{"If-None-Match": tag}) as answer:
                assert answer.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "..%2fsecret", "%2e%2e/secret", "wasm/../../secret", "wasm", "wasm/", "./index.html",
        "index.html/", "index.html%00", "%00", "nothing", "//etc/passwd", "%ff",
    ],
)  # fmt: skip
async def test_other_paths_are_not_served(folder: Path, path: str) -> None:
    server = WebServer(folder, None, 0)
    async with server.open():
        async with asked(server, path) as answer:
            assert answer.status in (400, 401, 403, 404)
            assert "not for the network" not in await answer.text()
        async with asked(server, "") as answer:
            assert answer.status == 200


async def test_only_the_tokened_address_is_served(folder: Path) -> None:
    server = WebServer(folder, None, 0)
    async with server.open():
        for path, status in (
            ("/", 404),
            ("/index.html", 404),
            (f"/{'x' * 22}/index.html", 403),
            (f"/{'x' * 22}/", 403),
        ):
            async with asked(server, path) as answer:
                assert answer.status == status
        async with asked(server, "", Host="evil.example") as answer:
            assert answer.status == 400
        async with ClientSession() as session, session.post(server.url, data=b"x") as answer:
            assert answer.status == 405


def test_address_is_stable(folder: Path, tmp_path: Path) -> None:
    token = stored_token()
    file = tmp_path / "state" / "mujo-edge" / "web-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert WebServer(folder, None, 1).url == WebServer(folder, None, 1).url == f"http://127.0.0.1:1/{token}/"
    for damaged in (b"", b"short", b"../../../../../../etc/x", b"\xff" * 22):
        file.write_bytes(damaged)
        again = stored_token()
        assert again != token
        assert again == stored_token()


def test_unwritable_token_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(UsageError, match=r"cannot be written.*make that folder yours"):
        stored_token()


async def test_https_with_a_certificate_of_the_run_or_of_the_user(folder: Path, tmp_path: Path) -> None:
    server = WebServer(folder, "0.0.0.0", 0)
    async with server.open():
        assert server.url.startswith("https://")
        assert "--certificate" in reach(server)
        async with asked(server, "") as answer:
            assert answer.status == 200
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    server = WebServer(folder, None, 0, own_certificate(certificate, key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with server.open(), ClientSession() as session, session.get(server.url, ssl=trusting) as answer:
        assert answer.status == 200
        assert "offline" in reach(server)


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("nothing.pem", "key.pem"), ("cert.pem", "nothing.pem"), ("cert.pem", "cert.pem"), ("cert.pem", "other.pem")],
)
def test_invalid_certificate_is_an_error(tmp_path: Path, certificate: str, key: str) -> None:
    authority = trustme.CA()
    issued, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(UsageError, match="are no certificate and its key in PEM"):
        own_certificate(tmp_path / certificate, tmp_path / key)


@pytest.mark.parametrize("name", ["index.html", "sw.js", "mujo.json", "SHA256SUMS"])
def test_other_folders_are_rejected(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match="is no exported web folder; make one with: mujo-edge export --target web"):
        listed(folder)


def test_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no exported web folder"):
        listed(tmp_path / "nothing")


@pytest.mark.parametrize(
    "line", [f"{'0' * 64}  index.html", f"{'0' * 64}  gone.js", "x", "  ", f"{'0' * 64}  ../secret"]
)
def test_damaged_folder_is_rejected(folder: Path, line: str) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(line + "\n")
    with pytest.raises(DataError, match="export the folder again"):
        listed(folder)


def test_checksum_list_must_stay_inside_the_folder(folder: Path) -> None:
    summed(folder, [*FILES, "../secret"])
    with pytest.raises(DataError, match="secret is missing or does not match SHA256SUMS"):
        listed(folder)
    (folder / "link").symlink_to("../secret")
    summed(folder, [*FILES, "link"])
    with pytest.raises(DataError, match="link is missing or does not"):
        listed(folder)


async def test_used_port_is_an_error(folder: Path) -> None:
    first = WebServer(folder, None, 0)
    async with first.open():
        port = int(first.url.split(":")[2].split("/")[0])
        with pytest.raises(DeviceError, match=f"cannot listen on 127.0.0.1, port {port}"):
            await serve(WebServer(folder, None, port), print)


@pytest.mark.parametrize("host", [None, "0.0.0.0"])
async def test_address_is_announced_with_a_qr_code_if_others_reach_it(folder: Path, host: str | None) -> None:
    server, lines = WebServer(folder, host, 0), []
    serving = asyncio.create_task(serve(server, lines.append))
    while not lines:
        await asyncio.sleep(0.01)
    assert f"\n\n  {server.url}\n" in lines[0]
    assert ("█" in lines[0], "adb reverse" in lines[0]) == (host is not None, host is None)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
