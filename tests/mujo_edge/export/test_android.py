"""The Java reference: built as in its README, equal to golden/, and failing if golden/ is changed."""

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pytest
from java_reference import JAVA, compiled, java, with_probe

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import Label
from mujo_edge.export import Job, android, contract, export, golden, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("android", None, tmp_path_factory.mktemp("export"))[0]


@pytest.fixture(scope="module")
def classes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(sorted((folder / "java" / "edge" / "mujo").glob("*.java")), tmp_path_factory.mktemp("classes"))


def self_test(classes: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return java("edge.mujo.SelfTest", folder, path=str(classes))


def test_folder_has_the_files_of_its_readme_and_contract(folder: Path) -> None:
    listed = {model["file"] for model in json.loads((folder / "mujo.json").read_text())["models"]}
    assert listed == {path.name for path in folder.iterdir() if path.suffix in (".tflite", ".pte", ".onnx")}
    readme = (folder / "README.md").read_text()
    named = set(re.findall(r"`((?:java|kotlin|golden|student|mujo)[\w./]*)`", readme))
    assert named >= {"java/", "kotlin/MotionRecognizer.kt", "golden/", "mujo.properties", *listed}
    assert [name for name in named if not (folder / name).exists()] == []
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def test_readme_template_is_filled_in(folder: Path) -> None:
    assert Template((folder / "README.md").read_text()).get_identifiers() == []


def test_readme_switches_telemetry_of_onnx_runtime_off(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert 'Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)' in readme
    assert 'ai.onnxruntime.TelemetryInitializer" tools:node="remove"' in readme


@JAVA
def test_java_pipeline_equals_python(folder: Path, classes: Path) -> None:
    done = self_test(classes, folder)
    assert (done.returncode, done.stdout) == (0, "passed\n"), done.stdout + done.stderr


def cell(folder: Path, file: str, row: int, column: str, change: Callable[[str], str]) -> None:
    """Change one cell of a golden CSV file."""
    path = folder / "golden" / file
    lines = path.read_text().split("\n")
    at = lines[0].split(",").index(column)
    cells = lines[row].split(",")
    cells[at] = change(cells[at])
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines))


def change_value(folder: Path, file: str, at: int, value: float) -> None:
    """Change one value of a golden .f32 file."""
    path = folder / "golden" / file
    values = np.fromfile(path, "<f4")
    values[at] = value
    values.tofile(path)


def longer(text: str) -> str:
    return f"{float(text) + 2e-6!r}"


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a label": (lambda f: cell(f, "even.events.csv", 3, "label", lambda _: "resting"), "even: event 3: label"),
    "a raw label": (lambda f: cell(f, "slow.events.csv", 2, "raw_label", lambda _: "x"), "slow: event 2: raw_label"),
    "a score": (lambda f: cell(f, "fast.events.csv", 5, "score", lambda s: f"{float(s) + 2e-3}"), "event 5: score"),
    "a time": (lambda f: cell(f, "measured.events.csv", 1, "end_s", longer), "measured: event 1: end_s"),
    "a gap's start": (lambda f: cell(f, "broken.events.csv", 12, "start_s", longer), "broken: event 12: start_s"),
    "a gap's reason": (lambda f: cell(f, "broken.events.csv", 12, "reason", lambda _: "clock"), "event 12: reason"),
    "a kind": (lambda f: cell(f, "broken.events.csv", 12, "event", lambda _: "prediction"), "broken: event 12 is gap"),
    "a sample": (lambda f: cell(f, "even.samples.csv", 400, "ay_m_s2", lambda s: f"{float(s) + 1e-3}"), "even: window"),
    "a value of a window": (lambda f: change_value(f, "slow.windows.f32", 5000, 0.5), "slow: window 6 is off by"),
    "no number in a window": (
        lambda f: change_value(f, "slow.windows.f32", 5000, np.nan),
        "slow: window 6 is off by NaN",
    ),
    "an embedding": (lambda f: change_value(f, "slow.embeddings.f32", 166, 0.9), "slow: event 2: "),
    "no stream": (lambda f: (f / "golden" / "cases.csv").write_text("name\n") and None, "at least one stream"),
    "fewer events": (
        lambda f: (
            (f / "golden" / "even.events.csv").write_text(
                "\n".join((f / "golden" / "even.events.csv").read_text().split("\n")[:-2])
            )
            and None
        ),
        "even: number of events is 23 instead of 22",
    ),
    "fewer predictions": (lambda f: cell(f, "cases.csv", 1, "predictions", lambda _: "22"), "even.windows.f32 has"),
    "another label set": (lambda f: cell(f, "cases.csv", 1, "label_set", lambda _: "none"), "even: java.lang.Null"),
    "a missing file": (lambda f: (f / "golden" / "fast.samples.csv").unlink(), "fast.samples.csv"),
    "text for a number": (lambda f: cell(f, "even.samples.csv", 9, "t_s", lambda _: "soon"), "even: java.lang.Number"),
    "a short line": (lambda f: cell(f, "even.samples.csv", 9, "gz_rad_s", lambda s: s + ",1"), "columns instead of 7"),
}


@JAVA
@pytest.mark.parametrize("what", CHANGES)
def test_self_test_detects_changes(what: str, folder: Path, classes: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "android"))
    change, message = CHANGES[what]
    change(changed)
    done = self_test(classes, changed)
    assert done.returncode == 1
    assert message in done.stdout
    assert done.stdout.endswith("failed\n")
    assert done.stderr == ""


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return with_probe(tmp_path_factory.mktemp("probe"))


def units(text: str) -> str:
    data = text.encode("utf-16-be")
    return " ".join(str(unit[0]) for unit in struct.iter_unpack(">H", data))


def metadata_rows(table: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """mujo.json's facts as `Probe` shows them."""
    spec = table["input"]
    yield "bundle", units(table["bundle"]), units(table["version"])
    yield "rate", *(spec[name] for name in ("rate_hz", "window", "hop", "clip", "max_gap_s")), table["embedding_dim"]
    yield "channels", " ".join(spec["channels"])
    yield "scale", np.float32(spec["scale"])
    yield "default", units(table["default_label_set"]), units(table["default_label_set"])
    for name in sorted(table["label_sets"]):
        labels = table["label_sets"][name]
        smoothing = labels["smoothing"]
        numbers = labels["channels"], labels["temperature"], labels["unknown_threshold"]
        smoothed = smoothing["method"], smoothing["stay"], smoothing["windows"]
        yield "set", units(name), units(labels["placement"]), *numbers, *smoothed
        yield from (("label", units(label)) for label in [*labels["labels"], "unknown"])
        yield from (("prototype", np.float32(row)) for row in labels["prototypes"])


def assert_same_facts(probe: str, properties: Path, table: dict[str, Any]) -> None:
    done = java("edge.mujo.Probe", "metadata", properties, path=probe)
    assert done.returncode == 0, done.stderr
    shown = [line.split("\t") for line in done.stdout.splitlines()]
    expected = list(metadata_rows(table))
    assert len(shown) == len(expected)
    for line, row in zip(shown, expected, strict=True):
        assert len(line) == len(row)
        for text, value in zip(line, row, strict=True):
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(np.array(text.split(), np.float32), value)
            elif isinstance(value, int | float):
                assert float(text) == value
            else:
                assert text == value


@JAVA
def test_java_reads_all_of_mujo_json(folder: Path, probe: str) -> None:
    assert_same_facts(probe, folder / "mujo.properties", json.loads((folder / "mujo.json").read_text("utf-8")))


ODD = " größe = 1: #a.b\\c 日本 \U0001f600\t!"


@JAVA
def test_names_may_hold_any_character(bundle: ModelBundle, probe: str, classes: Path, tmp_path: Path) -> None:
    labels = bundle.manifest.label_set()
    names = [Label(f'{ODD}, "{index}"', ()) for index in range(len(labels.labels))]
    odd = replace(labels, name=ODD, labels=tuple(names), placement=" a = b")
    both = {ODD: odd, "x.temperature": replace(labels, name="x.temperature")}
    own = replace(bundle, manifest=replace(bundle.manifest, label_sets=both, default_label_set=ODD))
    write("android", Job(own, odd, golden.cases(own, odd)[:1], tmp_path))
    assert_same_facts(probe, tmp_path / "mujo.properties", json.loads((tmp_path / "mujo.json").read_text("utf-8")))
    assert self_test(classes, tmp_path).stdout == "passed\n"


@JAVA
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("input.hop=25", "input.hop=0"), "is inconsistent"),
        (lambda text: text.replace("input.hop=25", "input.hop=151"), "is inconsistent"),
        (lambda text: text.replace("input.rate_hz=50.0", "input.rate_hz=NaN"), "is inconsistent"),
        (lambda text: text.replace("input.rate_hz=50.0", "input.rate_hz=fast"), 'For input string: "fast"'),
        (lambda text: text.replace("input.rate_hz=50.0", "input.rate_hz=Infinity"), "is inconsistent"),
        (lambda text: text.replace("input.clip=4.0", "input.clip=NaN"), "is inconsistent"),
        (lambda text: text.replace("input.scale=9.80665", "input.scale=0"), "is inconsistent"),
        (lambda text: re.sub(r"(physio-wrist\.temperature)=.*", r"\1=0", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.temperature)=.*", r"\1=NaN", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.channels)=.*", r"\1=0", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.smoothing\.stay)=.*", r"\1=1.5", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.smoothing\.windows)=.*", r"\1=0", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.smoothing\.method)=.*", r"\1=mean", text), "outside its limits"),
        (lambda text: re.sub(r"(physio-wrist\.unknown_threshold)=.*", r"\1=NaN", text), "outside its limits"),
        (lambda text: text.replace("input.clip", "input.clap"), "mujo.properties has no input.clip"),
        (lambda text: text.replace("default_label_set=", "default_label_set=no"), "is inconsistent"),
        (lambda text: text.replace("schema_version=1", "schema_version=2"), "schema 2, this code reads 1"),
        (lambda text: text.replace(".prototypes.2=", ".prototypes.2=1.0 "), "97 numbers instead of 96"),
        (lambda text: "", "mujo.properties has no schema_version"),
    ],
)
def test_invalid_properties_are_rejected(
    change: Callable[[str], str], message: str, folder: Path, classes: Path, tmp_path: Path
) -> None:
    text = (folder / "mujo.properties").read_text()
    assert change(text) != text
    (tmp_path / "mujo.properties").write_text(change(text))
    done = self_test(classes, tmp_path)
    assert done.returncode == 1
    assert message in done.stdout


def test_properties_have_the_whole_contract(bundle: ModelBundle, tmp_path: Path) -> None:
    labels = bundle.manifest.label_set()
    table = contract(Job(bundle, labels, (), tmp_path))
    lines = android.properties(table).splitlines()
    assert len(lines) == len(set(lines)) == sum(1 for _ in android.leaves("", table))
    assert f"default_label_set={labels.name}" in lines
    assert "input.scale=9.80665 9.80665 9.80665 4.0 4.0 4.0" in lines
