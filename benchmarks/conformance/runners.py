"""Runs of one model file on all windows, wherever it can run: in a Python runtime, in a browser, on a Cortex-M4."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import chromium
from benchmarks.conformance.child import numbers, tools
from benchmarks.conformance.table import Cost, Latency
from firmware_bridge.simulator import student
from mujo_edge.core import F32, DataError, MissingExtraError
from mujo_edge.environments import last_words, python_with
from mujo_edge.export.web import HOME
from mujo_edge.runtimes import RUNTIMES

ROOT = Path(__file__).parents[2]
PINNED = ("tflite-runtime==2.14.0", "numpy>=1.26,<2")
ARENA_STEP, ARENA_MAX = 1024, 1 << 18
"""Bytes: resolution and upper bound of the search for the smallest tflite-micro arena."""
ANSWER_TIMEOUT_S = 300.0


def old_python() -> str:
    """Python of an environment that has only `PINNED`. Raises `MissingExtraError` where it cannot be made."""
    return python_with("tflite-runtime-2.14.0", PINNED, newest=(3, 11))


class PythonRunner:
    """One model file in one Python runtime, in a process of its own, with tflite-runtime 2.14 in its own environment.

    `runtime` is one of `benchmarks.conformance.child.PACKAGES`, or "c" with `model` the folder of exported sources.
    """

    def __init__(self, model: Path, runtime: str, x: F32, arena_bytes: int | None = None) -> None:
        info = RUNTIMES.get(runtime)
        if info and info.obstacle and not info.needs_numpy_1:
            raise MissingExtraError(f"{info.obstacle}. Install it with: {info.install}")
        self._folder = tempfile.TemporaryDirectory(prefix="mujo-conformance-")
        self._errors = (Path(self._folder.name) / "stderr").open("w+")
        windows = Path(self._folder.name) / "x.npy"
        np.save(windows, x)
        python = old_python() if info and info.needs_numpy_1 else sys.executable
        command = [python, "-m", "benchmarks.conformance.child", str(model.resolve()), runtime, str(windows)]
        self._process = subprocess.Popen(
            [*command, *([str(arena_bytes)] if arena_bytes else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.cost = Cost(**self._answer())
        except DataError:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        hung = threading.Timer(ANSWER_TIMEOUT_S, self._process.kill)
        hung.start()
        line = self._process.stdout.readline()
        hung.cancel()
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        self._errors.seek(0)
        raise DataError(f"its process ended ({code}): {last_words(self._errors.read())}")

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def embed(self) -> F32:
        """(N, D) raw model outputs of all windows."""
        file = Path(self._folder.name) / "y.npy"
        self._ask({"embed": str(file)})
        embeddings: F32 = np.load(file)
        return embeddings

    def times(self, calls: int) -> list[int]:
        """Nanoseconds of each of `calls` calls with one window."""
        return list(self._ask({"times": calls})["times"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()


def least_arena(model: Path, x: F32) -> int:
    """Smallest tflite-micro arena in bytes, rounded up to one KiB, in which the model runs."""

    def runs(arena_bytes: int) -> bool:
        try:
            PythonRunner(model, "tflite-micro", x[:1], arena_bytes).close()
        except DataError:
            return False
        return True

    too_small, enough = 0, ARENA_MAX
    while enough - too_small > ARENA_STEP:
        middle = (too_small + enough) // 2 // ARENA_STEP * ARENA_STEP
        too_small, enough = (too_small, middle) if runs(middle) else (middle, enough)
    return enough


BROWSER_RUNTIMES = {"LiteRT.js": ("litert", "@litertjs/core"), "onnxruntime-web": ("onnx", "onnxruntime-web")}
"""Names in the page and on npm."""

LOAD_TIMEOUT_S = 120.0
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
"""Headers of a cross-origin isolated page, whose clock has steps of 5 us instead of 100 us (W3C, High Resolution Time,
"coarsen time")."""


def in_browser(folder: Path, runtime: str, x: F32, costs: bool) -> tuple[F32, Cost, Latency | None]:
    """Run one of `BROWSER_RUNTIMES` in the self-test page of the exported web folder, in headless Chromium.

    Args:
        x: (N, 6, 1, T) prepared windows.
        costs: whether to measure memory and time. Memory is that of all of Chromium's processes, minus that of the same
            page without models; time is measured by the page.

    Returns:
        (N, D) embeddings, the cost and the latency.

    Raises:
        MissingExtraError: Chromium is not installed.
        DataError: the page does not load, or reports that its model does not run.
    """
    if chromium.PATH is None:
        raise MissingExtraError("Chromium is not installed. Install it with: apt install chromium")
    try:
        loaded_mb, result, embeddings, browser = asyncio.run(_visit(folder, runtime, x))
        rss_mb = loaded_mb - asyncio.run(_visit(folder, None, x[:0]))[0] if costs else None
    except (RuntimeError, TimeoutError) as error:
        raise DataError(f"selftest.html does not respond: {error!r}") from error
    name, package = BROWSER_RUNTIMES[runtime]
    report = _report(result, name)
    if report["error"]:
        raise DataError(f"selftest.html: {report['error']}")
    lock = json.loads((HOME / "package-lock.json").read_text("utf-8"))
    version = f"{lock['packages'][f'node_modules/{package}']['version']} in {browser}"
    timing = report["measured"]["timing"]
    latency = Latency(1e3 * timing["p50Ms"], 1e3 * timing["p99Ms"], timing["calls"]) if costs else None
    return np.asarray(embeddings, np.float32), Cost(version, rss_mb), latency


async def _visit(folder: Path, runtime: str | None, x: F32) -> tuple[float, dict[str, Any], Any, str]:
    """Open selftest.html with the models of one runtime only -> memory in MB, result, embeddings, browser version."""
    name = BROWSER_RUNTIMES[runtime][0] if runtime else ""
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
            result = await tab.until("window.mujo && mujo.result", LOAD_TIMEOUT_S)
            await tab.call("HeapProfiler.collectGarbage")
            memory_mb = tab.memory_mb()
            runs = name and not _report(result, name)["error"]
            embeddings = await tab.run(EMBED % (WINDOWS, len(x), len(x), name)) if runs else None
            return memory_mb, result, embeddings, (await tab.call("Browser.getVersion"))["product"]


def _report(result: dict[str, Any], name: str) -> dict[str, Any]:
    """The page's report on one runtime."""
    return next(part for part in result["runtimes"] if part["runtime"] == name)


def quantized(x: F32, sources: Path) -> student.Int8:
    """(N, 6, 1, T) prepared windows -> (N, T, 6), as `mujo_edge.runtimes.tflite` quantizes them."""
    model = numbers(sources)
    q = np.rint(x[:, :, 0] * np.float32(1 / model["INPUT_SCALE"]) + np.float32(model["INPUT_ZERO"]))
    return np.ascontiguousarray(q.clip(-128, 127).astype(np.int8).transpose(0, 2, 1))


def on_board(sources: Path, x: F32) -> tuple[F32, Cost]:
    """(N, D) embeddings of the exported C network on a Cortex-M4 in QEMU, and its cost: median instructions per window.

    Raises:
        MissingExtraError: the compiler or QEMU is not installed.
        DataError: it does not compile or does not run to its end.
    """
    version = tools("arm-none-eabi-gcc", "qemu-system-arm")
    model = numbers(sources)
    try:
        batch = student.cortex_m(sources, quantized(x, sources))
    except OSError as error:
        raise DataError(str(error)) from error
    embeddings = batch.embeddings.astype(np.float32) - np.float32(model["OUTPUT_ZERO"])
    embeddings *= np.float32(model["OUTPUT_SCALE"])
    arena = int(model["ARENA_BYTES"]) + batch.stack_bytes
    return embeddings, Cost(version, arena_bytes=arena, instructions=float(np.median(batch.instructions)))


def flash_bytes(sources: Path) -> int:
    """Flash bytes (code and tables) of the whole library compiled for a Cortex-M4. Raises as `on_board`."""
    tools("arm-none-eabi-gcc")
    try:
        sizes = student.sizes(sources)
    except OSError as error:
        raise DataError(str(error)) from error
    return sizes.text + sizes.rodata + sizes.data
