"""A bundle is read completely or rejected: any damage is a `DataError` with advice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mujo_edge.bundle.manifest import LabelSet, read_manifest, write_manifest
from mujo_edge.core import UNKNOWN, DataError, UsageError

FILES = (
    "bundle.json",
    "student_int8.tflite",
    "student_int8.pte",
    "student_int8.onnx",
    "student_fp32.tflite",
    "student_coreml.pte",
    "student_cortex_m.pte",
    "reference.npz",
    "MODEL_CARD.md",
    "prototypes/motion-wrist.npy",
    "prototypes/swings-wrist.npy",
    "vocabulary/names.json",
    "vocabulary/arrays.npz",
)


def rewrite(folder: Path, **changes: object) -> None:
    """Change top-level entries of bundle.json and sign it again, as a wrong exporter would."""
    table = json.loads((folder / "bundle.json").read_text())
    for key in ("schema_version", "sha256", "files"):
        table.pop(key)
    write_manifest(folder, table | changes)


def test_every_file_is_listed_with_its_hash(bundle_folder: Path) -> None:
    actual = {path.relative_to(bundle_folder).as_posix() for path in bundle_folder.rglob("*") if path.is_file()}
    assert actual == set(FILES)
    assert set(read_manifest(bundle_folder).files) == set(FILES) - {"bundle.json"}


def test_manifest_round_trips(bundle_folder: Path) -> None:
    manifest = read_manifest(bundle_folder)
    assert (manifest.name, manifest.default_label_set, manifest.embedding_dim) == ("small", "motion-wrist", 64)
    assert manifest.input.scale == (9.80665,) * 3 + (4.0,) * 3
    assert manifest.label_set().names == ("rest", "slow swing", "fast swing", "twist", UNKNOWN)
    assert manifest.label_set("swings-wrist").prototypes.shape == (2, 64)
    assert {(m.runtime, m.precision) for m in manifest.models} == {
        ("litert", "int8"),
        ("litert", "fp32"),
        ("executorch", "int8"),
        ("onnx", "int8"),
    }
    assert all(m.parity.windows >= 1000 and m.parity.top1_agreement >= 0.99 for m in manifest.models)


def test_files_for_other_runtimes_are_read(bundle_folder: Path) -> None:
    lowered = {model.file: model for model in read_manifest(bundle_folder).lowered}
    assert set(lowered) == {"student_coreml.pte", "student_cortex_m.pte"}
    assert lowered["student_coreml.pte"].backend == "coreml"
    assert "cortex_m.quantized_depthwise_conv2d" in lowered["student_cortex_m.pte"].operators
    assert all(m.parity is not None and m.parity.windows >= 1000 for m in lowered.values())


def test_parity_of_a_file_for_other_runtimes_may_be_missing(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text())
    rewrite(bundle_copy, lowered=[table["lowered"][0] | {"parity": None}])
    assert [model.parity for model in read_manifest(bundle_copy).lowered] == [None]


def test_older_bundle_without_lowered_files_or_vocabulary_is_read(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text())
    for key in ("schema_version", "sha256", "files", "lowered", "vocabulary"):
        table.pop(key)
    write_manifest(bundle_copy, table)
    manifest = read_manifest(bundle_copy)
    assert manifest.lowered == ()
    assert manifest.vocabulary is None
    assert manifest.labels("swings-wrist").placement == "wrist"


def test_files_for_other_runtimes_have_hashes(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text())
    rewrite(bundle_copy, lowered=[table["lowered"][0] | {"file": "elsewhere.pte"}])
    with pytest.raises(DataError, match=r"no SHA-256 for elsewhere\.pte"):
        read_manifest(bundle_copy)


@pytest.fixture(scope="module")
def victim(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path_factory.mktemp("victim") / "small"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_detected(victim: Path, name: str, place: float, flip: int) -> None:
    path = victim / name
    good = path.read_bytes()
    bad = bytearray(good)
    bad[int(place * len(bad))] ^= flip
    path.write_bytes(bad)
    try:
        with pytest.raises(DataError):
            read_manifest(victim)
    finally:
        path.write_bytes(good)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_detected(victim: Path, name: str, place: float) -> None:
    path = victim / name
    good = path.read_bytes()
    path.write_bytes(good[: int(place * len(good))])
    try:
        with pytest.raises(DataError):
            read_manifest(victim)
    finally:
        path.write_bytes(good)


@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode), st.just(b"[" * 100_000)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_invalid_bundle_json_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(DataError, match="again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "bundle.json"])
def test_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(DataError, match=name.rsplit("/", maxsplit=1)[-1]):
        read_manifest(bundle_copy)


def test_newer_schema_asks_for_an_upgrade(bundle_copy: Path) -> None:
    table = json.loads((bundle_copy / "bundle.json").read_text()) | {"schema_version": 2}
    (bundle_copy / "bundle.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="pip install -U mujo-edge"):
        read_manifest(bundle_copy)


def test_line_endings_are_part_of_the_digest(bundle_copy: Path) -> None:
    path = bundle_copy / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match="was changed"):
        read_manifest(bundle_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: np.full_like(p, np.nan), "not of length 1"),
        (lambda p: 2 * p, "not of length 1"),
        (lambda p: p[:-1], "not float32"),
        (lambda p: p.astype(np.float64), "not float32"),
    ],
    ids=["nan", "length", "count", "dtype"],
)
def test_invalid_prototypes_are_rejected(bundle_copy: Path, change: object, message: str) -> None:
    path = bundle_copy / "prototypes" / "motion-wrist.npy"
    np.save(path, change(np.load(path)))
    rewrite(bundle_copy)
    with pytest.raises(DataError, match=message):
        read_manifest(bundle_copy)


def test_pickled_prototypes_are_not_unpickled(bundle_copy: Path) -> None:
    np.save(bundle_copy / "prototypes" / "motion-wrist.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    rewrite(bundle_copy)
    with pytest.raises(DataError, match="allow_pickle"):
        read_manifest(bundle_copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"default_label_set": "nowhere"},
        {"models": []},
        {"models": [{"file": "student_int8.tflite"}]},
        {"input": {"rate": 50}},
        {"label_sets": {"a": 1}},
        {"embedding_dim": "many"},
        {"lowered": [{"file": "student_coreml.pte"}]},
        {"lowered": 5},
        {"reference": "elsewhere.npz"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_invalid_manifest_with_valid_hash_is_rejected(bundle_copy: Path, changes: dict[str, object]) -> None:
    rewrite(bundle_copy, **changes)
    with pytest.raises(DataError, match=r"bundle\.json"):
        read_manifest(bundle_copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_files_outside_the_bundle_are_rejected(bundle_copy: Path, name: str) -> None:
    (bundle_copy.parent / "outside").write_text("x")
    text = (bundle_copy / "bundle.json").read_text()
    table = json.loads(text)
    table["files"][name] = "0" * 64
    table["sha256"] = "0" * 64
    text = json.dumps(table)
    import hashlib

    digest = hashlib.sha256(text.encode()).hexdigest()
    (bundle_copy / "bundle.json").write_text(text.replace("0" * 64, digest, 1))
    with pytest.raises(DataError, match="outside the bundle"):
        read_manifest(bundle_copy)


def test_unknown_bundle_names_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle at nowhere"):
        read_manifest("nowhere")
    with pytest.raises(DataError, match=r"no bundle\.json"):
        read_manifest(tmp_path)


def test_unknown_label_set_is_an_error(bundle_folder: Path) -> None:
    with pytest.raises(UsageError, match="motion-wrist, swings-wrist"):
        read_manifest(bundle_folder).label_set("gym")


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4),
    threshold=st.floats(-0.5, 0.9),
    temperature=st.floats(0.02, 1),
)
def test_unknown_wins_exactly_below_the_threshold(cosines: list[float], threshold: float, temperature: float) -> None:
    basis = np.eye(5, dtype=np.float32)
    labels = LabelSet("s", (), basis[:4], "wrist", temperature, threshold, None, 6)  # type: ignore[arg-type]
    embedding = np.asarray([[*cosines, 0.0]], np.float32)
    p = labels.probabilities(embedding)
    assert p.shape == (1, 5)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    margin = max(cosines) - threshold
    if abs(margin) > 1e-3:
        assert (p[0].argmax() == 4) == (margin < 0)
