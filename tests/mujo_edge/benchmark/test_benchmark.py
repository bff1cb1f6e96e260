"""The benchmark: its measurements and reports, without requirements on speed."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from contrast import CONTRAST
from hostile_text import VISIBLE

from benchmarks import chromium
from mujo_edge.benchmark import CURVE, Missing, ModelCost, Report, Timing, measure, plan, run, time_calls
from mujo_edge.benchmark.report import html, terminal
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.core import DataError, MissingExtraError, pip_install
from mujo_edge.runtimes import RUNTIMES


@pytest.fixture(scope="module")
def report(bundle_folder: Path) -> Report:
    return run(bundle_folder, threads=2, calls=100)


def test_quantiles_are_in_microseconds() -> None:
    timing = Timing.of([1000 * n for n in range(1, 102)])
    assert (timing.p50_us, timing.p90_us, timing.p99_us, timing.max_us, timing.calls) == (51, 91, 100, 101, 101)


def test_every_call_is_timed() -> None:
    calls: list[int] = []
    times = time_calls(lambda: calls.append(1), 7)
    assert len(times) == len(calls) == 7
    assert all(t >= 0 for t in times)


def test_plan_is_every_file_in_every_runtime_at_one_thread_and_more(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    steps = [(model.file, info.name, threads) for model, info, threads in plan(manifest, 4)]
    assert len(steps) == len(set(steps)) == 12
    assert ("student_int8.tflite", "tflite-runtime", 4) in steps
    assert ("student_int8.onnx", "litert", 1) not in steps
    assert {threads for _, _, threads in plan(manifest, 1)} == {1}


def test_all_installed_runtimes_are_measured(report: Report) -> None:
    measured = {(cost.file, cost.runtime, cost.threads) for cost in report.models}
    assert {(file, runtime) for file, runtime, _ in measured} >= {
        ("student_int8.tflite", "litert"),
        ("student_fp32.tflite", "litert"),
        ("student_int8.pte", "executorch"),
        ("student_int8.onnx", "onnx"),
    }
    assert {threads for _, _, threads in measured} == {1, 2}


def test_measurement_is_complete(report: Report, bundle_folder: Path) -> None:
    for cost in report.models:
        latency = cost.latency
        assert 0 < latency.p50_us <= latency.p90_us <= latency.p99_us <= latency.max_us
        assert latency.calls == 100
        assert cost.file_bytes == (bundle_folder / cost.file).stat().st_size
        assert cost.runtime_version == RUNTIMES[cost.runtime].version
        assert cost.windows_per_s > 0
        assert cost.import_ms > 0
        assert cost.load_ms > 0
        assert cost.parity.snr_db > 20
        assert cost.parity.windows == 64
        assert list(cost.curve_us) == sorted(cost.curve_us)
        assert len(cost.curve_us) == len(CURVE)
        if sys.platform == "linux":
            assert cost.peak_rss_mb is not None
            assert cost.peak_rss_mb > 10


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_that_of_the_child_process(report: Report) -> None:
    """ru_maxrss would have carried over the peak of this process, which has torch loaded."""
    peaks = {cost.runtime: cost.peak_rss_mb or 0 for cost in report.models}
    assert peaks["litert"] < peaks["executorch"]


def test_whole_live_path_is_measured(report: Report) -> None:
    path = report.path
    assert set(path.stages) == {"queue", "preprocess", "inference", "total"}
    assert {timing.calls for timing in path.stages.values()} == {path.windows}
    assert path.windows > 200
    assert path.signal_s > 120
    assert path.speed > 1
    assert path.core_percent > 0


def test_missing_runtimes_have_their_pip_line(report: Report, bundle_folder: Path) -> None:
    if RUNTIMES["tflite-runtime"].version:
        pytest.skip("tflite-runtime is installed")
    (missing,) = report.missing
    assert missing.runtime == "tflite-runtime"
    assert "not installed" in missing.reason
    assert missing.install == f"{pip_install('tflite')} (in an environment of its own)"
    manifest = read_manifest(bundle_folder)
    absent = replace(RUNTIMES["onnx"], package="no-such-package", imports="no_such_package")
    assert measure(manifest, manifest.models[0], absent, 1, 100) == Missing(
        "onnx", "no-such-package is not installed", pip_install("onnx")
    )


def test_disappearing_model_is_a_data_error(bundle_copy: Path) -> None:
    manifest = read_manifest(bundle_copy)
    (bundle_copy / "student_int8.tflite").unlink()
    with pytest.raises(DataError, match=r"student_int8\.tflite in litert could not be measured: .*missing"):
        measure(manifest, manifest.model("litert"), RUNTIMES["litert"], 1, 100)


def test_progress_runs_from_start_to_end(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("executorch", "onnx"):
        monkeypatch.setitem(RUNTIMES, name, replace(RUNTIMES[name], package="none", imports="no_such_package"))
    progress: list[tuple[str, float]] = []
    result = run(bundle_folder, 1, 100, lambda step, fraction: progress.append((step, fraction)))
    assert progress[0] == ("student_int8.tflite in litert, 1 thread", 0)
    assert [fraction for _, fraction in progress] == sorted(fraction for _, fraction in progress)
    assert {missing.runtime for missing in result.missing} == {"executorch", "onnx", "tflite-runtime"}


def test_json_has_everything(report: Report) -> None:
    table = json.loads(json.dumps(report.table()))
    assert table["schema_version"] == 1
    assert set(table) == {"schema_version", "bundle", "version", "created", "machine", "models", "missing", "path"}
    assert set(table["models"][0]["latency"]) == {"p50_us", "p90_us", "p99_us", "max_us", "calls"}
    assert set(table["models"][0]["parity"]) == {"windows", "top1_agreement", "snr_db", "max_abs_delta"}


def test_terminal_tables_fit_80_columns(report: Report) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123 - closed with the console
    console.print(*terminal(report), sep="\n")
    text = console.export_text()
    console.file.close()
    assert "…" not in text
    assert pip_install("tflite") in text.replace("\n", " ")
    assert all(cost.file in text for cost in report.models)


def test_page_is_self_contained(report: Report) -> None:
    page = html(report)
    assert page.count("<svg") == page.count("</svg>") == 3
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page)
    assert "<script" not in page
    assert "@import" not in page
    for cost in report.models:
        assert f"<td>{cost.latency.p50_us:.1f}</td>" in page


@pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")
async def test_page_is_readable_on_a_phone_light_and_dark(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html(report))
    async with chromium.browser(tmp_path / "profile") as tab:
        await tab.open((tmp_path / "report.html").as_uri())
        await tab.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        for scheme in ("light", "dark"):
            await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            ratios = await tab.run(CONTRAST)
            assert len(ratios) > 40
            assert not [(step, ratio) for step, ratio in ratios if ratio < 4.5], scheme
        assert await tab.run("document.documentElement.scrollWidth") <= 390
        assert await tab.run("Math.min(...[...document.querySelectorAll('svg')].map((one) => one.clientWidth))") > 500


def test_names_are_escaped_in_the_page(report: Report) -> None:
    for name in VISIBLE.values():
        costs = [replace(cost, file=name, runtime=name) for cost in report.models]
        path = replace(report.path, recording=name, label_set=name)
        page = html(replace(report, bundle=name, version=name, models=costs, path=path))
        assert not {"script", "img"} & set(re.findall(r"<(\w+)", page))
        drawn = [unescape(each) for each in re.findall(r"<text [^>]*>([^<]*)</text>", page)]
        assert f"{name}, {name}" in drawn


def test_page_needs_the_report_extra(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(report.models[0], ModelCost)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[report\]'"):
        html(report)
