"""ModelBundle: windows in, embeddings and labels out, the same in every runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generated_motion import CLASSES, ROOT, motion

import mujo_edge
from mujo_edge.bundle import ModelBundle, compare, l2_normalize
from mujo_edge.bundle.manifest import read_manifest, write_manifest
from mujo_edge.core import UNKNOWN, DataError, UsageError
from mujo_edge.signal import prepare

RUNTIMES = ("litert", "executorch", "onnx")


def test_embeddings_are_normalized_float32(bundle_folder: Path) -> None:
    bundle = mujo_edge.ModelBundle.load(bundle_folder)
    x, _ = motion(5, seed=2)
    y = bundle.embed(x)
    assert (y.shape, y.dtype) == ((20, 64), np.float32)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-5)


def test_classify_names_the_motion(bundle_folder: Path) -> None:
    x, y = motion(25, seed=3)
    actual = ModelBundle.load(bundle_folder).classify(x)
    assert np.mean([label == CLASSES[c] for (label, _), c in zip(actual, y, strict=True)]) > 0.95
    assert all(0 < score <= 1 for _, score in actual)


def test_classify_gives_the_top_labels_of_every_window(bundle_folder: Path) -> None:
    x, _ = motion(25, seed=3)
    bundle = ModelBundle.load(bundle_folder)
    best, ranked = bundle.classify(x), bundle.classify(x, top=3)
    assert [first for first, *_ in ranked] == best
    assert all(len(row) == 3 and row[0][1] >= row[1][1] >= row[2][1] for row in ranked)
    whole = bundle.classify(x[:1], top=100)[0]
    assert sorted(label for label, _ in whole) == sorted(bundle.manifest.label_set().names)
    assert sum(score for _, score in whole) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UsageError, match="top is 0"):
        bundle.classify(x, top=0)


def test_windows_with_time_before_channels_are_refused(bundle_folder: Path) -> None:
    x, _ = motion(5, seed=3)
    with pytest.raises(DataError, match=r"pass x\.transpose\(0, 2, 1\)"):
        ModelBundle.load(bundle_folder).classify(x.transpose(0, 2, 1))
    with pytest.raises(DataError, match="as if it were in g"):
        ModelBundle.load(bundle_folder).classify(x / 9.81)


def test_motion_of_no_label_set_is_unknown(bundle_folder: Path) -> None:
    x, y = motion(25, seed=4)
    actual = ModelBundle.load(bundle_folder).classify(x[y == 3], labels="swings-wrist")
    assert np.mean([label == UNKNOWN for label, _ in actual]) > 0.5


def test_three_channels_equal_six_with_zero_gyroscope(bundle_folder: Path) -> None:
    bundle = ModelBundle.load(bundle_folder)
    x, _ = motion(3, seed=5)
    silent = x.copy()
    silent[:, 3:] = 0
    np.testing.assert_array_equal(bundle.embed(x[:, :3]), bundle.embed(silent))


def test_one_window_at_a_time_gives_the_same_bits(bundle_folder: Path) -> None:
    bundle = ModelBundle.load(bundle_folder)
    x, _ = motion(4, seed=6)
    whole = bundle.embed(x)
    one_by_one = np.concatenate([bundle.embed(x[n : n + 1]) for n in range(len(x))])
    np.testing.assert_array_equal(whole, one_by_one)


def test_no_windows_give_no_embeddings(bundle_folder: Path) -> None:
    bundle = ModelBundle.load(bundle_folder)
    assert bundle.embed(np.empty((0, 6, 150), np.float32)).shape == (0, 64)
    assert bundle.classify(np.empty((0, 3, 150), np.float32)) == []


@pytest.mark.parametrize("shape", [(2, 6, 100), (2, 4, 150), (6, 150), (2, 150, 6)])
def test_wrong_shapes_are_a_data_error(bundle_folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected \(N, 3, 150\) or \(N, 6, 150\)"):
        ModelBundle.load(bundle_folder).embed(np.zeros(shape, np.float32))


def test_non_finite_values_are_a_data_error(bundle_folder: Path) -> None:
    x, _ = motion(1, seed=7)
    x[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        ModelBundle.load(bundle_folder).embed(x)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_agrees_with_the_reference(bundle_folder: Path, runtime: str, threads: int) -> None:
    bundle = ModelBundle.load(bundle_folder, runtime, threads)
    reference = bundle.manifest.read_reference()
    parity = compare(reference.y, bundle.embed(reference.x), bundle.label_sets, reference.member)
    assert bundle.runtime.name == runtime
    assert parity.snr_db > 25
    assert parity.top1_agreement >= 0.98


def test_results_survive_the_next_call(bundle_folder: Path) -> None:
    x, _ = motion(2, seed=8)
    for runtime in RUNTIMES:
        bundle = ModelBundle.load(bundle_folder, runtime)
        first = bundle.runtime.run(prepare(x[:1], bundle.input))
        before = first.copy()
        bundle.runtime.run(prepare(x[-1:], bundle.input))
        np.testing.assert_array_equal(first, before)


def test_verify_runs_every_file(bundle_folder: Path) -> None:
    checks = ModelBundle.load(bundle_folder).verify()
    assert {(check.file, check.runtime) for check in checks} == {
        ("student_int8.tflite", "litert"),
        ("student_fp32.tflite", "litert"),
        ("student_int8.pte", "executorch"),
        ("student_int8.onnx", "onnx"),
    }
    assert all(check.passed for check in checks)


def test_verify_detects_another_network(bundle_copy: Path) -> None:
    """A complete bundle with valid digests whose reference is of another network."""
    with np.load(bundle_copy / "reference.npz") as reference:
        arrays = dict(reference)
    arrays["y"] = arrays["y"][::-1]
    np.savez(bundle_copy / "reference.npz", **arrays)
    table = json.loads((bundle_copy / "bundle.json").read_text())
    write_manifest(bundle_copy, {k: v for k, v in table.items() if k not in ("schema_version", "sha256", "files")})
    with pytest.raises(DataError, match="does not give the reference outputs"):
        ModelBundle.load(bundle_copy).verify()


def test_invalid_arguments_are_errors(bundle_folder: Path) -> None:
    with pytest.raises(UsageError, match="auto, litert, tflite-runtime, executorch, onnx"):
        ModelBundle.load(bundle_folder, runtime="tensorrt")
    with pytest.raises(UsageError, match="threads is 0"):
        ModelBundle.load(bundle_folder, threads=0)
    with pytest.raises(UsageError, match="has the label sets motion-wrist"):
        ModelBundle.load(bundle_folder).classify(motion(1, seed=9)[0], labels="nope")


def test_model_of_other_shapes_is_rejected(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text())
    table["input"]["window"] = 100
    write_manifest(bundle_copy, {k: v for k, v in table.items() if k not in ("schema_version", "sha256", "files")})
    with pytest.raises(DataError, match=r"takes \(1, 6, 1, 150\)"):
        ModelBundle.load(bundle_copy)


def test_loading_imports_nothing_heavy(bundle_folder: Path) -> None:
    code = f"import sys, mujo_edge; mujo_edge.ModelBundle.load({str(bundle_folder)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "scipy", "onnxruntime", "executorch", "training", "jinja2", "matplotlib"}
    assert done.stderr == ""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_native_libraries_print_nothing(bundle_folder: Path, runtime: str) -> None:
    code = f"import mujo_edge; mujo_edge.ModelBundle.load({str(bundle_folder)!r}, {runtime!r}, threads=2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout + done.stderr == ""


def test_normalize_keeps_zero() -> None:
    np.testing.assert_array_equal(l2_normalize(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


def test_compare_counts_each_window_in_its_own_label_set(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    prototypes = manifest.label_sets["motion-wrist"].prototypes
    y = prototypes[[0, 1, 2]]
    actual = prototypes[[0, 2, 2]]
    swings = np.asarray(["motion-wrist", "swings-wrist", "swings-wrist"])
    parity = compare(y, actual, manifest.label_sets, swings)
    assert parity.top1_agreement == pytest.approx(2 / 3)
    assert parity.windows == 3
    assert parity.max_abs_delta == pytest.approx(np.abs(y - actual).max())
