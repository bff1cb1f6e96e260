"""Shipped files pass the gates, damaged ones fail, and missing tools are reported."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import Result as Ended
from typer.testing import CliRunner

from benchmarks import chromium
from benchmarks.conformance import __main__ as conformance
from benchmarks.conformance import child, runners
from benchmarks.conformance.__main__ import Bench, damaged, plan, shipped
from benchmarks.conformance.table import REFERENCE, File, Row, failed_gates, read_result
from benchmarks.conformance.windows import Windows, evaluation_windows
from mujo_edge import export
from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.core import DataError, MissingExtraError, pip_install
from mujo_edge.export import golden

FLOAT_IO = "student_int8_float_io.tflite"

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def data() -> Windows:
    return evaluation_windows(read_manifest(None), 80)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two artifacts that are exported without further tools."""
    root = tmp_path_factory.mktemp("artifacts")
    bundle = ModelBundle.load()
    labels = bundle.manifest.label_set()
    cases = golden.cases(bundle, labels)
    for target in ("android", "mcu"):
        (root / target).mkdir()
        export.write(target, export.Job(bundle, labels, cases, root / target))
    return root


@pytest.fixture
def artifacts(exported: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(exported, tmp_path / "artifacts"))


def overwritten(path: Path) -> None:
    """Flip all bits of the largest tensor of weights in a .tflite file."""
    content = path.read_bytes()
    buffers = schema.ModelT.InitFromPackedBuf(content, 0).buffers[:-2]  # the last two are metadata
    weights = max((bytes(buffer.data) for buffer in buffers if buffer.data is not None), key=len)
    assert content.count(weights) == 1
    path.write_bytes(content.replace(weights, bytes(byte ^ 0xFF for byte in weights)))


def tried(root: Path, data: Windows, file: File, *runtimes: str) -> list[Row]:
    with Bench(read_manifest(None), root, data, rounds=0) as bench:
        for runtime in runtimes:
            bench.add(file, runtime)
        bench.time()
    return bench.rows


def test_plan_has_every_file_once_in_every_runtime(exported: Path) -> None:
    files = shipped(read_manifest(None), exported)
    names = [file.path.name for file in files]
    assert len(set(names)) == len(names)
    artifacts = {file.path.name: file.artifacts for file in files}
    assert artifacts["student_int8.tflite"] == ("bundle", "mcu")
    assert artifacts[FLOAT_IO] == ("android",)
    pairs = {(file.path.name, runtime) for file, runtime in plan(files)}
    assert {("student_int8.tflite", REFERENCE), (FLOAT_IO, "tflite-runtime"), ("mujo_model.c", "C, Cortex-M4")} < pairs
    assert (FLOAT_IO, "LiteRT.js") not in pairs, (
        "only the web artifact's copy runs in LiteRT.js, and it is not exported"
    )


def test_damaged_copy_counts_as_a_separate_file(artifacts: Path) -> None:
    overwritten(artifacts / "mcu" / "student_int8.tflite")
    pairs = [(file.artifacts, runtime) for file, runtime in plan(shipped(read_manifest(None), artifacts))]
    assert (("mcu",), "tflite-micro") in pairs
    assert (("bundle",), "tflite-micro") in pairs


def test_unknown_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'abacus'"):
        list(plan([File(tmp_path, ("web",), "abacus", "int8", "int8")]))


def test_damaged_artifact_is_named(artifacts: Path) -> None:
    targets = ("android", "mcu")
    assert damaged(artifacts, targets) == []
    overwritten(artifacts / "android" / FLOAT_IO)
    (artifacts / "mcu" / "README.md").unlink()
    android, mcu = damaged(artifacts, targets)
    assert android.endswith(f"{FLOAT_IO} does not match SHA256SUMS")
    assert "README.md" in mcu
    assert "is no artifact" in damaged(artifacts, ("web",))[0]


@pytest.mark.parametrize("runtime", ["LiteRT", "tflite-runtime", "tflite-micro"])
def test_file_with_changed_weights_fails(artifacts: Path, data: Windows, runtime: str) -> None:
    path = artifacts / "android" / FLOAT_IO
    file = File(path, ("android",), "litert", "int8", "float32")
    reference = File(artifacts / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), artifacts, data, rounds=0) as bench:
        bench.add(reference, REFERENCE)
        bench.add(file, runtime)
        overwritten(path)
        bench.add(file, runtime)
    rows = bench.rows[1:]
    assert [failed_gates(row, all_tools=True) != [] for row in rows] == [False, True], rows


@pytest.mark.parametrize(
    ("name", "kind", "runtime"),
    [
        (FLOAT_IO, "litert", "LiteRT"),
        ("student_int8.onnx", "onnx", "onnxruntime"),
        ("student_int8.pte", "executorch", "ExecuTorch"),
    ],
)
def test_truncated_file_fails_with_the_reason(
    artifacts: Path, data: Windows, name: str, kind: str, runtime: str
) -> None:
    path = artifacts / "android" / name
    path.write_bytes(path.read_bytes()[:30_000])
    (row,) = tried(artifacts, data, File(path, ("android",), kind, "int8", "float32"), runtime)
    assert row.state == "failed"
    assert "its process ended" in row.note


def test_file_for_other_hardware_must_equal_that_of_the_bundle(artifacts: Path, data: Windows) -> None:
    manifest = read_manifest(None)
    lowered = next(file for file in shipped(manifest, artifacts) if file.format == "cortex_m")
    other = replace(lowered, artifacts=("mcu",))
    runtime = "ExecuTorch on Cortex-M"
    here, changed = (tried(artifacts, data, file, runtime)[0] for file in (lowered, other))
    assert (here.state, changed.state) == ("elsewhere", "failed")
    assert all(part in here.note for part in ("registered", "cortex_m.quantized_conv2d", "SNR"))
    assert failed_gates(changed, all_tools=False)


@needs_gcc
def test_one_changed_weight_in_c_fails(artifacts: Path, data: Windows) -> None:
    model = artifacts / "mcu" / "src" / "mujo_model.c"
    tflite = File(artifacts / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), artifacts, data, rounds=0) as bench:
        bench.add(tflite, "tflite-micro")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
        text = model.read_text("ascii")
        at = re.search(r"\{\s*(-?\d+), -?\d+,", text)  # the first list of weights
        assert at is not None
        model.write_text(text[: at.start(1)] + str(-1 - int(at[1])) + text[at.end(1) :], "ascii")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
        model.write_text("int none", "ascii")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
    same, other, refused = (failed_gates(row, all_tools=True) for row in bench.rows[1:])
    assert same == []
    assert "steps off tflite-micro" in other[0]
    assert "does not compile" in refused[0]


@pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_changed_weights_in_the_browser_fail(data: Windows, tmp_path: Path) -> None:
    export.export("web", None, tmp_path)
    files = {file.path.name: file for file in shipped(read_manifest(None), tmp_path)}
    (same,) = tried(tmp_path, data, files[FLOAT_IO], "LiteRT.js")
    overwritten(tmp_path / "web" / FLOAT_IO)
    (other,) = tried(tmp_path, data, files[FLOAT_IO], "LiteRT.js")
    assert failed_gates(same, all_tools=True) == []
    assert "steps off LiteRT" in failed_gates(other, all_tools=True)[-1]


def test_missing_tools_are_reported_with_the_install_command(
    artifacts: Path, data: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(runners.RUNTIMES["onnx"], package="no-such-package")
    monkeypatch.setitem(runners.RUNTIMES, "onnx", absent)
    monkeypatch.setattr(child.shutil, "which", lambda program: None)
    monkeypatch.setattr(chromium, "PATH", None)
    onnx = File(artifacts / "android" / "student_int8.onnx", ("android",), "onnx", "int8", "float32")
    model = File(artifacts / "mcu" / "src" / "mujo_model.c", ("mcu",), "c", "int8", "int8")
    rows = tried(artifacts, data, onnx, "onnxruntime", "onnxruntime-web")
    rows += tried(artifacts, data, model, "C, Cortex-M4")
    assert {row.state for row in rows} == {"missing"}
    wanted = (pip_install("onnx"), "apt install chromium", "apt install gcc-arm-none-eabi")
    assert [text in row.note for text, row in zip(wanted, rows, strict=True)] == [True] * 3


def test_artifact_that_cannot_be_written_is_a_missing_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(job: export.Job) -> export.Written:
        raise MissingExtraError("get npm")

    monkeypatch.setattr(export, "TARGETS", ("android",))
    monkeypatch.setattr("mujo_edge.export.android.write", cannot)
    (row,) = conformance.exported(tmp_path, lambda doing: None)
    assert (row.file, row.state, row.note) == ("android/", "missing", "get npm")


def test_timing_alternates_between_runtimes(data: Windows, exported: Path) -> None:
    file = File(exported / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), exported, data, rounds=2) as bench:
        bench.add(file, "LiteRT")
        bench.add(file, REFERENCE)
        bench.time()
    quick, slow = (row.latency for row in bench.rows)
    assert quick is not None
    assert slow is not None
    assert quick.ratio == 1
    assert slow.ratio == pytest.approx(slow.p50_us / quick.p50_us)
    assert quick.calls >= 2 * conformance.MIN_CALLS
    assert [row.cost is not None and row.cost.rss_mb is not None for row in bench.rows] == [True, True]


def called(*arguments: str) -> Ended:
    app = conformance.typer.Typer()
    app.command()(conformance.main)
    return CliRunner().invoke(app, list(arguments))


def test_command_exits_with_1_when_a_gate_fails(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TARGETS", ("android", "mcu"))
    quick = ("--artifacts", str(artifacts), "--windows", "1", "--rounds", "0", "--only", "LiteRT", "--check")
    ended = called(*quick, "--out", str(tmp_path / "result.json"))
    assert ended.exit_code == 0, ended.output
    result = read_result(json.loads((tmp_path / "result.json").read_text()))
    assert {row.runtime for row in result.rows} == {"LiteRT"}
    assert result.broken == ()
    overwritten(artifacts / "android" / FLOAT_IO)
    ended = called(*quick)
    assert ended.exit_code == 1
    assert "does not match SHA256SUMS" in " ".join(ended.output.split())  # the terminal's width wraps it
    assert f"gate: {FLOAT_IO} in LiteRT" in ended.output
    assert called(*quick[:-1]).exit_code == 0
    assert called("--docs", "--only", "LiteRT").exit_code == 2
    assert called("--only", "abacus").exit_code == 2
