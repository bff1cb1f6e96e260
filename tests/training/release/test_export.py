"""Export: every file of a bundle is checked, and no bundle is left half-written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from generated_motion import ROOT
from self_description import constants_are_those_of, json_is_that_of

import training.export
import training.release.card
import training.release.lower
from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import Parity, read_manifest
from mujo_edge.core import DataError, UsageError
from mujo_edge.runtimes import open_model
from training.evaluation.transfer_sets_report import read_summary
from training.learn.broad import BroadConfig
from training.models.student import Student, StudentConfig
from training.release.bundle import check_small, export_bundle, gated, load_checkpoint, save_checkpoint
from training.release.card import METHODS
from training.release.quantize import quantize_litert

RESULTS = ROOT / "docs" / "protocol-v2"


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_stay_within_the_limits(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    assert (bundle_folder / "student_int8.tflite").stat().st_size <= 100_000
    assert 0 < manifest.metrics["tflite_micro_arena_bytes"] <= 32 * 1024
    assert manifest.metrics["parameters"] == sum(p.numel() for p in Student().parameters())
    for model in manifest.models:
        assert model.parity.windows == 1040
        assert model.parity.top1_agreement >= 0.99
        assert model.parity.snr_db >= 20


def test_reference_has_the_embeddings_of_the_float_network(bundle_folder: Path, checkpoint: Path) -> None:
    from mujo_edge.bundle import l2_normalize
    from mujo_edge.signal import prepare
    from training.models.inference import float_embeddings

    model, spec, _, gate, _ = load_checkpoint(checkpoint)
    reference = read_manifest(bundle_folder).read_reference()
    # The kernels that PyTorch picks depend on the batch and the threads; int8 differs a hundred times as much.
    np.testing.assert_allclose(
        reference.y, l2_normalize(float_embeddings(model, prepare(reference.x, spec))), atol=5e-4
    )
    assert set(reference.member.tolist()) == set(gate.member.tolist())
    rows = {row.tobytes() for row in gate.x[gate.shareable]}
    assert {row[: gate.x.shape[1]].tobytes() for row in reference.x} <= rows, "a window that may not be passed on"


def test_bad_quantization_stops_the_export(checkpoint: Path, tmp_path: Path) -> None:
    """Calibration on far too small signals, so that every activation saturates."""
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    with pytest.raises(DataError, match=r"export stopped: .*SNR"):
        export_bundle(tmp_path / "out", model, spec, calibration * 0.02, gate, release)
    assert leftovers(tmp_path) == []


def test_failed_export_leaves_the_old_bundle(checkpoint: Path, bundle_copy: Path) -> None:
    before = {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()}
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    with pytest.raises(DataError):
        export_bundle(bundle_copy, model, spec, calibration * 0.02, gate, release)
    assert {path: path.read_bytes() for path in bundle_copy.rglob("*") if path.is_file()} == before
    assert leftovers(bundle_copy.parent) == ["small"]


def test_export_replaces_the_old_bundle(checkpoint: Path, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.release.lower, "find_spec", lambda name: None)  # quicker
    (bundle_copy / "stale.txt").write_text("from an older export")
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    export_bundle(bundle_copy, model, spec, calibration, gate, replace(release, version="9.9.9"))
    assert not (bundle_copy / "stale.txt").exists()
    assert ModelBundle.load(bundle_copy).manifest.version == "9.9.9"
    assert leftovers(bundle_copy.parent) == ["small"]


def test_folder_that_is_not_a_bundle_is_not_touched(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds no bundle"):
        export_bundle(out, *load_checkpoint(checkpoint))
    assert (out / "chapter1.tex").read_text() == "years of work"


def test_gate_needs_a_thousand_windows(checkpoint: Path, tmp_path: Path) -> None:
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    few = replace(gate, x=gate.x[:999], member=gate.member[:999])
    with pytest.raises(UsageError, match="needs 1000 real windows and got 999"):
        export_bundle(tmp_path / "out", model, spec, calibration, few, release)


@pytest.mark.parametrize(
    "parity",
    [Parity(1000, 0.9899, 30.0, 0.1), Parity(1000, 1.0, 19.9, 0.1), Parity(1000, float("nan"), float("nan"), 0.1)],
)
def test_gate_refuses_below_its_limits(parity: Parity) -> None:
    with pytest.raises(DataError, match=r"export stopped: student\.pte has top-1 agreement"):
        gated("student.pte", parity)


def test_gate_accepts_at_its_limits() -> None:
    parity = Parity(1000, 0.99, 20.0, 0.1)
    assert gated("student.pte", parity) is parity


def test_too_large_network_is_refused() -> None:
    torch.manual_seed(0)
    windows = np.random.default_rng(0).standard_normal((16, 6, 1, 150), np.float32)
    model = Student(StudentConfig(blocks=((128, 5, 2), (256, 5, 2), (256, 5, 1))))
    with pytest.raises(DataError, match=r"has \d+ bytes \(limit 100000\)"):
        check_small(quantize_litert(model, windows), windows)


def test_network_that_needs_too_much_memory_is_refused() -> None:
    torch.manual_seed(0)
    windows = np.random.default_rng(0).standard_normal((16, 6, 1, 150), np.float32)
    model = Student(StudentConfig(stem=128, blocks=((128, 5, 1), (64, 5, 2))))
    with pytest.raises(DataError, match=r"tflite-micro needs \d+ bytes of arena \(limit 32768\)"):
        check_small(quantize_litert(model, windows), windows)


def test_checkpoint_round_trip(checkpoint: Path, tmp_path: Path) -> None:
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "copy.pt", model, spec, calibration, gate, release)
    again = load_checkpoint(tmp_path / "copy.pt")
    assert again[1] == spec
    np.testing.assert_array_equal(again[3].x, gate.x)
    assert again[4].label_sets[0].names == release.label_sets[0].names
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), again[0].state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match="is not a checkpoint to export"):
        load_checkpoint(tmp_path / "x.pt")


def test_command_reports_a_missing_checkpoint_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.export", str(tmp_path / "none.pt"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 4
    assert "none.pt is not a checkpoint to export" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["student_int8.pte", "student_coreml.pte", "student_cortex_m.pte"])
def test_every_pte_has_the_metadata_for_apps(bundle_folder: Path, file: str) -> None:
    """Read back with the ExecuTorch runtime; the labels of the one for microcontrollers are elsewhere."""
    constants = open_model((bundle_folder / file).read_bytes(), "executorch").constants()
    constants_are_those_of(read_manifest(bundle_folder), constants, with_labels=file != "student_cortex_m.pte")


def test_onnx_has_the_metadata_for_apps(bundle_folder: Path) -> None:
    import onnxruntime

    properties = onnxruntime.InferenceSession(bundle_folder / "student_int8.onnx").get_modelmeta().custom_metadata_map
    assert set(properties) == {"mujo.json"}
    json_is_that_of(read_manifest(bundle_folder), properties["mujo.json"])


def test_files_that_were_not_run_are_marked(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    assert [(m.backend, m.precision) for m in manifest.lowered] == [("coreml", "fp16"), ("cortex_m", "int8")]
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    for model in manifest.lowered:
        assert re.search(r"was not run|no Cortex-M ran it", model.measured)
        assert f"`{model.file}` | {model.backend}" in card
        assert model.measured in card
        assert model.parity is not None
        assert model.parity.windows == 1040
        assert model.parity.top1_agreement >= 0.99
        assert model.parity.snr_db >= 20


def test_without_a_tool_its_file_is_left_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.release.lower, "find_spec", lambda name: None)
    results = shutil.copytree(RESULTS, tmp_path / "results")
    about = json.loads((results / "run.json").read_text())
    about["config"]["broad"]["student"] = asdict(StudentConfig())
    (results / "run.json").write_text(json.dumps(about))
    training.export.main(checkpoint, tmp_path / "out", results, "2.0.0")
    out, err = capsys.readouterr()
    assert [line.split(" is left out: ")[0] for line in err.splitlines()] == [
        "student_coreml.pte",
        "student_cortex_m.pte",
    ]
    assert "student_coreml" not in out
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.version, manifest.lowered) == ("2.0.0", ())
    assert manifest.metrics["protocol_v2"] == read_summary(results, StudentConfig())
    assert "were not run" not in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_model_card_has_the_usual_form(bundle_folder: Path) -> None:
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    _, front, body = card.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert meta["license"] == "apache-2.0"
    assert meta["library_name"] == "mujo-edge"
    assert meta["datasets"] == ["motion"]
    assert meta["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.99
    for heading in (
        "Label sets",
        "Intended use",
        "Out of scope, and limits",
        "Training data",
        "Measured",
        "Files",
        "Energy",
    ):
        assert f"\n## {heading}\n" in body
    assert "rest, slow swing, fast swing, twist" in body
    assert "Generated motion | Apache-2.0" in body


@pytest.mark.parametrize("closed", ["corpora", "clips"])
def test_card_states_when_a_license_is_not_open(checkpoint: Path, bundle_folder: Path, closed: str) -> None:
    release = load_checkpoint(checkpoint)[4]
    data = {"corpora": release.training["corpora"]}
    data |= {"clips": [{**data["corpora"][0], "name": "dance", "title": "Dance", "clips": 1234}]}
    data |= {closed: [{**data[closed][0], "open_licence": False}]}
    manifest = read_manifest(bundle_folder)
    table = {
        "name": "small",
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "embedding_dim": 64,
        "default_label_set": "motion-wrist",
        "training": {**data, "git_commit": "abc1234"},
        "metrics": {"parameters": 1, "macs": 1_000_000, "tflite_micro_arena_bytes": 2048},
    }
    sizes = {model.file: 1 for model in manifest.models}
    card = training.release.card.model_card(table, manifest.input, manifest.models, (), sizes, release.label_sets)
    meta = yaml.safe_load(card.split("---\n", 2)[1])
    assert (meta["license"], meta["license_name"]) == ("other", "see-training-data")
    assert meta["datasets"] == ["motion", "dance"]
    assert "| Dance | Apache-2.0 | 1,234 | tests/conftest.py |" in card
    assert "- Dance: none\n" in card
    assert "model-index" not in meta
    assert "Commit `abc1234`" in card
    assert "No accuracy was measured for this export." in card
    assert "1,000,000 multiply-accumulates" in card
    assert "2,000,000 a second, 7.20 billion an hour" in card


def test_card_has_the_scores_of_the_protocol(checkpoint: Path, bundle_folder: Path) -> None:
    """Every number in the table is one of the results in docs."""
    protocol = read_summary(RESULTS, BroadConfig().student)
    release = load_checkpoint(checkpoint)[4]
    manifest = read_manifest(bundle_folder)
    table = {
        "name": "small",
        "version": "1",
        "created": "2026-01-01T00:00:00+00:00",
        "embedding_dim": 64,
        "default_label_set": "motion-wrist",
        "training": release.training,
        "metrics": {"parameters": 1, "macs": 1, "tflite_micro_arena_bytes": 2048, "protocol_v2": protocol},
    }
    sizes = {model.file: 1 for model in manifest.models}
    card = training.release.card.model_card(table, manifest.input, manifest.models, (), sizes, release.label_sets)
    results = yaml.safe_load(card.split("---\n", 2)[1])["model-index"][0]["results"]
    shipped = [row for row in protocol["rows"] if row["method"] == "broad_int8, logistic"]
    assert [r["metrics"][0]["value"] for r in results if r["dataset"]["type"] == "protocol-v2"] == [
        round(row["mean"], 4) for row in shipped
    ]
    # The same means as in the report, which a test of the report checks against the scores.
    report = (RESULTS / "table.md").read_text()
    for row in protocol["rows"]:
        if row["method"] in METHODS:
            cells = next(
                line
                for line in card.splitlines()
                if line.startswith(f"| {row['labels']} | {row['channels']}") and METHODS[row["method"]] in line
            ).split(" | ")
            assert cells[3] == f"{row['mean']:.3f}"
            assert re.search(rf"^\| {row['method']} \|.* {cells[3]} \|$", report, re.M)
    assert protocol["git_commit"] in card


def test_results_of_another_network_are_refused() -> None:
    with pytest.raises(UsageError, match="results of another network"):
        read_summary(RESULTS, StudentConfig(stem=16))


@pytest.mark.parametrize(
    ("run", "results"),
    [
        (None, None),
        ("{", ""),
        ("{}", ""),
        ("[]", ""),
        ('{"git_commit": "a", "config": {"broad": {"student": {}, "loop": {"steps": 1}}}}', '[{"trial": 1}]'),
    ],
)
def test_folder_without_results_is_refused(tmp_path: Path, run: str | None, results: str | None) -> None:
    for name, text in (("run.json", run), ("results.jsonl", results)):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=r"has no results to read: .*training\.transfer_sets wrote"):
        read_summary(tmp_path, StudentConfig())
