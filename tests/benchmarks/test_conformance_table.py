"""Rows of the conformance table, the gates, and the docs page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.conformance import __main__ as conformance
from benchmarks.conformance.table import (
    Cost,
    Latency,
    Result,
    Row,
    accuracy,
    compared,
    cost,
    failed_gates,
    markdown,
    percent,
    read_result,
    write_page,
)
from benchmarks.conformance.windows import Agreement, Windows, evaluation_windows
from mujo_edge.bundle.manifest import Label, LabelSet, Parity, Smoothing, read_manifest


def two_classes(y: list[list[float]]) -> Windows:
    """(N, 2) L2-normalized embeddings, and two prototypes on the axes."""
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


def test_windows_are_those_of_the_reference_then_of_the_recording() -> None:
    manifest = read_manifest(None)
    reference = manifest.read_reference()
    few, many = evaluation_windows(manifest, 1), evaluation_windows(manifest, 100)
    alone = evaluation_windows(manifest, 100, channels=3)
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
    data = two_classes(at_angle(0, 30, 60, 90))
    actual = data.int8.copy()
    actual[2, 0] += 0.2
    agreement = data.agreement(actual)
    assert (agreement.equal, agreement.max_lsb) == (0.75, pytest.approx(2, abs=1e-5))
    assert agreement.max_delta == pytest.approx(0.7 / np.hypot(0.7, np.sin(np.radians(60))) - 0.5, abs=1e-5)
    assert data.agreement(data.int8 + np.float32(1e-6)).equal == 1, "what float32 rounds is not another int8"


def test_near_ties_lower_top1_but_not_clear_top1() -> None:
    data = two_classes(at_angle(0, 44.8, 60, 90))
    actual = np.array(at_angle(0, 45.2, 60, 90), np.float32)
    assert (data.parity(actual).top1_agreement, data.clear_top1(actual)) == (0.75, 1.0)
    actual = np.array(at_angle(0, 44.8, 30, 90), np.float32)
    assert data.clear_top1(actual) == pytest.approx(2 / 3)


def test_row_is_compared_with_the_runtime_of_the_same_kernels() -> None:
    data = two_classes(at_angle(0, 30, 60, 90))
    other = data.int8 + np.float32(0.1)
    actual = compared(row(runtime="C, host"), other, data, {"tflite-micro": other[:3]})
    assert actual.twin == Agreement(1.0, 0.0, 0.0)
    assert actual.int8 is not None
    assert actual.int8.max_lsb == pytest.approx(1, abs=1e-5)
    assert compared(row(runtime="C, host"), other, data, {}).twin is None
    assert compared(row(precision="fp32", runtime="LiteRT"), other, data, {"LiteRT": other}).twin is None


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_failed_gates_have_messages(changes: dict[str, object], message: str | None) -> None:
    messages = failed_gates(row(**changes), all_tools=False)
    assert len(messages) == (message is not None)
    assert message is None or message in messages[0]


def test_with_all_tools_a_missing_runtime_is_a_failure() -> None:
    assert failed_gates(row(state="missing", note="get it"), all_tools=True) == ["a.tflite in LiteRT.js: get it"]


def test_latency_quantiles_are_computed() -> None:
    latency = Latency.of([1000 * n for n in range(1, 102)])
    assert (latency.p50_us, latency.p99_us, latency.calls) == (51, 100, 101)


def some_result(**changes: object) -> Result:
    rows = (row(), row(file="b.pte", runtime="Core ML", state="elsewhere", note="no backend"))
    alone = asdict(Parity(10, 0.97, 25.0, 0.1))
    actual = Result("2026", "abc", "student 1", {"cpu": "x"}, 1000, 10, 5, alone, rows, ())
    return replace(actual, **changes)  # type: ignore[arg-type]


def test_table_cells_are_formatted() -> None:
    actual = some_result()
    spent = row(cost=Cost("1", 12.34, 6900, 2_161_000.0), latency=Latency(12.0, 15.55, 5, 0.5))
    assert accuracy(spent, actual)[3:] == ("100", "100", "25.0", "0.0100", "100", "0.0", "0.0 from LiteRT")
    assert cost(spent, actual)[2:] == ("1.0", "12.3", "6.9", "12.0", "15.6", "0.50", "2,161,000", "2,161.00")
    assert cost(row(), actual)[3:] == ("",) * 7
    assert [percent(share) for share in (None, 0.5, 0.99999, 1.0)] == ["", "50.0", "99.9", "100"]


def test_results_round_trip_and_render_between_the_marks(tmp_path: Path) -> None:
    actual = some_result(broken=("a gate",))
    assert read_result(json.loads(json.dumps(asdict(actual)))) == actual
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- table -->\nold\n<!-- end -->\nafter\n")
    write_page(page, actual)
    write_page(page, actual)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- table -->\nstudent 1, commit abc")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert [text.count(part) for part in ("| a.tflite | LiteRT.js |", "no backend", "- a gate")] == [2, 1, 1]


def test_docs_page_shows_its_results() -> None:
    actual = read_result(json.loads(conformance.RESULTS.read_text("utf-8")))
    assert markdown(actual) in conformance.DOCS.read_text("utf-8")
    assert actual.broken == ()
