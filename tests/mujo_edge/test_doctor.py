"""The doctor sees what is there and what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mujo_edge import __version__, doctor
from mujo_edge.doctor import examine, examine_bluetooth
from mujo_edge.runtimes import RUNTIMES


def test_a_sound_installation_has_no_problems(bundle_folder: Path) -> None:
    found = examine(bundle_folder)
    assert found["problems"] == []
    assert found["mujo_edge"] == __version__
    assert {check["runtime"] for check in found["bundle"]["checks"]} == {"litert", "executorch", "onnx"}
    assert {runtime["name"]: runtime["usable"] for runtime in found["runtimes"]}["litert"]
    assert json.loads(json.dumps(found)) == found


def test_a_damaged_bundle_is_a_problem(bundle_copy: Path) -> None:
    with (bundle_copy / "student_int8.tflite").open("ab") as file:
        file.write(b"\0")
    found = examine(bundle_copy)
    assert len(found["problems"]) == 1
    assert "was changed or damaged" in found["problems"][0]


def test_no_runtime_is_a_problem_with_its_pip_line(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("litert", "tflite-runtime"):
        monkeypatch.setitem(RUNTIMES, name, replace(RUNTIMES[name], package="none", imports="no_such_package"))
    found = examine(bundle_folder)
    assert any("pip install mujo-edge" in problem for problem in found["problems"])


def test_a_missing_extra_is_no_problem(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "no-such-package", "pip install 'mujo-edge[none]'")
    found = examine(bundle_folder)
    assert found["packages"]["no-such-package"] == {"version": None, "install": "pip install 'mujo-edge[none]'"}
    assert found["problems"] == []


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (FileNotFoundError(2, "No such file"), "bluetoothd does not run. Start it: "),
        (TimeoutError(), "Bluetooth does not answer: TimeoutError. "),
        (OSError("a\nb"), "Bluetooth does not answer: a. "),
    ],
)
def test_no_adapter_is_said_in_one_line(failure: Exception, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise failure

    monkeypatch.setattr(doctor, "scan_once", fails)
    monkeypatch.setattr("sys.platform", "linux")
    found = examine_bluetooth()
    assert found["ready"] is False
    assert found["detail"].startswith(detail)
    assert "\n" not in found["detail"]


def test_an_adapter_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scans() -> None:
        return None

    monkeypatch.setattr(doctor, "scan_once", scans)
    monkeypatch.setattr("sys.platform", "linux")
    assert examine_bluetooth() == {"ready": True, "detail": "an adapter answers"}


def test_macos_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert examine_bluetooth()["ready"] is None
