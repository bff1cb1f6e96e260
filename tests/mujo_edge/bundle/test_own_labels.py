"""User-made label sets: fitted, saved, loaded, refused if incompatible, and used like shipped ones."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import AXES, INFO, bundle, chunked, label_set, motion

from mujo_edge.bundle import LabelSet, ModelBundle
from mujo_edge.bundle.fit import fit_label_set
from mujo_edge.bundle.labels import BundleId
from mujo_edge.core import F32, STANDARD_GRAVITY, DataError, UsageError
from mujo_edge.recognizer import Recognizer

OWNER = BundleId("fake", "1.0", "")


def windows(each: int = 20, seed: int = 0) -> tuple[F32, list[str]]:
    """(N, 6, 150) windows with one axis up, and which."""
    x = np.random.default_rng(seed).normal(0, 1.0, (3 * each, 6, 150)).astype(np.float32)
    for axis in range(3):
        x[axis * each : (axis + 1) * each, axis] += STANDARD_GRAVITY
    return x, [AXES[axis] for axis in range(3) for _ in range(each)]


@pytest.fixture
def fitted() -> LabelSet:
    return bundle().fit_labels(*windows(), name="mine", placement="wrist")


def edited(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_fitted_set_labels_unseen_windows(fitted: LabelSet) -> None:
    x, y = windows(10, seed=1)
    actual = bundle().classify(x, fitted)
    right = [label == truth for (label, _), truth in zip(actual, y, strict=True)]
    assert np.mean(right) > 0.85
    diagonal = np.zeros((1, 6, 150), np.float32)
    diagonal[:, :3] = STANDARD_GRAVITY / np.sqrt(3)
    assert bundle().classify(diagonal, fitted)[0][0] == "unknown"


def test_threshold_rejects_the_same_fraction_of_windows_as_shipped_sets() -> None:
    x, y = windows(200)
    fitted = bundle().fit_labels(x, y)
    turned_away = (bundle().embed(x) @ fitted.prototypes.T).max(1) < fitted.unknown_threshold
    assert turned_away.mean() == pytest.approx(0.05, abs=0.01)
    assert [label.windows for label in fitted.labels] == [200, 200, 200]
    assert "600 windows; 100 % of 600" in fitted.note


def test_groups_are_held_out_together() -> None:
    rng = np.random.default_rng(0)
    z = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2, 3, 2, 3]] + rng.normal(0, 0.01, (8, 4)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    y, people = list("abababab"), [1, 1, 1, 1, 2, 2, 2, 2]
    alone = fit_label_set(z, y, OWNER, 3, name="s")
    apart = fit_label_set(z, y, OWNER, 3, name="s", groups=people)
    assert alone.unknown_threshold > 0.4 > 0.1 > apart.unknown_threshold  # a new person's windows resemble nothing
    with pytest.raises(UsageError, match="one group only"):
        fit_label_set(z, y, OWNER, 3, name="s", groups=[{"a": 1, "b": 2}[label] for label in y])


def test_single_label_is_separated_from_unknown() -> None:
    x, y = windows()
    fitted = bundle().fit_labels(x[:20], y[:20])
    actual = [label for label, _ in bundle().classify(x, fitted)]
    assert actual.count("x up") >= 18
    assert set(actual[20:]) == {"unknown"}
    assert Recognizer(bundle(), INFO, fitted).update(chunked(*motion([0], 5.0), size=500)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["a"]}, "60 windows and 1 labels"),
        ({"y": ["a"] * 59 + ["b"]}, "label 'b' has one window"),
        ({"y": ["unknown"] * 60}, "'unknown' cannot be a label"),
        ({"y": [" "] * 60}, "cannot be a label"),
        ({"y": ["a\x1b[2J"] * 60}, "hidden character"),
        ({"name": "../x"}, "the name of a label set"),
        ({"placement": "<b>"}, "its placement"),
        ({"groups": [1]}, "60 labels and 1 groups"),
    ],
)
def test_fitting_rejects_invalid_input(change: dict[str, object], message: str) -> None:
    x, y = windows()
    with pytest.raises(UsageError, match=message):
        bundle().fit_labels(**({"x": x, "y": y} | change))  # type: ignore[arg-type]


def test_windows_in_g_or_transposed_are_named_in_the_error() -> None:
    x, y = windows()
    for call in (lambda v: bundle().classify(v), lambda v: bundle().fit_labels(v, y)):
        with pytest.raises(DataError, match=r"as if it were in g.*Multiply it by 9.80665"):
            call(x / STANDARD_GRAVITY)
        with pytest.raises(DataError, match=r"pass x.transpose\(0, 2, 1\)"):
            call(x.transpose(0, 2, 1))
        with pytest.raises(DataError, match="windows have shape"):
            call(x[0])


def test_label_set_file_round_trips_bit_for_bit(fitted: LabelSet, tmp_path: Path) -> None:
    fitted.save(tmp_path / "mine.json")
    loaded = LabelSet.load(tmp_path / "mine.json")
    np.testing.assert_array_equal(loaded.prototypes, fitted.prototypes)
    assert loaded.prototypes.dtype == np.float32
    assert replace(loaded, prototypes=fitted.prototypes) == fitted
    table = json.loads((tmp_path / "mine.json").read_text())
    assert table["schema_version"] == 1
    assert table["bundle"] == {"name": "fake", "version": "1.0", "reference_sha256": ""}
    assert table["labels"][0] == {"name": "x up", "prompts": [], "windows": 20}


def test_recognizer_accepts_a_label_set_its_file_and_its_path(fitted: LabelSet, tmp_path: Path) -> None:
    fitted.save(tmp_path / "mine.json")
    scores = [
        Recognizer(bundle(), INFO, labels).update(chunked(*motion([1], 5.0), size=500)[0])[-1].scores
        for labels in (fitted, tmp_path / "mine.json", str(tmp_path / "mine.json"))
    ]
    assert scores[0] == scores[1] == scores[2]
    assert list(scores[0]) == [*AXES, "unknown"]


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (BundleId("other", "1.0", ""), "fitted with other 1.0, and this is fake 1.0"),
        (BundleId("fake", "0.9", ""), "fitted with fake 0.9, and this is fake 1.0"),
        (BundleId("fake", "1.0", "00"), "fitted with another fake 1.0"),
    ],
)
def test_set_of_another_bundle_is_refused(fitted: LabelSet, owner: BundleId, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bundle().classify(windows()[0], replace(fitted, bundle=owner))


def test_set_of_another_width_is_refused(fitted: LabelSet) -> None:
    with pytest.raises(DataError, match=r"have 2 values, and fake 1\.0 gives 3"):
        bundle().classify(windows()[0], replace(fitted, prototypes=np.eye(3, 2, dtype=np.float32)))


def test_name_of_a_shipped_set_is_refused(fitted: LabelSet) -> None:
    assert list(bundle().with_labels(fitted).label_sets) == ["axes", "mine"]
    assert list(bundle().with_labels(label_set()).label_sets) == ["axes"]
    with pytest.raises(UsageError, match="has a label set axes already"):
        bundle().with_labels(replace(fitted, name="axes"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "has schema version 2, this mujo-edge reads 1. Upgrade"),
        ({"kind": "x"}, "is not a label set"),
        ({"name": "a/b"}, "name: no plain name"),
        ({"labels": []}, "labels: expected a list of length >= 1"),
        ({"labels": [{"name": "a", "prompts": []}] * 3}, "a label is there twice"),
        ({"prototypes": [[1.0, 0.0, 0.0]]}, "one row for each of 3 labels"),
        ({"prototypes": [[2.0, 0.0, 0.0]] * 3}, "not of length 1"),
        ({"prototypes": [[1.0], [1.0, 2.0], [1.0]]}, "is damaged"),
        ({"prototypes": "x"}, "is damaged"),
        ({"temperature": 0}, "temperature: expected a number >= 1e-06"),
        ({"temperature": "x"}, "is damaged"),
        ({"smoothing": {"method": "magic", "stay": 0.9, "windows": 5}}, "smoothing.method: invalid enum value 'magic'"),
        ({"bundle": {}}, "is damaged"),
        ({"bundle": {"name": "../x", "version": "1", "reference_sha256": ""}}, "bundle.name: no plain name"),
        ({"temperature": float("nan")}, "NaN, which is not finite"),
        ({"temperature": 10**400}, "temperature: number out of range"),
        ({"unknown_threshold": None}, "unknown_threshold: expected a number"),
        ({"channels": 5}, "channels: invalid enum value 5"),
        ({"smoothing": {"method": "hmm", "stay": 1.5, "windows": 5}}, "smoothing.stay: expected a number <= 1.0"),
        ({"smoothing": {"method": "majority", "stay": 0.9, "windows": 0}}, "smoothing.windows: expected a whole"),
        ({"smoothing": {"method": "majority", "stay": 0.9, "windows": 10**12}}, "smoothing.windows: expected a whole"),
        ({"labels": [{"name": 5, "prompts": []}] * 3}, r"labels\[0\].name: expected a text, got a whole number"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"note": "a\u202eb"}, "hidden character"),
    ],
)
def test_damaged_file_is_an_error_in_one_line(
    fitted: LabelSet, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    fitted.save(tmp_path / "mine.json")
    with pytest.raises(DataError, match=message) as caught:
        LabelSet.load(edited(tmp_path / "mine.json", **changes))
    assert "\n" not in str(caught.value)


def test_missing_or_malformed_files_are_errors(fitted: LabelSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        LabelSet.load(tmp_path / "none.json")
    for content in (b"", b"[1]", b"\xff", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as a label set"):
            LabelSet.load(tmp_path / "bad.json")
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    for name in ("fifo.json", "device.json"):
        with pytest.raises(DataError, match="is not a regular file"):
            LabelSet.load(tmp_path / name)
    os.truncate(tmp_path / "bad.json", 1 << 40)  # sparse
    with pytest.raises(DataError, match="larger than 8 MB"):
        LabelSet.load(tmp_path / "bad.json")
    with pytest.raises(UsageError, match=r"ends with \.json"):
        fitted.save(tmp_path / "mine.txt")
    with pytest.raises(UsageError, match="cannot be written"):
        fitted.save(tmp_path / "none" / "mine.json")
    with pytest.raises(UsageError, match="does not say which bundle"):
        replace(fitted, bundle=None).save(tmp_path / "mine.json")


def test_shipped_sets_can_be_saved(tmp_path: Path) -> None:
    shipped = ModelBundle.load()
    shipped.label_sets["gym-wrist"].save(tmp_path / "gym.json")
    loaded = shipped.manifest.label_set(str(tmp_path / "gym.json"))
    np.testing.assert_array_equal(loaded.prototypes, shipped.label_sets["gym-wrist"].prototypes)
