"""`models pull` from a hub that sends too much, too slowly or invalid data: a one-line error and no files left."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web
from hub_stand_in import Hub, Repo, running_hub
from test_hub import contents, run

from mujo_edge.bundle.manifest import NO_DIGEST, text_digest
from mujo_edge.bundle.metered import GRACE_S, Meter
from mujo_edge.bundle.store import find_bundle
from mujo_edge.core import DataError, DeviceError

CARD = "/anna/wrist/resolve/" + "b" * 40 + "/MODEL_CARD.md"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        hub.repos["anna/wrist"] = Repo([("b" * 40, contents(find_bundle()))])
        yield hub


async def refused(hub: Hub, folder: Path, code: int, *options: object, **more: str) -> str:
    """The error of `models pull`, which ends within 30 s and leaves no files."""
    start = time.monotonic()
    done = await run(hub, folder, "pull", "anna/wrist", "--out", ".", *options, **more)
    assert time.monotonic() - start < 30
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert list(folder.iterdir()) == []
    assert all(line.isprintable() for line in done.stderr.splitlines())
    return done.stderr


async def test_endless_file_is_given_up_at_the_limit(hub: Hub, tmp_path: Path) -> None:
    sent = 0

    async def fault(request: web.Request) -> web.StreamResponse | None:
        nonlocal sent
        if request.path != CARD or request.method != "GET":
            return None
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))
            sent += 1 << 16

    hub.fault = fault
    message = await refused(hub, tmp_path / "a", 4, MUJO_EDGE_MAX_MB="8")
    assert "anna/wrist is not taken: MODEL_CARD.md is larger than 2 MB" in message
    assert sent < 32 << 20


async def test_bundle_that_is_too_large_is_given_up_and_the_limit_can_be_changed(hub: Hub, tmp_path: Path) -> None:
    assert "student_fp32.tflite is larger than 0.25 MB" in await refused(hub, tmp_path / "a", 4, MUJO_EDGE_MAX_MB="1")
    assert "MUJO_EDGE_MAX_MB='much': set it" in await refused(hub, tmp_path / "a", 2, MUJO_EDGE_MAX_MB="much")


async def test_file_sent_byte_by_byte_is_given_up(hub: Hub, tmp_path: Path) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.path != CARD or request.method != "GET":
            return None
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    hub.fault = fault
    message = await refused(hub, tmp_path / "a", 3, "--max-minutes", "0.05")
    assert "took more than 0.05 minutes and was given up at MODEL_CARD.md" in message


async def test_headers_that_never_end_are_given_up(hub: Hub, tmp_path: Path) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(b"HTTP/1.1 200 OK\r\n")
        while not request.transport.is_closing():
            request.transport.write(b"X: y\r\n")
            await asyncio.sleep(0.2)
        raise ConnectionResetError

    hub.fault = fault
    assert "given up at the answer" in await refused(hub, tmp_path / "a", 3, "--max-minutes", "0.03")


def test_slow_response_is_given_up_after_a_while() -> None:
    meter = Meter(10, 1.0, 1 << 30)
    meter.begin("student.pte", 1 << 20)
    meter.take(100, 100, GRACE_S - 1)
    meter.take(100, 20_000, GRACE_S + 1)
    with pytest.raises(DeviceError, match=r"student\.pte comes at less than 1 KB/s.*--min-speed 0"):
        meter.take(100, 1000, GRACE_S + 1)
    patient = Meter(10, 0.0, 1 << 30)
    patient.begin("student.pte", 1000)
    patient.take(1, 1, 1e6)
    with pytest.raises(DataError, match="larger than"):
        patient.take(1000, 1001, 1e6)


def test_other_threads_requests_are_not_counted() -> None:
    meter = Meter(10, 1.0, 10)
    response = httpx2.Response(200, content=b"x" * 100)
    meter._answered(response)
    assert response.read() == b"x" * 100
    assert meter.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        meter.run(lambda: 1 / 0)


def listing(names: list[str]) -> bytes:
    """The shipped bundle.json with other files and a matching digest."""
    table = json.loads((find_bundle() / "bundle.json").read_text("utf-8"))
    text = json.dumps(table | {"files": dict.fromkeys(names, "0" * 64), "sha256": NO_DIGEST})
    return text.replace(NO_DIGEST, text_digest(text, NO_DIGEST), 1).encode()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"f{n}" for n in range(20_000)], "it has 20,000 files, more than 500. --max-files allows more"),
        (["x" * 5000], "does not name the files of a bundle"),
        (["\U0001d538" * 180], "does not name the files of a bundle"),
    ],
    ids=["many", "long", "long in UTF-8"],
)
async def test_too_many_files_or_too_long_names_are_refused(
    hub: Hub, tmp_path: Path, names: list[str], message: str
) -> None:
    hub.repos["anna/wrist"] = Repo([("b" * 40, {"bundle.json": listing(names)})])
    assert message in await refused(hub, tmp_path / "a", 4)


ODD = {
    "no commit": b"{}",
    "a path for a commit": b'{"id": "anna/wrist", "sha": "../../../x"}',
    "a number for a commit": b'{"id": "anna/wrist", "sha": 5}',
    "deep": b"[" * 100_000,
    "kinds": b'{"id": 5, "sha": [], "siblings": 7, "createdAt": "\\u001b[31m", "tags": {"a": NaN}}',
    "not UTF-8": b"\xff\xfe{",
}


@pytest.mark.parametrize("what", ODD)
async def test_unexpected_json_is_a_one_line_error(hub: Hub, tmp_path: Path, what: str) -> None:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=ODD[what], content_type="application/json")

    hub.fault = fault
    assert "does not answer as a model hub does" in await refused(hub, tmp_path / "a", 3)


async def test_compressed_response_is_refused(hub: Hub, tmp_path: Path) -> None:
    """Its size would only be known once it has been taken."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        assert request.headers["Accept-Encoding"] == "identity"
        bomb = gzip.compress(bytes(1 << 24))
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    hub.fault = fault
    assert "compresses its answers (gzip) although it was asked not to" in await refused(hub, tmp_path / "a", 3)
