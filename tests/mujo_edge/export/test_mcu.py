"""The export for microcontrollers as a developer uses it: self-test, sizes, Arduino library, and errors."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.protocol import predictions
from firmware_bridge.protocol.framing import cobs_decode
from firmware_bridge.protocol.predictions import PieceCollector
from mujo_edge.bundle.manifest import Label, Manifest, Smoothing, read_manifest
from mujo_edge.core import DataError
from mujo_edge.export import SUMS, export
from mujo_edge.export.escape import c_string
from mujo_edge.export.mcu import labels, sizes

STUBS = Path(__file__).parents[2] / "firmware_bridge" / "firmware" / "stubs"
FLASH, RAM = 102_400, 24_000
"""Goals, of a program with one label set; RAM with the stack."""

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Werror", "-pedantic"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def tool(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def run(*call: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, call)), capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (written,) = export("mcu", None, tmp_path_factory.mktemp("export"))
    return written


@pytest.fixture(scope="module")
def selftest(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("build") / "selftest"
    sources = [folder / "selftest.c", *sorted((folder / "src").glob("*.c"))]
    done = run(tool("gcc"), *STRICT, *SANITIZED, f"-I{folder / 'src'}", *sources, "-lm", "-o", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_make_selftest_reproduces_the_golden_streams(folder: Path, compiler: str, tmp_path: Path) -> None:
    tool("make")
    before = sorted(folder.rglob("*"))
    done = run("make", "-s", "-C", folder, "selftest", f"CC={tool(compiler)}", f"BUILD={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all equal\n")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["even", "fast", "slow", "measured", "broken", "all"]
    assert sorted(folder.rglob("*")) == before


def test_sanitizers_find_no_error(folder: Path, selftest: Path) -> None:
    done = run(selftest, folder / "golden")
    assert (done.returncode, done.stderr) == (0, "")


def other_label(text: str) -> str:
    """The first prediction with another label than it has."""
    rows = list(csv.reader(text.splitlines()))
    row = next(row for row in rows if row[0] == "prediction")
    row[3] = next(each[3] for each in rows if each[0] == "prediction" and each[3] != row[3])
    return "\n".join(map(",".join, rows)) + "\n"


MUTATIONS: dict[str, tuple[str, Callable[[str], str]]] = {
    "a label": ("even.events.csv", other_label),
    "a time": ("even.events.csv", lambda text: text.replace("prediction,,3.48,", "prediction,,3.480002,", 1)),
    "a score": (
        "even.events.csv",
        lambda text: re.sub(r"(prediction,,[^,]+,[^,]+,)0\.(\d)", r"\g<1>0.9\2", text, count=9),
    ),
    "a reason": ("broken.events.csv", lambda text: text.replace(",missing", ",clock", 1)),
    "the start of a gap": ("broken.events.csv", lambda text: re.sub(r"gap,(\d)", r"gap,1\1", text, count=1)),
    "an event is gone": ("slow.events.csv", lambda text: text.rsplit("prediction", 1)[0]),
    "an extra event": ("slow.events.csv", lambda text: text + text.splitlines()[-1] + "\n"),
    "a sample": ("even.samples.csv", lambda text: re.sub(r"(\n4\.\d+),[^,]+", r"\g<1>,99.0", text, count=1)),
    "samples are gone": ("fast.samples.csv", lambda text: text[: len(text) // 2].rpartition("\n")[0] + "\n"),
    "the smoothing": ("cases.csv", lambda text: text.replace("majority", "none")),
    "a count": ("cases.csv", lambda text: re.sub(r"(even.*),(\d+)\n", r"\1,9\2\n", text)),
    "a label set": ("cases.csv", lambda text: text.replace("physio-wrist", "other")),
    "no cases": ("cases.csv", lambda text: text.splitlines()[0] + "\n"),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_changed_golden_streams_fail_the_selftest(folder: Path, selftest: Path, what: str, tmp_path: Path) -> None:
    golden = shutil.copytree(folder / "golden", tmp_path / "golden")
    name, change = MUTATIONS[what]
    before = (golden / name).read_text()
    (golden / name).write_text(change(before))
    assert (golden / name).read_text() != before
    done = run(selftest, golden)
    assert done.returncode in (1, 2), done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "delta"), [("even.windows.f32", 0.1), ("slow.windows.f32", 0.1), ("even.embeddings.f32", 0.2)]
)
def test_changed_arrays_fail_the_selftest(
    folder: Path, selftest: Path, name: str, delta: float, tmp_path: Path
) -> None:
    golden = shutil.copytree(folder / "golden", tmp_path / "golden")
    values = np.fromfile(golden / name, "<f4")
    values[len(values) // 2 + 31] += delta
    values.tofile(golden / name)
    done = run(selftest, golden)
    assert done.returncode == 1, done.stdout
    values[: len(values) // 2].tofile(golden / name)
    assert run(selftest, golden).returncode == 2
    (golden / name).unlink()
    assert run(selftest, golden).returncode == 2


def test_sizes_are_below_the_limits_and_in_the_readme(folder: Path) -> None:
    for name in sizes.TOOLS:
        tool(name)
    rows = [line for line in (folder / "README.md").read_text().splitlines() if re.match(r"\| (208|50) \|", line)]
    assert len(rows) == 2
    for row in rows:
        flash, ram, stack = (int(figure.replace(",", "")) for figure in re.findall(r"([\d,]+) bytes", row))
        assert 45_000 < flash <= FLASH
        assert 900 + 3000 < ram + stack <= RAM
        assert stack > 256
    few, many = (int(re.findall(r"([\d,]+) bytes", row)[0].replace(",", "")) for row in reversed(rows))
    assert few < many


def test_missing_compiler_omits_the_sizes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sizes.measure(folder).startswith(
        "Not measured: make, arm-none-eabi-gcc, arm-none-eabi-size was not installed"
    )


def test_compiler_errors_are_data_errors(folder: Path, tmp_path: Path) -> None:
    for name in sizes.TOOLS:
        tool(name)
    broken = shutil.copytree(folder, tmp_path / "mcu")
    (broken / "src" / "mujo_labels.c").write_text("#error nothing\n")
    with pytest.raises(DataError, match=r"(?s)do not compile for a Cortex-M4:.*#error nothing"):
        sizes.measure(broken)


def test_deepest_stack_of_a_call_graph() -> None:
    graph = """
    node: { title: "a" label: "a\\nx.c:1:1\\n16 bytes (static)" }
    node: { title: "b" label: "b\\nx.c:2:1\\n100 bytes (static)" }
    node: { title: "c" label: "c\\nx.c:3:1\\n40 bytes (static)" }
    node: { title: "memset" label: "__builtin_memset\\n<built-in>" shape : ellipse }
    edge: { sourcename: "a" targetname: "b" label: "x.c:5:5" }
    edge: { sourcename: "a" targetname: "c" label: "x.c:6:5" }
    edge: { sourcename: "c" targetname: "b" label: "x.c:7:5" }
    edge: { sourcename: "b" targetname: "memset" }
    """
    assert sizes.deepest(graph, "a") == 156
    assert sizes.deepest(graph, "b") == 100


def test_folder_has_its_files(folder: Path) -> None:
    for name in ("library.properties", "Makefile", "selftest.c", "student_int8.tflite", "golden/cases.csv", SUMS):
        assert (folder / name).is_file(), name
    assert {path.name for path in (folder / "src").iterdir()} == {
        *("mujo.h", "mujo_config.h", "mujo_labels.c", "mujo_labels.h", "mujo_model.c", "mujo_model.h"),
        *("mujo_network.c", "mujo_network.h", "mujo_packet.h", "mujo_recognizer.c", "mujo_recognizer.h"),
    }
    table = json.loads((folder / "mujo.json").read_text())
    assert all((folder / model["file"]).is_file() for model in table["models"])
    assert {model["runtime"] for model in table["models"]} >= {"c", "tflite-micro"}
    readme = (folder / "README.md").read_text()
    for lowered in (model for model in read_manifest().lowered if model.backend == "cortex_m"):
        assert (folder / "executorch" / lowered.file).is_file()
        assert all(f"- `{name}`" in readme for name in lowered.operators)
    properties = dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())
    assert properties["includes"] == "mujo.h"
    # https://arduino.github.io/arduino-cli/library-specification: these are required
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} <= {
        *properties
    }


def test_readme_steps_compile(folder: Path, tmp_path: Path) -> None:
    example = (folder / "README.md").read_text().partition("```c\n")[2].partition("```")[0]
    around = "void show(const char *, float); void setup(void); void on_sample(int64_t, const float[6]);\n"
    source = example.replace('#include "mujo.h"\n', f'#include "mujo.h"\n{around}')
    call = [tool("gcc"), *STRICT, f"-I{folder / 'src'}", "-c", "-x", "c", "-", "-o", tmp_path / "example.o"]
    done = run(*call, input=source)
    assert done.returncode == 0, done.stderr


SENSOR = """#pragma once
#include <cmath>
struct LSM9DS1Class {
    int begin() { return 1; }
    int readAcceleration(float &x, float &y, float &z) {
        x = 0.5f * std::sin(float(stub::now_us) * 6e-6f);
        y = 0;
        z = 1;
        return 1;
    }
    int readGyroscope(float &x, float &y, float &z) {
        x = y = z = 0;
        return 1;
    }
};
inline LSM9DS1Class IMU;
"""
MAIN = """#include <Arduino.h>
#include "Wearable.ino"
int main() {
    setup();
    while (stub::now_us < 6000000) {
        loop();
        stub::now_us += 20;
    }
}
"""


def test_sketch_sends_labels(folder: Path, tmp_path: Path) -> None:
    """Compiled as C++ against stubs; its C sources as C, as in the Arduino IDE."""
    (tmp_path / "Arduino_LSM9DS1.h").write_text(SENSOR)
    (tmp_path / "main.cpp").write_text(MAIN)
    includes = [f"-I{tmp_path}", f"-I{STUBS}", f"-I{folder / 'src'}", f"-I{folder / 'examples' / 'Wearable'}"]
    objects = []
    for source in sorted((folder / "src").glob("*.c")):
        objects.append(tmp_path / f"{source.stem}.o")
        assert run(tool("gcc"), "-O1", f"-I{folder / 'src'}", "-c", source, "-o", objects[-1]).returncode == 0
    done = run(
        tool("g++"),
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        *includes,
        tmp_path / "main.cpp",
        *objects,
        "-o",
        tmp_path / "sketch",
    )
    assert done.returncode == 0, done.stderr
    lines = run(tmp_path / "sketch").stdout.splitlines()
    payloads = [cobs_decode(bytes.fromhex(line.split()[1])[:-1]) for line in lines]
    collector = PieceCollector()
    actual = [collector.add(payload) for payload in payloads if payload[0] >> 5 == predictions.DEVICE_MODEL]
    names = next(each for each in actual if each)
    manifest = read_manifest()
    assert (names.labels, names.hop_s, names.samples) == (manifest.label_set().names, 0.5, False)
    decoded = [predictions.decode(payload, names) for payload in payloads if payload[0] >> 5 == predictions.PREDICTION]
    assert [each.tick * 64e-6 for each in decoded if each.tick] == pytest.approx(np.arange(3, 6, 0.5), abs=0.021)
    assert all(each.prediction and each.prediction.reason is None and each.prediction.score > 0 for each in decoded)


def changed(manifest: Manifest, **changes: object) -> Manifest:
    return replace(manifest, input=replace(manifest.input, **changes))


@pytest.mark.parametrize(
    "changes", [{"rate_hz": 30.0}, {"rate_hz": 51.2}, {"hop": 12}, {"max_gap_s": 0.5}, {"rate_hz": 64.0, "hop": 16}]
)
def test_unsupported_pipeline_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="a microcontroller cannot take windows at"):
        labels.config(changed(read_manifest(), **changes), 0.03)


def test_more_than_255_labels_are_an_error() -> None:
    manifest = read_manifest()
    own = manifest.label_set()
    many = replace(own, labels=tuple(Label(str(i), ()) for i in range(255)))
    with pytest.raises(DataError, match="at most 255 labels"):
        labels.config(replace(manifest, label_sets={"many": many}), 0.03)
    slow = replace(own, smoothing=Smoothing("majority", windows=256))
    with pytest.raises(DataError, match="windows in a vote"):
        labels.config(replace(manifest, label_sets={"slow": slow}), 0.03)
    for one, other in (("a-b", "a_b"), ("a", "a-names"), ("a.prototypes", "a")):
        with pytest.raises(DataError, match="the same name in C"):
            labels.header([replace(own, name=one), replace(own, name=other)], own)


def test_names_and_floats_round_trip_through_c(tmp_path: Path) -> None:
    own = read_manifest().label_set()
    names = ['"quoted", \\ ??=', "größer 走る", "tab\tand\0" + "7", "%d"]
    assert c_string("a\0" + "7") == '"a\\0007"'
    source = "#include <stdio.h>\nint main(void) {\n"
    source += "".join(f"    puts({c_string(name.replace(chr(0), ''))});\n" for name in names)
    values = np.array([0.1, 1.0, -2.0, 1e-30, 3.4e38, 16777216.0, float(own.prototypes[0, 0])], np.float32)
    source += "".join(f'    printf("%a\\n", (double){labels.number(float(value))});\n' for value in values)
    program = tmp_path / "names"
    done = run(
        tool("gcc"), "-std=c99", "-Wall", "-Werror", "-trigraphs", "-x", "c", "-", "-o", program, input=source + "}\n"
    )
    assert done.returncode == 0, done.stderr
    output = run(program).stdout.splitlines()
    assert output[: len(names)] == [name.replace("\0", "") for name in names]
    assert [float.fromhex(line) for line in output[len(names) :]] == values.astype(float).tolist()
