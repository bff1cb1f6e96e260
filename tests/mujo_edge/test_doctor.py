"""`doctor` reports present and missing parts of an installation."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from generated_motion import ROOT

from mujo_edge import __version__, doctor
from mujo_edge.core import pip_install
from mujo_edge.doctor import examine, examine_bluetooth
from mujo_edge.runtimes import RUNTIMES


def test_complete_installation_has_no_problems(bundle_folder: Path) -> None:
    report = examine(bundle_folder)
    assert report["problems"] == []
    assert report["mujo_edge"] == __version__
    assert {check["runtime"] for check in report["bundle"]["checks"]} == {"litert", "executorch", "onnx"}
    assert {runtime["name"]: runtime["usable"] for runtime in report["runtimes"]}["litert"]
    assert json.loads(json.dumps(report)) == report


def test_damaged_bundle_is_a_problem(bundle_copy: Path) -> None:
    with (bundle_copy / "student_int8.tflite").open("ab") as file:
        file.write(b"\0")
    report = examine(bundle_copy)
    assert len(report["problems"]) == 1
    assert "was changed or damaged" in report["problems"][0]


def test_no_runtime_is_a_problem_with_its_pip_line(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("litert", "tflite-runtime"):
        monkeypatch.setitem(RUNTIMES, name, replace(RUNTIMES[name], package="none", imports="no_such_package"))
    report = examine(bundle_folder)
    assert any(pip_install() in problem for problem in report["problems"])


def test_missing_extra_is_no_problem(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.PACKAGES, "no-such-package", "none")
    report = examine(bundle_folder)
    assert report["packages"]["no-such-package"] == {"version": None, "install": pip_install("none")}
    assert report["problems"] == []


def test_training_and_pose_are_shown_and_are_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.examine_extra("train", doctor.TRAINING)["ready"]
    lacking = doctor.examine_extra("train", ("numpy", "no-such-package"))
    assert lacking["missing"] == ["no-such-package"]
    assert lacking["detail"] == f"missing: no-such-package; {pip_install('train')}"
    monkeypatch.setenv("MUJO_CACHE", str(tmp_path))
    assert "on first use" in doctor.examine_pose()["detail"]
    monkeypatch.setattr("mujo_edge.doctor.POSE_NEWEST_PYTHON", (3, 10))
    assert doctor.examine_pose() == {
        "ready": False, "missing": [], "detail": "mediapipe has no wheels for Pythons after 3.10"
    }  # fmt: skip


def test_extras_are_those_of_pyproject() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

    def names(extra: str) -> set[str]:
        packages = {re.match(r"[\w.-]+", one)[0] for one in extras[extra]}  # type: ignore[index]
        return packages - {"mujo-edge"}

    assert names("train") == {*doctor.TRAINING}
    assert names("pose") == {*doctor.POSE}


def test_package_versions_that_ci_runs_lie_in_the_published_ranges() -> None:
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for one in map(Requirement, wanted):
        if (one.marker is None or one.marker.evaluate()) and one.name not in ("mujo-edge", "tflite-runtime"):
            if one.name == "numpy" and "<2" in str(one.specifier):
                continue  # of the extra tflite, which needs an environment of its own
            assert one.specifier.contains(pins[one.name.lower().replace("_", "-")], prereleases=True), one


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (FileNotFoundError(2, "No such file"), "bluetoothd does not run. Start it: "),
        (TimeoutError(), "Bluetooth does not answer: TimeoutError. "),
        (OSError("a\nb"), "Bluetooth does not answer: a. "),
    ],
)
def test_missing_adapter_is_reported_in_one_line(
    failure: Exception, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise failure

    monkeypatch.setattr(doctor, "scan_once", fails)
    monkeypatch.setattr("sys.platform", "linux")
    report = examine_bluetooth()
    assert report["ready"] is False
    assert report["detail"].startswith(detail)
    assert "\n" not in report["detail"]


def test_working_adapter_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scans() -> None:
        return None

    monkeypatch.setattr(doctor, "scan_once", scans)
    monkeypatch.setattr("sys.platform", "linux")
    assert examine_bluetooth() == {"ready": True, "detail": "an adapter answers"}


def test_bluetooth_is_not_examined_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert examine_bluetooth()["ready"] is None
