"""`models`, `benchmark` and `doctor` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from generated_motion import ROOT

from mujo_edge.bundle.manifest import write_manifest


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mujo_edge", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)


def test_list_names_every_shipped_bundle() -> None:
    from mujo_edge.bundle.store import shipped_bundles

    done = run("models", "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    listed = {entry["bundle"]: Path(entry["folder"]).name for entry in json.loads(done.stdout)}
    assert listed.items() >= {name: name for name in shipped_bundles()}.items()
    assert run("models", "list").returncode == 0


def test_show(bundle_folder: Path) -> None:
    done = run("models", "show", bundle_folder)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("small 0.1.0", "150 samples at 50 Hz", "student_int8.pte", "default motion-wrist", "fast swing"):
        assert word in done.stdout


def test_show_lists_files_that_were_not_run(bundle_folder: Path) -> None:
    shown = " ".join(run("models", "show", bundle_folder).stdout.split())
    assert "student_coreml.pte coreml " in shown
    assert "student_coreml.pte: the network in float16 in PyTorch; Core ML itself was not run" in shown
    assert "student_cortex_m.pte: the lowered graph with ExecuTorch's reference operators in Python" in shown


def test_show_without_files_for_other_runtimes(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text())
    for key in ("schema_version", "sha256", "files", "lowered"):
        table.pop(key)
    write_manifest(bundle_copy, table)
    done = run("models", "show", bundle_copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not run as files" not in done.stdout


def test_show_counts_the_names_of_the_vocabulary(bundle_folder: Path) -> None:
    shown = " ".join(run("models", "show", bundle_folder).stdout.split())
    assert "5 names, 4 of them seen in training" in shown
    assert "unknown is below 0.30" in shown
    assert json.loads(run("models", "show", bundle_folder, "--json").stdout)["names"] == 5


def test_names_are_listed_and_searched(bundle_folder: Path, bundle_copy: Path) -> None:
    done = run("models", "names", "--bundle", bundle_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:-1] == ["rest *", "slow swing *", "fast swing *", "twist *", "plank (planking)"]
    assert [
        name["name"] for name in json.loads(run("models", "names", "plank", "--bundle", bundle_folder, "--json").stdout)
    ] == ["plank"]
    assert (
        "no name of bundle small is like 'xyzzy'" in run("models", "names", "xyzzy", "--bundle", bundle_folder).stderr
    )
    table = json.loads((bundle_copy / "bundle.json").read_text())
    for key in ("schema_version", "sha256", "files", "vocabulary"):
        table.pop(key)
    write_manifest(bundle_copy, table)
    assert (
        "knows only its label sets: motion-wrist, swings-wrist"
        in run("models", "names", "--bundle", bundle_copy).stderr
    )


def test_show_as_json(bundle_folder: Path) -> None:
    table = json.loads(run("models", "show", bundle_folder, "--json").stdout)
    assert table["label_sets"]["swings-wrist"]["labels"] == ["slow swing", "fast swing"]
    assert table["input"]["rate_hz"] == 50
    assert table["training"]["corpora"][0]["licence"] == "Apache-2.0"
    assert [model["backend"] for model in table["lowered"]] == ["coreml", "cortex_m"]


def test_show_the_card(bundle_folder: Path) -> None:
    done = run("models", "show", bundle_folder, "--card")
    assert "Intended use" in done.stdout
    assert "license:" not in done.stdout


def test_verify(bundle_folder: Path) -> None:
    done = run("models", "verify", bundle_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "12 files as they were written, 4 runs as they should be" in done.stdout
    checks = json.loads(run("models", "verify", bundle_folder, "--json").stdout)["checks"]
    assert all(check["parity"]["snr_db"] > 20 for check in checks)


@pytest.mark.parametrize("command", [("models", "verify"), ("models", "show"), ("benchmark",), ("doctor",)])
def test_flipped_byte_is_an_error_in_two_lines(bundle_copy: Path, command: tuple[str, ...]) -> None:
    path = bundle_copy / "student_int8.onnx"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    done = run(*command, bundle_copy)
    assert done.returncode == 4
    assert "student_int8.onnx was changed or damaged" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in done.stderr


def test_unknown_bundle_is_a_usage_error() -> None:
    done = run("models", "show", "nothing-like-it")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mujo-edge: no bundle at nothing-like-it; give a folder with a bundle.json")


def test_benchmark_writes_files_by_their_ending_and_json_to_stdout(bundle_folder: Path, tmp_path: Path) -> None:
    files = ("--out", tmp_path / "b.json", "--out", tmp_path / "b.html")
    done = run("benchmark", bundle_folder, "--calls", 100, *files)
    assert done.returncode == 0, done.stderr
    for word in ("student_int8.tflite", "executorch", "times real time", "preprocess"):
        assert word in done.stdout
    table = json.loads((tmp_path / "b.json").read_text())
    assert table["bundle"] == "small"
    assert {cost["threads"] for cost in table["models"]} == {1}
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")
    assert json.loads(run("benchmark", bundle_folder, "--calls", 100, "--json").stdout).keys() == table.keys()


@pytest.mark.parametrize(
    ("out", "message"), [("nowhere/out.json", "there is no folder"), ("out.txt", "ends with .json or .html")]
)
def test_benchmark_checks_the_output_path_before_measuring(
    bundle_folder: Path, tmp_path: Path, out: str, message: str
) -> None:
    done = run("benchmark", bundle_folder, "--out", tmp_path / out)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_doctor(bundle_folder: Path) -> None:
    done = run("doctor", bundle_folder)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("litert", "bluetooth", "serial ports", "bundle small"):
        assert word in done.stdout
    report = json.loads(run("doctor", bundle_folder, "--json").stdout)
    assert report["problems"] == []
