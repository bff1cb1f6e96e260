"""The .tflite file for apps: equal to the int8 file, with metadata that describes input and output."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.core import F32, DataError
from mujo_edge.export import Job, contract
from mujo_edge.export.tflite import described, embedded, float_io
from mujo_edge.runtimes import open_model
from mujo_edge.signal import prepare

INT8 = (read_manifest().folder / read_manifest().model("litert").file).read_bytes()
FLOAT = float_io(INT8)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    bundle = ModelBundle.load()
    return Job(bundle, bundle.manifest.label_set(), (), tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def real(job: Job) -> F32:
    """Real windows as the model takes them."""
    return prepare(job.manifest.read_reference().x, job.manifest.input)


def steps(model: bytes, shape: tuple[int, ...], middle: float) -> F32:
    """Inputs that lie `middle` of a step above a whole number of the int8 file's steps, all 256 and some beyond."""
    ((scale, _),) = [given["quantization"] for given in Interpreter(model_content=model).get_input_details()]
    whole = np.random.default_rng(0).integers(-140, 140, shape)
    return ((whole + middle) * scale).astype(np.float32)


def test_float_io_equals_the_int8_file_in_litert(real: F32) -> None:
    noise = np.random.default_rng(1).normal(0, 1.5, (3000, *real.shape[1:])).astype(np.float32)
    halves = steps(INT8, (200, *real.shape[1:]), 0.5)
    int8, floats = open_model(INT8, "litert"), open_model(FLOAT, "litert")
    assert np.isfinite(int8.run(real)).all()
    np.testing.assert_array_equal(floats.run(real), int8.run(real))
    # A value half way between two steps may be rounded otherwise, as XNNPACK multiplies by the reciprocal of the scale.
    other = (floats.run(noise) != int8.run(noise)).any(1)
    assert other.mean() < 0.01
    np.testing.assert_allclose(floats.run(halves), int8.run(halves), atol=0.03)


def test_xnnpack_runs_the_model_in_one_partition() -> None:
    assert open_model(FLOAT, "litert").is_one_partition()  # type: ignore[attr-defined]


def test_signature_has_named_tensors(real: F32) -> None:
    interpreter = Interpreter(model_content=FLOAT)
    assert interpreter.get_signature_list() == {"embed": {"inputs": ["imu"], "outputs": ["embedding"]}}
    embedding = interpreter.get_signature_runner("embed")(imu=real[:1])["embedding"]
    np.testing.assert_array_equal(embedding, open_model(INT8, "litert").run(real[:1]))


def test_metadata_does_not_change_the_output(job: Job, real: F32) -> None:
    for model in (INT8, FLOAT):
        telling = open_model(described(model, job), "litert")
        np.testing.assert_array_equal(telling.run(real), open_model(model, "litert").run(real))


def test_weights_are_aligned_to_16_bytes(job: Job) -> None:
    """As schema.fbs asks with force_align, for kernels that read them where they lie."""
    for model in (FLOAT, described(INT8, job)):
        table = schema.ModelT.InitFromPackedBuf(model, 0)
        large = [bytes(buffer.data) for buffer in table.buffers if buffer.data is not None and len(buffer.data) > 64]
        assert len(large) > 10
        assert all(model.index(content) % 16 == 0 for content in large)


def test_contract_is_embedded(job: Job) -> None:
    text = embedded(described(FLOAT, job), "mujo.json")
    assert text is not None
    assert json.loads(text) == json.loads(json.dumps(contract(job)))
    assert embedded(FLOAT, "mujo.json") is None


def test_unzip_finds_the_label_files(job: Job) -> None:
    with zipfile.ZipFile(io.BytesIO(described(FLOAT, job))) as archive:
        assert archive.testzip() is None
        actual = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    sets = job.manifest.label_sets
    assert actual == {f"labels-{name}.txt": list(labels.names[:-1]) for name, labels in sets.items()}


def test_metadata_can_be_replaced_without_growth(job: Job) -> None:
    other = replace(job, labels=job.manifest.label_set("daily-wrist"))
    once, twice = described(FLOAT, job), described(described(FLOAT, job), other)
    assert twice == described(FLOAT, other)
    assert abs(len(once) - len(twice)) < 64
    assert described(FLOAT, job) == once


def _packed(table: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(table.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"no model at all", bytes(4096)])
def test_files_that_are_no_models_are_a_data_error(content: bytes, job: Job) -> None:
    for of in (float_io, lambda model: described(model, job), lambda model: embedded(model, "mujo.json")):
        with pytest.raises(DataError, match="damaged or unsupported"):
            of(content)


def test_float_model_is_rejected() -> None:
    fp32 = (read_manifest().folder / "student_fp32.tflite").read_bytes()
    for model in (fp32, FLOAT):
        with pytest.raises(DataError, match="its input is not int8"):
            float_io(model)


def test_two_inputs_are_rejected() -> None:
    table = schema.ModelT.InitFromPackedBuf(INT8, 0)
    table.subgraphs[0].inputs = [0, 1]
    with pytest.raises(DataError, match="more than one input"):
        float_io(_packed(table))


def test_truncated_model_is_a_data_error(job: Job) -> None:
    whole = described(FLOAT, job)
    flatbuffer = whole.index(b"PK\x03\x04")
    for length in (*range(0, 64), *range(64, flatbuffer - 64, 997)):
        with pytest.raises(DataError):
            embedded(whole[:length], "mujo.json")
    for length in (*range(0, 64), *range(64, len(INT8) - 64, 997)):
        with pytest.raises(DataError):
            float_io(INT8[:length])


def _structure() -> list[int]:
    """Places of the bytes of the file that are not weights."""
    weights = bytearray(len(INT8))
    for buffer in schema.ModelT.InitFromPackedBuf(INT8, 0).buffers:
        if buffer.data is not None:
            at = INT8.index(bytes(buffer.data))
            weights[at : at + len(buffer.data)] = b"\1" * len(buffer.data)
    return [at for at, weight in enumerate(weights) if not weight]


@settings(max_examples=1000, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(_structure()), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_structure_is_a_data_error(changes: list[tuple[int, int]]) -> None:
    model = bytearray(INT8)
    for at, byte in changes:
        model[at] = byte
    with suppress(DataError):
        assert float_io(bytes(model))[4:8] == b"TFL3"


def test_torch_is_not_imported() -> None:
    code = "import sys, mujo_edge.export.tflite; assert not {'torch', 'scipy', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tflite_micro_runs_the_model(job: Job, real: F32) -> None:
    from tflite_micro.python.tflite_micro import runtime

    def run(model: bytes, x: Any) -> Any:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=64 << 10)
        out = []
        for window in x:
            interpreter.set_input(window[None], 0)
            interpreter.invoke()
            out.append(np.array(interpreter.get_output(0)[0]))
        return np.stack(out)

    (given,), (taken,) = (
        getattr(Interpreter(model_content=INT8), f"get_{end}_details")() for end in ("input", "output")
    )
    (per, middle), (scale, zero) = given["quantization"], taken["quantization"]
    q = np.rint(real * np.float32(1 / per) + middle).clip(-128, 127).astype(np.int8)
    plain = run(INT8, q)
    np.testing.assert_array_equal(run(described(INT8, job), q), plain)
    expected = ((plain.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
    np.testing.assert_array_equal(run(described(FLOAT, job), real), expected)


@pytest.fixture(scope="session")
def tools_python(request: pytest.FixtureRequest) -> Path:
    """Python with TensorFlow's own metadata tools and tflite-runtime 2.14, which need numpy 1; in pytest's cache."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-support 0.4.4 and tflite-runtime 2.14 have no wheels for Python 3.12 or newer")
    folder = Path(request.config.cache.mkdir("tflite-support-0.4.4"))
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        for packages in (["tflite-runtime==2.14.0", "numpy<2", "flatbuffers"], ["--no-deps", "tflite-support==0.4.4"]):
            done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"tflite-support is not installed: {done.stderr.strip().splitlines()[-1]}")
        (folder / "complete").touch()
    return python


READ = """
import json, sys
from tensorflow_lite_support.metadata.cc.python import _pywrap_metadata_version as version
from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer, MetadataPopulator

displayer = MetadataDisplayer.with_model_file(sys.argv[1])
packed = displayer.get_packed_associated_file_list()
checker = MetadataPopulator.with_model_file(sys.argv[1])
checker.load_metadata_buffer(bytearray(displayer.get_metadata_buffer()))  # raises if model and metadata do not match
print(json.dumps({
    "metadata": json.loads(displayer.get_metadata_json()),
    "packed": {name: displayer.get_associated_file_buffer(name).decode() for name in packed},
    "recorded": checker.get_recorded_associated_file_list(),
    "least version": version.GetMinimumMetadataParserVersion(displayer.get_metadata_buffer()),
}))
"""


def test_tensorflow_metadata_schema_reads_the_metadata(job: Job, tools_python: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(described(FLOAT, job))
    done = subprocess.run(
        [str(tools_python), "-c", READ, "model.tflite"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    model, manifest = report["metadata"], job.manifest
    assert (model["name"], model["version"]) == (manifest.name, manifest.version)
    assert model["author"] == "The mujo-edge authors"
    assert model["license"].startswith("Apache-2.0")
    assert model["min_parser_version"] == report["least version"]
    assert set(report["packed"]) == {file["name"] for file in model["associated_files"]} == set(report["recorded"])
    labels = report["packed"][f"labels-{job.labels.name}.txt"]
    assert labels.splitlines() == [label.name for label in job.labels.labels]
    (graph,) = model["subgraph_metadata"]
    (given,), (taken,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert (given["name"], taken["name"]) == ("imu", "embedding")
    assert "150 samples at 50 Hz of ax ay az gx gy gz" in given["description"]
    assert [len(end["dimension_names"]) for end in (given, taken)] == [4, 2]
    (unit,) = given["process_units"]
    assert unit["options_type"] == "NormalizationOptions"
    np.testing.assert_allclose(unit["options"]["std"], manifest.input.scale)
    assert given["stats"] == {"max": [manifest.input.clip], "min": [-manifest.input.clip]}


RUN = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter

def run(name, x):
    interpreter = Interpreter(name)
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    quantized = given["dtype"] == np.int8
    if quantized:
        scale, zero = given["quantization"]
        x = np.rint(x * np.float32(1 / scale) + zero).clip(-128, 127).astype(np.int8)
    out = []
    for window in x:
        interpreter.set_tensor(given["index"], window[None])
        interpreter.invoke()
        out.append(interpreter.get_tensor(taken["index"])[0])
    y = np.stack(out)
    scale, zero = taken["quantization"]
    return ((y.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32) if quantized else y

x = np.load("x.npy")
y = run("int8.tflite", x)
assert y.std() > 0.1
for name in ("float.tflite", "described.tflite", "described_int8.tflite"):
    np.testing.assert_array_equal(run(name, x), y)
assert Interpreter("described.tflite").get_signature_list() == {"embed": {"inputs": ["imu"], "outputs": ["embedding"]}}
"""


def test_tflite_runtime_2_14_agrees_with_the_int8_file(job: Job, real: F32, tools_python: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", real)
    files = {"int8": INT8, "float": FLOAT, "described": described(FLOAT, job), "described_int8": described(INT8, job)}
    for name, content in files.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    done = subprocess.run(
        [str(tools_python), "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
