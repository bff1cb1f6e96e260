"""The exported web folder in headless Chromium: its own self-test page runs the models."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import chromium
from benchmarks.conformance.rows import Cost, Latency
from mujo_edge.core import F32, DataError, MissingExtraError
from mujo_edge.export.web import HOME

RUNTIMES = {"LiteRT.js": ("litert", "@litertjs/core"), "onnxruntime-web": ("onnx", "onnxruntime-web")}
"""What the page and npm call them."""

LOADED_S = 120.0
WINDOWS = "conformance.f32"
EMBED = """
(async () => {
  const values = new Float32Array(await (await fetch("%s")).arrayBuffer());
  const size = values.length / %d;
  const windows = Array.from({ length: %d }, (_, i) => values.subarray(i * size, (i + 1) * size));
  return mujo.embed("%s", windows);
})()
"""
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""A page that is isolated in this way has a clock with steps of 5 us instead of 100 us (W3C, High Resolution Time,
"coarsen time")."""


def in_browser(folder: Path, runtime: str, x: F32, costs: bool) -> tuple[F32, Cost, Latency | None]:
    """(N, 6, 1, T) prepared windows -> (N, D) by one of `RUNTIMES` in the page, its cost, and the page's own timing.

    Memory is what all of Chromium's processes hold more than with a page whose models are not there. Without `costs`
    there is neither memory nor timing.

    Raises:
        MissingExtraError: Chromium is not installed.
        DataError: the page does not load, or says that its model does not run.
    """
    if chromium.PATH is None:
        raise MissingExtraError("Chromium is not installed. Install it with: apt install chromium")
    try:
        loaded_mb, result, found, browser = asyncio.run(_visit(folder, runtime, x))
        rss_mb = loaded_mb - asyncio.run(_visit(folder, None, x[:0]))[0] if costs else None
    except (RuntimeError, TimeoutError) as error:
        raise DataError(f"selftest.html does not answer: {error!r}") from error
    name, package = RUNTIMES[runtime]
    own = _own(result, name)
    if own["error"]:
        raise DataError(f"selftest.html: {own['error']}")
    lock = json.loads((HOME / "package-lock.json").read_text("utf-8"))
    version = f"{lock['packages'][f'node_modules/{package}']['version']} in {browser}"
    timing = own["measured"]["timing"]
    latency = Latency(1e3 * timing["p50Ms"], 1e3 * timing["p99Ms"], timing["calls"]) if costs else None
    return np.asarray(found, np.float32), Cost(version, rss_mb), latency


async def _visit(folder: Path, runtime: str | None, x: F32) -> tuple[float, dict[str, Any], Any, str]:
    """Open selftest.html with the models of one runtime alone -> memory in MB, its result, embeddings, the browser."""
    name = RUNTIMES[runtime][0] if runtime else ""
    models = json.loads((folder / "mujo.json").read_text("utf-8"))["models"]
    hidden = {model["file"] for model in models if model["runtime"] != name}

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if path == WINDOWS:
            return web.Response(body=np.ascontiguousarray(x, "<f4").tobytes(), headers=ISOLATED)
        if path in hidden or not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise web.HTTPNotFound
        return web.FileResponse(folder / path, headers=ISOLATED)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    with tempfile.TemporaryDirectory(prefix="mujo-conformance-", ignore_cleanup_errors=True) as profile:
        async with TestServer(app) as server, chromium.browser(Path(profile)) as tab:
            await tab.open(str(server.make_url("/selftest.html")))
            result = await tab.until("window.mujo && mujo.result", LOADED_S)
            await tab.call("HeapProfiler.collectGarbage")
            memory_mb = tab.memory_mb()
            embed = name and not _own(result, name)["error"]
            found = await tab.run(EMBED % (WINDOWS, len(x), len(x), name)) if embed else None
            return memory_mb, result, found, (await tab.call("Browser.getVersion"))["product"]


def _own(result: dict[str, Any], name: str) -> dict[str, Any]:
    """What the page found out about one runtime."""
    return next(part for part in result["runtimes"] if part["runtime"] == name)
