"""The Swift sources of an iOS export, checked without a compiler: names, keys, constants and files."""

import csv
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any, get_args, get_type_hints

import pytest

from mujo_edge import gaps as clock
from mujo_edge import windowing
from mujo_edge.bundle.manifest import Smoothing
from mujo_edge.core import STANDARD_GRAVITY, UNKNOWN
from mujo_edge.export import CONTRACT_SCHEMA, android, export
from mujo_edge.signal import Resampler


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("ios", None, tmp_path_factory.mktemp("export"))[0]


@pytest.fixture(scope="module")
def swift(folder: Path) -> dict[str, str]:
    """Sources by name of the file."""
    return {path.name: path.read_text() for path in folder.rglob("*.swift")}


def coding_keys(source: str) -> list[set[str]]:
    """The keys of each `CodingKeys` of a source, in order."""
    bodies = re.findall(r"enum CodingKeys.*?\n *}", source, re.S)
    return [set(re.findall(r'case \w+ = "(\w+)"', body)) for body in bodies]


def test_folder_has_the_files_of_its_readme_and_contract(folder: Path) -> None:
    listed = {model["file"]: model["runtime"] for model in json.loads((folder / "mujo.json").read_text())["models"]}
    assert set(listed) == {path.name for path in folder.iterdir() if path.suffix in (".tflite", ".pte", ".onnx")}
    assert set(listed.values()) == {"litert", "executorch", "onnx", "coreml"}
    readme = (folder / "README.md").read_text()
    named = set(re.findall(r"`((?:swift/|app/|golden/|student|mujo\.)[\w./]*)`", readme))
    assert named >= {"swift/", "app/MotionRecognizer.swift", "golden/", "mujo.json", *listed}
    assert [name for name in named if not (folder / name).exists()] == []
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def test_readme_states_what_was_not_run_and_is_filled_in(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert "never compiled" in readme
    assert Template(readme).get_identifiers() == []
    rows = [line for line in readme.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}


def test_readme_switches_telemetry_of_onnx_runtime_off(folder: Path) -> None:
    assert 'setenv("ORT_DISABLE_TELEMETRY", "1", 1)' in (folder / "README.md").read_text()


def test_keys_that_swift_reads_are_in_mujo_json(folder: Path, swift: dict[str, str]) -> None:
    table: dict[str, Any] = json.loads((folder / "mujo.json").read_text())
    labels = table["label_sets"][table["default_label_set"]]
    of_input, of_contract = coding_keys(swift["Contract.swift"])
    of_smoothing, of_labels = coding_keys(swift["LabelSet.swift"])
    assert of_contract == set(table) - {"created", "exported_by", "models"}
    assert of_input == set(table["input"]) - {"units", "axes"}
    assert of_labels == set(labels) - {"title"}
    assert of_smoothing == set(labels["smoothing"])
    assert f"schemaVersion == {CONTRACT_SCHEMA}" in swift["Contract.swift"]


def test_enumerations_equal_pythons(swift: dict[str, str]) -> None:
    methods = set(get_args(get_type_hints(Smoothing)["method"]))
    assert set(re.findall(r"case (hmm, majority, none)", swift["LabelSet.swift"])[0].split(", ")) == methods
    reasons = set(get_args(get_type_hints(clock.Gap)["reason"]))
    body = swift["Event.swift"].split("enum Reason")[1].split("}")[0]
    assert set(re.findall(r"case (\w+)$", body, re.M)) == reasons
    assert f'static let unknown = "{UNKNOWN}"' in swift["LabelSet.swift"]


def number(source: str, pattern: str) -> float:
    (actual,) = re.findall(pattern, source)
    return float(actual)


def test_constants_equal_pythons(swift: dict[str, str]) -> None:
    assert number(swift["GapDetector.swift"], r"minStepS = (\S+)") == Resampler.MIN_STEP_S
    assert number(swift["GapDetector.swift"], r"latestS = (\S+)") == clock.LATEST_S
    assert number(swift["GapDetector.swift"], r'case "a": return (\S+)') == clock.LIMITS["a"]
    assert number(swift["GapDetector.swift"], r'case "g": return (\S+)') == clock.LIMITS["g"]
    assert number(swift["Resampler.swift"], r"snapS = (\S+)") == Resampler.SNAP_S
    assert number(swift["Recognizer.swift"], r"measureS = (\S+)") == windowing.MEASURE_S
    assert number(swift["Recognizer.swift"], r"rateTolerance = (\S+)") == windowing.RATE_TOLERANCE
    assert number(swift["MotionRecognizer.swift"], r"toSI = -(\S+)") == STANDARD_GRAVITY


def test_self_test_reads_existing_columns(folder: Path, swift: dict[str, str]) -> None:
    source = swift["main.swift"]
    named = set(re.findall(r'(?:spec|expected|row)\["(\w+)"\]', source))
    columns: set[str] = set()
    for file in ("cases.csv", "even.events.csv"):
        with (folder / "golden" / file).open(newline="") as lines:
            columns |= set(next(csv.reader(lines)))
    assert named == columns
    assert all((folder / "golden" / f"even{kind}").exists() for kind in re.findall(r'\(name\)(\.\w+\.\w+)"', source))


def test_brackets_match_and_lines_are_short(swift: dict[str, str]) -> None:
    pairs = {")": "(", "]": "[", "}": "{"}
    for name, source in swift.items():
        code = re.sub(r'//.*|"(?:\\.|[^"\\])*"', "", source)
        stack: list[str] = []
        for char in code:
            if char in pairs.values():
                stack.append(char)
            elif char in pairs:
                assert stack, name
                assert stack.pop() == pairs[char], name
        assert stack == [], name
        assert max(map(len, source.splitlines())) <= 120, name
        assert not any(a == b == "" for a, b in pairwise(source.splitlines())), name


def numbers(source: str) -> set[float]:
    """But the small ones, which mean many things."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.S)
    return {float(value) for value in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", code)} - {0.0, 1.0, 2.0, 3.0}


def test_swift_constants_equal_those_of_java(swift: dict[str, str]) -> None:
    """A constant that only the tested Java has indicates a missing step."""
    java = Path(android.__file__).parent / "java" / "edge" / "mujo"
    for name in ("GapDetector", "Resampler", "Windower", "Smoother", "Recognizer"):
        assert numbers((java / f"{name}.java").read_text()) == numbers(swift[f"{name}.swift"]), name
