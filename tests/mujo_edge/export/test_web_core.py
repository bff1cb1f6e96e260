"""The page's TypeScript: type-checked, compared with golden streams, built, and run in a browser with both runtimes."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web as http

from benchmarks import chromium
from mujo_edge.bundle import ModelBundle, l2_normalize
from mujo_edge.bundle.manifest import Smoothing
from mujo_edge.core import CHANNELS, F32, F64, MissingExtraError, StreamInfo
from mujo_edge.export import Job, contract, export, golden, web
from mujo_edge.runtimes import open_model


def obstacle() -> str | None:
    """Why the page cannot be built here."""
    try:
        web.tools()
    except MissingExtraError as error:
        return f"Node.js and npm are not installed: {error}"
    return None


OBSTACLE = obstacle()
NODE = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
BROWSER = pytest.mark.skipif(not chromium.PATH, reason="chromium is not installed")
NO_RELAXED_SIMD = """
    const instantiate = WebAssembly.instantiate;
    WebAssembly.instantiate = (bytes, ...rest) =>
        bytes.byteLength < 100 ? Promise.reject(new WebAssembly.CompileError("no")) : instantiate(bytes, ...rest);
"""
"""A browser as Safari is: LiteRT.js asks with a tiny module."""

DONE = "!document.querySelector('#verdict').textContent.startsWith('Running')"
CSP = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("web", None, tmp_path_factory.mktemp("export"))[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with their tests, in a folder with the packages of package-lock.json."""
    folder = tmp_path_factory.mktemp("project")
    web.copy_sources(folder)
    shutil.copytree(web.HOME / "test", folder / "test")
    web.install(web.tools()[1], folder)
    return folder


def node(project: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program of node_modules."""
    command = [web.tools()[0], str(project / "node_modules" / script), *arguments]
    return subprocess.run(
        command, cwd=project, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
    )


def vitest(project: Path, artifact: Path, *files: str) -> subprocess.CompletedProcess[str]:
    return node(project, "vitest/vitest.mjs", "run", "--no-color", *files, MUJO_ARTIFACT=str(artifact))


def test_npm_packages_are_pinned_by_version_and_hash() -> None:
    table = json.loads((web.HOME / "package.json").read_text())
    versions = [*table["dependencies"].values(), *table["devDependencies"].values()]
    assert [version for version in versions if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    lock = (web.HOME / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(lock)["packages"].items() if name}
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    assert "registry" not in lock


@NODE
def test_types_check(project: Path) -> None:
    done = node(project, "typescript/bin/tsc", "--noEmit")
    assert done.returncode == 0, done.stdout


@NODE
def test_pipeline_equals_python(project: Path, artifact: Path) -> None:
    done = vitest(project, artifact)
    assert done.returncode == 0, done.stdout[-4000:]
    assert [case.name for case in golden_cases(artifact)] == ["even", "fast", "slow", "measured", "broken"]


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    windows: F32
    embeddings: F32


def golden_cases(folder: Path) -> list[Named]:
    names = [line.split(",")[0] for line in (folder / "golden" / "cases.csv").read_text().splitlines()[1:]]
    return [Named(name, *(read(folder, name, what, shape) for what, shape in SHAPES.items())) for name in names]


SHAPES = {"windows": (-1, 6, 1, 150), "embeddings": (-1, 96)}


def read(folder: Path, name: str, what: str, shape: tuple[int, ...]) -> F32:
    return np.frombuffer((folder / "golden" / f"{name}.{what}.f32").read_bytes(), "<f4").reshape(shape)


@NODE
def test_pipeline_equals_python_on_random_streams(project: Path, tmp_path: Path) -> None:
    """Random rates, faults, label sets and smoothing, recognized by Python and written as golden streams."""
    bundle, rng = with_odd_names(ModelBundle.load()), np.random.default_rng(5)
    cases = [random_case(bundle, rng, f"random{i}") for i in range(12)]
    assert any(event.label.startswith("sit,") for case in cases for event in case.predictions)
    reasons = {event.reason for case in cases for event in case.events if hasattr(event, "reason")}
    assert reasons == {"missing", "invalid", "clock", "constant"}
    job = Job(bundle, bundle.manifest.label_set(), tuple(cases), tmp_path)
    (tmp_path / "mujo.json").write_text(json.dumps(contract(job) | {"models": []}), "utf-8")
    golden.write(tmp_path / "golden", cases)
    done = vitest(project, tmp_path, "test/golden.test.ts")
    assert done.returncode == 0, done.stdout[-4000:]


def with_odd_names(bundle: ModelBundle) -> ModelBundle:
    """Labels as people name them."""
    sets = {
        name: replace(own, labels=tuple(replace(each, name=f'sit, "{each.name}": 立つ') for each in own.labels))
        for name, own in bundle.label_sets.items()
    }
    return replace(bundle, manifest=replace(bundle.manifest, label_sets=sets))


def random_case(bundle: ModelBundle, rng: np.random.Generator, name: str) -> golden.Case:
    """30 s at 20 to 120 Hz, or about the model's rate: a walk of values, with a fault of every kind somewhere."""
    hz, channels = float(rng.choice([rng.uniform(20, 120), bundle.input.rate_hz * 1.01])), int(rng.choice([3, 6]))
    n = round(30 * hz)
    t_s: F64 = rng.uniform(0, 1e6) + (np.arange(n) + rng.uniform(-0.2, 0.2, n)) / hz
    x = np.cumsum(rng.normal(0, 0.5, (n, channels)), 0).clip(-30, 30).astype(np.float32)
    dead = rng.integers(0, n, 3)
    x[dead[0]] = np.nan
    x[dead[1] : dead[1] + round(0.5 * hz), 0] = 1e4
    x[dead[2] : dead[2] + round(4.5 * hz), :3] = x[dead[2], :3]
    t_s[rng.integers(1, n) :] -= rng.uniform(1, 40)
    for late in rng.integers(1, n, 3):
        t_s[late] -= rng.uniform(0.1, 0.26)
    gone = int(rng.integers(0, n))
    keep = np.delete(np.arange(n), slice(gone, gone + round(0.4 * hz)))
    labels = bundle.label_sets[str(rng.choice(list(bundle.label_sets)))]
    method = ("hmm", "majority", "none")[int(rng.integers(3))]
    labels = replace(labels, smoothing=Smoothing(method, float(rng.uniform(0.5, 1)), int(rng.integers(1, 9))))
    rate_hz = None if rng.random() < 0.3 else round(hz)
    return golden.recognized(bundle, StreamInfo(name, CHANNELS[:channels], rate_hz), labels, t_s[keep], x[keep])


@NODE
def test_changed_golden_stream_is_detected(project: Path, artifact: Path, tmp_path: Path) -> None:
    for name in ("mujo.json", "golden"):
        (shutil.copytree if (artifact / name).is_dir() else shutil.copy)(artifact / name, tmp_path / name)
    samples = tmp_path / "golden" / "slow.samples.csv"
    samples.write_text(samples.read_text().replace("\n5.", "\n5.001", 1))
    done = vitest(project, tmp_path, "test/golden.test.ts")
    assert done.returncode == 1
    failed = set(re.findall(r"FAIL  test/golden.test.ts > '?(\w+)", done.stdout + done.stderr))
    assert failed == {"slow"}


@dataclass(slots=True)
class Site:
    """A static server of one folder below a path with a space, with some files `instead` of those there (None: 404)."""

    folder: Path
    instead: Mapping[str, bytes | None] = field(default_factory=dict)
    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: http.Request) -> http.StreamResponse:
        name = request.path.removeprefix("/any path/")
        self.asked.append(name)
        content = self.instead.get(name, b"") if name in self.instead else (self.folder / name).read_bytes()
        if content is None:
            return http.Response(status=404)
        # What a server sends that knows no more than these types.
        types = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"}
        kind = types.get(Path(name).suffix, "application/octet-stream")
        return http.Response(body=content, content_type=kind, headers={"Content-Security-Policy": CSP})


@asynccontextmanager
async def opened(site: Site, profile: Path, script: str = "") -> AsyncIterator[chromium.Tab]:
    """selftest.html of a site, in a browser, when it is done."""
    app = http.Application()
    app.router.add_get("/{any:.*}", site.answer)
    runner = http.AppRunner(app)
    await runner.setup()
    try:
        await http.TCPSite(runner, "127.0.0.1", 0).start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with chromium.browser(profile) as tab:
            if script:
                await tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
            await tab.open(f"{site.url}any%20path/selftest.html")
            await tab.until(DONE, 120)
            yield tab
    finally:
        await runner.cleanup()


async def embedded(tab: chromium.Tab, runtime: str, windows: F32) -> F32:
    rows = json.dumps(windows.reshape(len(windows), -1).tolist())
    return np.array(await tab.run(f"mujo.embed('{runtime}', {rows})"), np.float32)


@NODE
@BROWSER
@pytest.mark.parametrize("script", ["", NO_RELAXED_SIMD], ids=["as it is", "without relaxed SIMD"])
async def test_embeddings_and_events_of_the_page_equal_python(artifact: Path, tmp_path: Path, script: str) -> None:
    site = Site(artifact)
    cases = golden_cases(artifact)
    windows, expected = (np.concatenate([getattr(case, what) for case in cases]) for what in SHAPES)
    async with opened(site, tmp_path, script) as tab:
        result = await tab.run("mujo.result")
        assert result, await tab.run("document.body.innerText")
        litert, onnx = [await embedded(tab, name, windows) for name in ("litert", "onnx")]
        errors = [error for error in tab.errors if "No available adapters" not in error]  # a warning: there is no GPU
        urls = [url for url in tab.urls if not url.startswith(("data:", site.url))]
    assert result["passed"]
    assert result["chosen"] == "litert"
    assert [(case["name"], case["windows"]) for case in result["pipeline"]] == [
        (case.name, len(case.windows)) for case in cases
    ]
    assert np.abs(l2_normalize(litert) - expected).max() <= 1e-3
    own = open_model((artifact / "student_int8.onnx").read_bytes(), "onnx")
    assert np.abs(onnx - own.run(windows)).max() <= 1e-3
    assert urls == []
    assert errors == []
    wasm = {name for name in site.asked if name.endswith(".wasm")}
    variant = "_compat" if script else ""
    assert wasm == {f"wasm/litert_wasm{variant}_internal.wasm", "wasm/ort-wasm-simd-threaded.wasm"}


IMPORTED = """(async () => {
    const { openRuntime, parseContract, Recognizer } = await import("./mujo.js");
    const contract = parseContract(await (await fetch("mujo.json")).json());
    const runtime = await openRuntime(location.href, contract);
    const labels = contract.label_sets[contract.default_label_set];
    const recognizer = new Recognizer(contract, labels, { channels: 6, rateHz: 50 }, runtime);
    const lines = (await (await fetch("golden/even.samples.csv")).text()).trim().split("\\n").slice(1);
    const rows = lines.map((line) => line.split(",").map(Number));
    const x = Float32Array.from(rows.flatMap((row) => row.slice(1)));
    const events = await recognizer.push(Float64Array.from(rows, ([t]) => t), x);
    runtime.close();
    return events.map(({ label }) => label);
})()"""


@NODE
@BROWSER
async def test_pipeline_can_be_imported_by_other_pages(artifact: Path, tmp_path: Path) -> None:
    site = Site(artifact, {"selftest.html": b"<!doctype html><body><p id=verdict>a page of one's own</p></body>"})
    async with opened(site, tmp_path) as tab:
        labels = await tab.run(IMPORTED)
    with (artifact / "golden" / "even.events.csv").open(newline="", encoding="utf-8") as file:
        assert labels == [row["label"] for row in csv.DictReader(file)]


@NODE
@BROWSER
async def test_onnxruntime_is_the_fallback_for_litert(artifact: Path, tmp_path: Path) -> None:
    site = Site(artifact, {"wasm/litert_wasm_internal.js": None})
    async with opened(site, tmp_path) as tab:
        result = await tab.run("mujo.result")
        text = await tab.run("document.body.innerText")
    assert result["chosen"] == "onnx"
    assert [one["passed"] for one in result["runtimes"]] == [False, True]
    assert not result["passed"]
    assert "does not run" in text


DAMAGE: tuple[tuple[str, Callable[[bytes], bytes | None], str], ...] = (
    ("mujo.json", lambda old: old[:1000], "did not run"),
    ("mujo.json", lambda old: old.replace(b'"schema_version": 1', b'"schema_version": 2'), "schema version 2"),
    ("golden/slow.windows.f32", lambda old: old[:-4], "slow is incomplete"),
    ("golden/even.embeddings.f32", lambda old: old[96 * 4 :] + old[: 96 * 4], "FAILED"),
    ("golden/fast.events.csv", lambda old: old.replace(b"prediction,,4.", b"prediction,,4.0"), "FAILED"),
    ("student_int8_float_io.tflite", lambda old: old[:5000], "does not run"),
    ("golden/cases.csv", lambda old: None, "HTTP 404"),
)


@NODE
@BROWSER
async def test_incomplete_folder_is_reported(artifact: Path, tmp_path: Path) -> None:
    site = Site(artifact)
    async with opened(site, tmp_path) as tab:
        assert await tab.run("mujo.result.passed")
        for file, change, message in DAMAGE:
            site.instead = {file: change((artifact / file).read_bytes())}
            await tab.reload()
            await tab.until(DONE, 120)
            assert message in await tab.run("document.body.innerText"), file
            assert not await tab.run("mujo.result?.passed"), file


def test_each_export_has_its_own_edition(artifact: Path) -> None:
    worker = (artifact / "sw.js").read_text()
    assert web.EDITION not in worker
    assert re.search(r"[\"'`][0-9a-f]{16}[\"'`]", worker)
