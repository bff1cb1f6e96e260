"""The table's arithmetic, the gates, and that a damaged file does not pass them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import Result as Ended
from typer.testing import CliRunner

from benchmarks import chromium, conformance, conformance_c, conformance_python
from benchmarks.conformance import Bench, damaged, plan, shipped
from benchmarks.conformance_rows import REFERENCE, Cost, File, Latency, Row, broken, compared
from benchmarks.conformance_table import Result, accuracy, cost, markdown, percent, result, write_page
from benchmarks.conformance_windows import Agreement, Windows, windows
from mujo_edge import export
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import MissingExtraError
from mujo_edge.export import golden
from mujo_edge.manifest import Label, LabelSet, Parity, Smoothing, read_manifest

FLOAT_IO = "student_int8_float_io.tflite"

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def judged() -> Windows:
    return windows(read_manifest(None), 80)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the artifacts, which need no tool."""
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


def tried(root: Path, judged: Windows, file: File, *runtimes: str) -> list[Row]:
    with Bench(read_manifest(None), root, judged, rounds=0) as bench:
        for runtime in runtimes:
            bench.add(file, runtime)
        bench.time()
    return bench.rows


def two_classes(y: list[list[float]]) -> Windows:
    """(N, 2) embeddings of length 1 judged by prototypes on the axes."""
    labels = LabelSet(
        "set", (Label("a", ()), Label("b", ())), np.eye(2, dtype=np.float32), "wrist", 0.1, 0.0, Smoothing(), 6
    )
    truth = np.array(y, np.float32)
    x = np.zeros((len(y), 6, 1, 150), np.float32)
    return Windows(x, truth, np.full(len(y), "set"), 0, truth, 0.1, {"set": labels})


def at_angle(*degrees: float) -> list[list[float]]:
    return [[float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))] for angle in degrees]


def row(**changes: object) -> Row:
    ran = Row("a.tflite", ("web",), "int8", "float32", 1000, "LiteRT.js", "ran", cost=Cost("1"), windows=10)
    same = Agreement(1.0, 0.0, 0.0)
    full = replace(ran, parity=Parity(10, 1.0, 25.0, 0.01), clear_top1=1.0, int8=same, twin=same)
    return replace(full, **changes)  # type: ignore[arg-type]


def test_windows_begin_with_the_references_and_go_on_with_the_recording() -> None:
    manifest = read_manifest(None)
    reference = manifest.read_reference()
    few, many, alone = windows(manifest, 1), windows(manifest, 100), windows(manifest, 100, channels=3)
    assert len(few.x) == few.references == len(reference.x)
    assert many.x.shape == (100, 6, 1, 150)
    assert set(many.member[64:]) == {"physio-wrist"}
    np.testing.assert_array_equal(many.y[:64], reference.y)
    np.testing.assert_allclose(np.linalg.norm(many.y, axis=1), 1, atol=1e-5)
    assert (alone.references, np.abs(alone.x[:, 3:]).max()) == (0, 0)
    np.testing.assert_array_equal(alone.x[:, :3], many.x[:, :3])
    assert many.agreement(many.int8) == Agreement(1.0, 0.0, 0.0)
    assert many.parity(many.int8).snr_db > 20


def test_agreement_is_counted_in_windows_and_in_steps() -> None:
    judged = two_classes(at_angle(0, 30, 60, 90))
    found = judged.int8.copy()
    found[2, 0] += 0.2
    agreement = judged.agreement(found)
    assert (agreement.equal, agreement.max_lsb) == (0.75, pytest.approx(2, abs=1e-5))
    assert agreement.max_delta == pytest.approx(0.7 / np.hypot(0.7, np.sin(np.radians(60))) - 0.5, abs=1e-5)
    assert judged.agreement(judged.int8 + np.float32(1e-6)).equal == 1, "what float32 rounds is not another int8"


def test_near_ties_count_in_one_column_and_not_in_the_other() -> None:
    judged = two_classes(at_angle(0, 44.8, 60, 90))
    found = np.array(at_angle(0, 45.2, 60, 90), np.float32)
    assert (judged.parity(found).top1_agreement, judged.clear_top1(found)) == (0.75, 1.0)
    found = np.array(at_angle(0, 44.8, 30, 90), np.float32)
    assert judged.clear_top1(found) == pytest.approx(2 / 3)


def test_a_row_is_compared_with_what_has_the_same_kernels() -> None:
    judged = two_classes(at_angle(0, 30, 60, 90))
    other = judged.int8 + np.float32(0.1)
    found = compared(row(runtime="C, host"), other, judged, {"tflite-micro": other[:3]})
    assert found.twin == Agreement(1.0, 0.0, 0.0)
    assert found.int8 is not None
    assert found.int8.max_lsb == pytest.approx(1, abs=1e-5)
    assert compared(row(runtime="C, host"), other, judged, {}).twin is None
    assert compared(row(precision="fp32", runtime="LiteRT"), other, judged, {"LiteRT": other}).twin is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"clear_top1": 0.98}, "top-1 agreement 98.0 %"),
        ({"parity": Parity(10, 0.5, 25.0, 0.01)}, None),
        ({"parity": Parity(10, 1.0, 19.9, 0.01)}, "SNR 19.9 dB, below 20"),
        ({"parity": Parity(10, 1.0, float("nan"), 0.01)}, "SNR nan dB"),
        ({"precision": "fp32", "parity": Parity(10, 1.0, 40.0, 0.01)}, "below 60 dB"),
        ({"twin": Agreement(0.9, 1.0, 0.01)}, "1.0 steps off LiteRT, more than 0"),
        ({"twin": Agreement(0.9, 1.0, 0.01), "runtime": "tflite-micro"}, None),
        ({"twin": Agreement(0.9, float("nan"), 0.01)}, "nan steps off"),
        ({"twin": None}, "nothing to compare it with: LiteRT did not run"),
        ({"state": "failed", "note": "no"}, "a.tflite in LiteRT.js: no"),
        ({"state": "missing", "note": "no"}, None),
        ({"state": "elsewhere", "note": "no"}, None),
    ],
)
def test_gates(changes: dict[str, object], said: str | None) -> None:
    found = broken(row(**changes), all_tools=False)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_with_all_tools_a_missing_runtime_is_a_failure() -> None:
    assert broken(row(state="missing", note="get it"), all_tools=True) == ["a.tflite in LiteRT.js: get it"]


def test_every_file_once_in_every_runtime(exported: Path) -> None:
    files = shipped(read_manifest(None), exported)
    names = [file.path.name for file in files]
    assert len(set(names)) == len(names)
    held = {file.path.name: file.artifacts for file in files}
    assert held["student_int8.tflite"] == ("bundle", "mcu")
    assert held[FLOAT_IO] == ("android",)
    pairs = {(file.path.name, runtime) for file, runtime in plan(files)}
    assert {("student_int8.tflite", REFERENCE), (FLOAT_IO, "tflite-runtime"), ("mujo_model.c", "C, Cortex-M4")} < pairs
    assert (FLOAT_IO, "LiteRT.js") not in pairs, "that one is of the web artifact, which is not there"


def test_a_damaged_artifact_is_named(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TARGETS", ("android", "mcu"))
    assert damaged(artifacts) == []
    overwritten(artifacts / "android" / FLOAT_IO)
    (artifacts / "mcu" / "README.md").unlink()
    android, mcu = damaged(artifacts)
    assert android.endswith(f"{FLOAT_IO} is not what SHA256SUMS says")
    assert "README.md" in mcu
    monkeypatch.setattr(export, "TARGETS", ("web",))
    assert "is no artifact" in damaged(artifacts)[0]


@pytest.mark.parametrize("runtime", ["LiteRT", "tflite-runtime", "tflite-micro"])
def test_a_file_with_other_weights_fails(artifacts: Path, judged: Windows, runtime: str) -> None:
    path = artifacts / "android" / FLOAT_IO
    file = File(path, ("android",), "litert", "int8", "float32")
    reference = File(artifacts / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), artifacts, judged, rounds=0) as bench:
        bench.add(reference, REFERENCE)
        bench.add(file, runtime)
        overwritten(path)
        bench.add(file, runtime)
    rows = bench.rows[1:]
    assert [broken(found, all_tools=True) != [] for found in rows] == [False, True], rows


@pytest.mark.parametrize(
    ("name", "kind", "runtime"),
    [
        (FLOAT_IO, "litert", "LiteRT"),
        ("student_int8.onnx", "onnx", "onnxruntime"),
        ("student_int8.pte", "executorch", "ExecuTorch"),
    ],
)
def test_half_a_file_fails_and_says_why(artifacts: Path, judged: Windows, name: str, kind: str, runtime: str) -> None:
    path = artifacts / "android" / name
    path.write_bytes(path.read_bytes()[:30_000])
    (found,) = tried(artifacts, judged, File(path, ("android",), kind, "int8", "float32"), runtime)
    assert found.state == "failed"
    assert "its process ended" in found.note


@needs_gcc
def test_one_other_weight_in_c_fails(artifacts: Path, judged: Windows) -> None:
    model = artifacts / "mcu" / "src" / "mujo_model.c"
    tflite = File(artifacts / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), artifacts, judged, rounds=0) as bench:
        bench.add(tflite, "tflite-micro")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
        text = model.read_text("ascii")
        at = re.search(r"int8_t \w+\[\w*\] = \{\s*(-?\d+)", text)
        assert at is not None
        model.write_text(text[: at.start(1)] + str(-1 - int(at[1])) + text[at.end(1) :], "ascii")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
        model.write_text("int none", "ascii")
        bench.add(File(model, ("mcu",), "c", "int8", "int8"), "C, host")
    same, other, refused = (broken(found, all_tools=True) for found in bench.rows[1:])
    assert same == []
    assert "steps off tflite-micro" in other[0]
    assert "does not compile" in refused[0]


@pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_other_weights_in_the_browser_fail(judged: Windows, tmp_path: Path) -> None:
    export.export("web", None, tmp_path)
    files = {file.path.name: file for file in shipped(read_manifest(None), tmp_path)}
    (same,) = tried(tmp_path, judged, files[FLOAT_IO], "LiteRT.js")
    overwritten(tmp_path / "web" / FLOAT_IO)
    (other,) = tried(tmp_path, judged, files[FLOAT_IO], "LiteRT.js")
    assert broken(same, all_tools=True) == []
    assert "steps off LiteRT" in broken(other, all_tools=True)[-1]


def test_what_is_not_installed_is_told(artifacts: Path, judged: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(conformance_python.RUNTIMES["onnx"], package="no-such-package")
    monkeypatch.setitem(conformance_python.RUNTIMES, "onnx", absent)
    monkeypatch.setattr(conformance_c.shutil, "which", lambda program: None)
    monkeypatch.setattr(chromium, "PATH", None)
    onnx = File(artifacts / "android" / "student_int8.onnx", ("android",), "onnx", "int8", "float32")
    model = File(artifacts / "mcu" / "src" / "mujo_model.c", ("mcu",), "c", "int8", "int8")
    rows = tried(artifacts, judged, onnx, "onnxruntime", "onnxruntime-web")
    rows += tried(artifacts, judged, model, "C, Cortex-M4")
    assert {found.state for found in rows} == {"missing"}
    wanted = ("pip install 'mujo-edge[onnx]'", "apt install chromium", "apt install gcc-arm-none-eabi")
    assert [text in found.note for text, found in zip(wanted, rows, strict=True)] == [True] * 3


def test_an_environment_that_pip_cannot_fill_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    conformance_python.old_python.cache_clear()
    with pytest.raises(MissingExtraError, match=re.escape("tflite-runtime==2.14.0")):
        conformance_python.old_python()
    assert list((tmp_path / "mujo-edge").iterdir()) == []


def test_timing_takes_turns(judged: Windows, exported: Path) -> None:
    file = File(exported / "mcu" / "student_int8.tflite", ("mcu",), "litert", "int8", "int8")
    with Bench(read_manifest(None), exported, judged, rounds=2) as bench:
        bench.add(file, "LiteRT")
        bench.add(file, REFERENCE)
        bench.time()
    quick, slow = (found.latency for found in bench.rows)
    assert quick is not None
    assert slow is not None
    assert quick.ratio == 1
    assert slow.ratio == pytest.approx(slow.p50_us / quick.p50_us)
    assert quick.calls >= 2 * conformance.FEWEST
    assert [found.cost is not None and found.cost.rss_mb is not None for found in bench.rows] == [True, True]


def test_quantiles() -> None:
    latency = Latency.of([1000 * n for n in range(1, 102)])
    assert (latency.p50_us, latency.p99_us, latency.calls) == (51, 100, 101)


def called(*arguments: str) -> Ended:
    app = conformance.typer.Typer()
    app.command()(conformance.main)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_ends_with_1_when_a_gate_fails(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TARGETS", ("android", "mcu"))
    quick = ("--artifacts", str(artifacts), "--windows", "1", "--rounds", "0", "--only", "LiteRT", "--check")
    ended = called(*quick, "--json", str(tmp_path / "found.json"))
    assert ended.exit_code == 0, ended.output
    found = result(json.loads((tmp_path / "found.json").read_text()))
    assert {one.runtime for one in found.rows} == {"LiteRT"}
    assert found.broken == ()
    overwritten(artifacts / "android" / FLOAT_IO)
    ended = called(*quick)
    assert ended.exit_code == 1
    assert "is not what SHA256SUMS says" in ended.output
    assert f"gate: {FLOAT_IO} in LiteRT" in ended.output
    assert called(*quick[:-1]).exit_code == 0
    assert called("--docs", "--only", "LiteRT").exit_code == 2


def some_result(**changes: object) -> Result:
    rows = (row(), row(file="b.pte", runtime="Core ML", state="elsewhere", note="no backend"))
    alone = asdict(Parity(10, 0.97, 25.0, 0.1))
    found = Result("2026", "abc", "student 1", {"cpu": "x"}, 1000, 10, 5, alone, rows, ())
    return replace(found, **changes)  # type: ignore[arg-type]


def test_cells() -> None:
    found = some_result()
    spent = row(cost=Cost("1", 12.34, 6900, 2_161_000.0), latency=Latency(12.0, 15.55, 5, 0.5))
    assert accuracy(spent, found)[3:] == ("100", "100", "25.0", "0.0100", "100", "0.0", "0.0 from LiteRT")
    assert cost(spent, found)[2:] == ("1.0", "12.3", "6.9", "12.0", "15.6", "0.50", "2,161,000", "2,161.00")
    assert cost(row(), found)[3:] == ("",) * 7
    assert [percent(share) for share in (None, 0.5, 0.99999, 1.0)] == ["", "50.0", "99.9", "100"]


def test_results_are_read_back_and_rendered_between_the_marks(tmp_path: Path) -> None:
    found = some_result(broken=("a gate",))
    assert result(json.loads(json.dumps(asdict(found)))) == found
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- table -->\nold\n<!-- end -->\nafter\n")
    write_page(page, found)
    write_page(page, found)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- table -->\nstudent 1, commit abc")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert [text.count(part) for part in ("| a.tflite | LiteRT.js |", "no backend", "- a gate")] == [2, 1, 1]


def test_the_page_is_that_of_its_results() -> None:
    found = result(json.loads(conformance.RESULTS.read_text("utf-8")))
    assert markdown(found) in conformance.DOCS.read_text("utf-8")
    assert found.broken == ()
