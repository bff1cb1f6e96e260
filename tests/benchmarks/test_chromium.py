"""The browser driver reports requests and errors of a page, online and offline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import chromium

pytestmark = pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")

PAGE = """<!doctype html><html lang="en"><title>page</title><link rel="icon" href="data:,"><h1>A page</h1>
<a id="save" download="a b.csv" href="data:text/csv,t_s">save</a>
<script>navigator.serviceWorker.register("worker.js")</script>"""

WORKER = """
addEventListener("install", (event) => event.waitUntil(
  caches.open("a").then((cache) => cache.addAll(["./", "kept.txt"])).then(() => skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => event.respondWith(
  caches.match(event.request).then((kept) => kept || fetch(event.request))));
"""


@pytest.fixture
async def site() -> AsyncIterator[str]:
    app = web.Application()

    def serve(path: str, text: str, kind: str) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text=text, content_type=kind, headers={"Cache-Control": "no-store"})

        app.router.add_get(path, answer)

    serve("/", PAGE, "text/html")
    serve("/worker.js", WORKER, "text/javascript")
    serve("/kept.txt", "kept", "text/plain")
    serve("/other.txt", "other", "text/plain")
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_page_with_a_service_worker_works_offline(site: str, tmp_path: Path) -> None:
    async with chromium.browser(tmp_path / "profile") as tab:
        await tab.open(site)
        await tab.until("navigator.serviceWorker.controller !== null")
        await tab.downloads(tmp_path)
        await tab.run("document.getElementById('save').click()")
        assert await tab.run("fetch('other.txt').then((answer) => answer.text())") == "other"
        assert ("heading", "A page") in await tab.accessible()
        assert f"{site}kept.txt" in tab.urls, "requests of the service worker are listed too"
        while not (tmp_path / "a b.csv").exists():
            await tab.run("new Promise((done) => setTimeout(done, 50))")

        await tab.offline(True)
        await tab.reload()
        assert await tab.run("document.title") == "page"
        assert await tab.run("fetch('kept.txt').then((answer) => answer.text())") == "kept"
        assert await tab.run("fetch('other.txt').catch(() => 'offline')") == "offline"
        await tab.offline(False)
        assert await tab.run("fetch('other.txt').then((answer) => answer.text())") == "other"


async def test_errors_of_the_page_are_collected(site: str, tmp_path: Path) -> None:
    async with chromium.browser(tmp_path / "profile") as tab:
        await tab.open(site)
        assert not tab.errors
        await tab.run("console.error('one')")
        await tab.run("setTimeout(() => { throw new Error('two') })")
        await tab.run("fetch('missing.txt').then((answer) => answer.text())")
        await tab.run("new Promise((done) => setTimeout(done, 200))")
        assert [text for text in ("'one'", "two", "404") if not any(text in error for error in tab.errors)] == []
        with pytest.raises(RuntimeError, match="three"):
            await tab.run("throw new Error('three')")
        with pytest.raises(RuntimeError, match="NoSuch"):
            await tab.call("NoSuch.thing")
