"""Runtimes: selection by name, errors with the pip line, and tflite-runtime in a separate environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated_motion import ROOT

from mujo_edge.core import DataError, MissingExtraError
from mujo_edge.runtimes import RUNTIMES, choose_runtime, open_model
from mujo_edge.runtimes.quiet import without_lines


def test_auto_selects_litert() -> None:
    assert choose_runtime().name == "litert"


def test_every_installed_runtime_has_a_version() -> None:
    versions = {name: info.version for name, info in RUNTIMES.items()}
    assert all(versions[name] for name in ("litert", "executorch", "onnx"))


def test_runtime_without_wheels_for_this_python_says_so() -> None:
    absent = replace(RUNTIMES["tflite-runtime"], package="no-such-package", imports="no_such_package.api")
    assert replace(absent, newest_python=(3, 10)).obstacle == (
        "no-such-package has no wheels for Pythons after 3.10; use LiteRT, or Python 3.10"
    )
    assert replace(absent, newest_python=(9, 0)).obstacle == "no-such-package is not installed"


def test_missing_runtime_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(RUNTIMES["onnx"], package="no-such-package", imports="no_such_package.api")
    assert (absent.version, absent.obstacle) == (None, "no-such-package is not installed")
    monkeypatch.setitem(RUNTIMES, "onnx", absent)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[onnx\]'"):
        open_model(b"", "onnx")
    monkeypatch.setitem(RUNTIMES, "litert", absent)
    monkeypatch.setitem(RUNTIMES, "tflite-runtime", absent)
    with pytest.raises(MissingExtraError, match="no runtime can be used"):
        choose_runtime("auto")


def test_numpy_2_is_an_obstacle_for_tflite_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if installed with this numpy: the import works, and the first interpreter fails."""
    if np.__version__.startswith("1."):
        pytest.skip("numpy 1 is installed")
    installed = replace(RUNTIMES["tflite-runtime"], package="numpy", imports="numpy")
    monkeypatch.setitem(RUNTIMES, "tflite-runtime", installed)
    with pytest.raises(MissingExtraError, match=r"needs numpy below 2, and numpy 2.* is installed. .*\[tflite\]"):
        open_model(b"", "tflite-runtime")


@pytest.mark.parametrize("content", [b"", b"abc" * 100], ids=["empty", "garbage"])
@pytest.mark.parametrize("runtime", ["litert", "executorch", "onnx"])
def test_file_that_is_not_a_model_is_a_data_error(runtime: str, content: bytes) -> None:
    with pytest.raises(DataError, match="does not accept the model file"):
        open_model(content, runtime)


def onnx_model(op: str, *taken: str, kind: int = 1, **constants: list[int]) -> bytes:
    """A network of one node whose inputs are the names in `taken` without constants, all of the ONNX type `kind`."""
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, kind, ["N", 6, 1, 150]) for name in taken if name not in constants]
    initializers = [helper.make_tensor(name, TensorProto.INT64, [len(v)], v) for name, v in constants.items()]
    output = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([helper.make_node(op, taken, ["y"])], "g", inputs, [output], initializers)
    opset = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString())


def test_model_that_loads_and_fails_when_run_is_a_data_error() -> None:
    opened = open_model(onnx_model("Gather", "x", "index", index=[10**6]), "onnx")
    with pytest.raises(DataError, match="onnxruntime cannot run the model file"):
        opened.run(np.zeros((1, 6, 1, 150), np.float32))


def test_lite_model_that_fails_when_run_is_a_data_error() -> None:
    from ai_edge_litert.interpreter import Interpreter

    from mujo_edge.bundle.store import find_bundle
    from mujo_edge.runtimes.tflite import TFLiteModel

    class Failing(Interpreter):  # type: ignore[misc]
        def invoke(self) -> None:
            raise RuntimeError("node 3 failed to invoke")

    model = TFLiteModel("litert", Failing, (find_bundle() / "student_int8.tflite").read_bytes(), 1)
    with pytest.raises(DataError, match="litert cannot run the model file: node 3"):
        model.run(np.zeros((1, 6, 1, 150), np.float32))


@pytest.mark.parametrize(
    "content",
    [onnx_model("Add", "x", "x2"), onnx_model("Identity", "x", kind=11)],
    ids=["two inputs", "float64"],
)
def test_model_with_other_inputs_is_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError, match="one input and one output"):
        open_model(content, "onnx")


def test_only_the_named_lines_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with without_lines(b"INFO: noise"):
        os.write(2, b"INFO: noise about nothing\nERROR: this matters\n")
    assert capfd.readouterr().err == "ERROR: this matters\n"


@pytest.fixture(scope="session")
def tflite_python(request: pytest.FixtureRequest) -> Path:
    """Python of a virtual environment with tflite-runtime 2.14, numpy 1 and msgspec, kept in pytest's cache."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14 has no wheel for Python 3.12 or newer")
    folder = Path(request.config.cache.mkdir("tflite-runtime-2.14-msgspec"))
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2", "msgspec"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"tflite-runtime could not be installed: {done.stderr.strip().splitlines()[-1]}")
        (folder / "complete").touch()
    return python


def test_tflite_runtime_agrees_with_the_reference(tflite_python: Path, bundle_folder: Path) -> None:
    """LiteRT is not installed there, so that "auto" takes tflite-runtime; numpy is 1.26."""
    code = f"""
import json, numpy, sys
from mujo_edge.bundle import ModelBundle
bundle = ModelBundle.load({str(bundle_folder)!r})
checks = [[check.file, check.runtime, check.parity.snr_db] for check in bundle.verify()]
print(json.dumps([bundle.runtime.name, numpy.__version__, checks]))
"""
    done = subprocess.run(
        [str(tflite_python), "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    name, numpy_version, checks = json.loads(done.stdout)
    assert name == "tflite-runtime"
    assert numpy_version.startswith("1.")
    assert {(file, runtime) for file, runtime, _ in checks} == {
        ("student_int8.tflite", "tflite-runtime"),
        ("student_fp32.tflite", "tflite-runtime"),
    }
    assert all(snr_db > 25 for _, _, snr_db in checks)
