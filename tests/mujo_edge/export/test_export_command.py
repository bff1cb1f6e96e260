"""`mujo-edge export`: folders are written completely or not at all, and errors say what to do."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import read_manifest, write_manifest
from mujo_edge.bundle.store import SHIPPED
from mujo_edge.cli import main
from mujo_edge.core import DataError, MissingExtraError, UsageError
from mujo_edge.export import CONTRACT, SUMS, export
from mujo_edge.files import atomic_directory, sha256


def bundle_like(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "mujo-student", tmp_path / "bundle"))


@pytest.fixture(scope="module")
def android(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that needs nothing outside Python."""
    return export("android", None, tmp_path_factory.mktemp("out"), labels="gym-wrist")[0]


def test_targets_without_missing_programs_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUJO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda program, **_: None)  # no node
    monkeypatch.setattr(sys, "argv", ["mujo-edge", "export", "--target", "all", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == MissingExtraError.exit_code
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["android", "ios", "mcu"]
    assert [line.split(":")[0] for line in shown.out.splitlines()] == [
        str(tmp_path / "out" / name) for name in ("android", "ios", "mcu")
    ]
    assert "web was not written" in shown.err
    assert "[web]'" in shown.err


def test_labels_by_name_are_exported(tmp_path: Path) -> None:
    (folder,) = export("android", None, tmp_path, labels="Squat, deadlift, plank")
    table = json.loads((folder / CONTRACT).read_text("utf-8"))
    assert table["default_label_set"] == "squat-deadlift-plank"
    labels = read_manifest().labels("Squat, deadlift, plank")
    entry = table["label_sets"]["squat-deadlift-plank"]
    assert entry["labels"] == ["Squat", "deadlift", "plank"]
    np.testing.assert_array_equal(np.array(entry["prototypes"], np.float32), labels.prototypes)
    assert "never seen in training" in (folder / "README.md").read_text("utf-8")
    assert table["label_sets"]["physio-wrist"]["title"] == "shoulder exercises, wrist"


def test_every_file_has_its_checksum(android: Path) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=android, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ", 1)[1] for line in (android / SUMS).read_text().splitlines()}
    there = {path.relative_to(android).as_posix() for path in android.rglob("*") if path.is_file()}
    assert listed == there - {SUMS}


def test_contract_has_all_of_the_bundle(android: Path) -> None:
    table = json.loads((android / CONTRACT).read_text("utf-8"))
    manifest = read_manifest()
    assert table["default_label_set"] == "gym-wrist"
    assert table["input"]["rate_hz"] == manifest.input.rate_hz
    assert table["input"]["scale"] == list(manifest.input.scale)
    assert set(table["label_sets"]) == set(manifest.label_sets)
    for name, entry in table["label_sets"].items():
        own = manifest.label_sets[name]
        np.testing.assert_array_equal(np.array(entry["prototypes"], np.float32), own.prototypes)
        assert [*entry["labels"], "unknown"] == list(own.names)
        assert (entry["temperature"], entry["unknown_threshold"]) == (own.temperature, own.unknown_threshold)
    assert {model["file"] for model in table["models"]} <= {path.name for path in android.iterdir()}
    assert all((android / model["file"]).is_file() for model in table["models"])


def test_license_note_names_every_corpus_and_has_the_spar_license(android: Path) -> None:
    note = (android / "LICENSES.md").read_text("utf-8")
    assert all(corpus["title"] in note for corpus in read_manifest().training["corpora"])
    assert "Redistribution and use in source and binary forms" in note


def test_readme_is_filled_in(android: Path) -> None:
    text = (android / "README.md").read_text("utf-8")
    assert not re.search(r"\$\{?[a-z]", text)
    assert read_manifest().name in text
    assert "gym-wrist" in text


def test_only_an_earlier_export_is_replaced(android: Path, tmp_path: Path) -> None:
    shutil.copytree(android, tmp_path / "android")
    (tmp_path / "android" / "stale").touch()
    export("android", None, tmp_path)
    assert not (tmp_path / "android" / "stale").exists()
    other = tmp_path / "else"
    (other / "android").mkdir(parents=True)
    (other / "android" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="holds no export of mujo-edge"):
        export("android", None, other)
    assert (other / "android" / "mine.txt").read_text() == "keep"
    assert [path.name for path in other.iterdir()] == ["android"]


def test_unknown_target_bundle_or_label_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no target is called 'watch'; choose one of: web, android, ios, mcu, all"):
        export("watch", None, tmp_path)
    with pytest.raises(UsageError, match="no bundle at nowhere"):
        export("android", "nowhere", tmp_path)
    with pytest.raises(
        UsageError, match=r"'yoga' alone would be the label of every window.*\nbundle mujo-student has the label sets"
    ):
        export("android", None, tmp_path, labels="yoga")
    assert not list(tmp_path.iterdir())


def test_damaged_bundle_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_like(tmp_path)
    model = bundle / "student_int8.tflite"
    model.write_bytes(model.read_bytes()[:-9] + b"\0" * 9)
    with pytest.raises(DataError, match="changed or damaged"):
        export("android", bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bundle_with_a_wrong_model_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_like(tmp_path)
    table = json.loads((bundle / "bundle.json").read_text())
    with np.load(bundle / "reference.npz") as arrays:
        content = dict(arrays)
    content["y"] = np.roll(content["y"], 1, axis=0)
    np.savez_compressed(bundle / "reference.npz", **content)
    write_manifest(
        bundle, {key: value for key, value in table.items() if key not in ("schema_version", "sha256", "files")}
    )
    with pytest.raises(DataError, match="does not give the reference outputs"):
        export("android", bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_newer_bundle_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_like(tmp_path)
    text = (bundle / "bundle.json").read_text().replace('"schema_version": 1', '"schema_version": 99', 1)
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(DataError, match=r"schema version 99.*pip install -U mujo-edge"):
        export("android", bundle, tmp_path / "out")


def test_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        export("android", None, tmp_path / "file" / "out")


def test_failed_export_leaves_the_earlier_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mark").write_text("old")

    def fill(error: Exception | None) -> None:
        with atomic_directory(out, lambda path: (path / "mark").is_file(), "thing") as partial:
            (partial / "mark").write_text("new")
            if error:
                raise error

    with pytest.raises(DataError):
        fill(DataError("half-way"))
    with pytest.raises(UsageError, match="out cannot be written: No space left on device"):
        fill(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert (out / "mark").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    fill(None)
    assert (out / "mark").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_command_prints_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mujo_edge", "export", "--target", "android", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "android" / "README.md") in done.stdout
    sums = {line.split("  ")[1]: line.split("  ")[0] for line in (tmp_path / "android" / SUMS).read_text().splitlines()}
    assert sums[CONTRACT] == sha256(tmp_path / "android" / CONTRACT)


def test_own_label_set_is_exported_like_a_shipped_one(tmp_path: Path) -> None:
    shipped = ModelBundle.load()
    gym = shipped.label_sets["gym-wrist"]
    own = replace(gym, name="mine-3", labels=gym.labels[:3], prototypes=gym.prototypes[:3], note="")
    own.save(tmp_path / "mine.json")
    android, mcu = (
        export(target, None, tmp_path / "out", labels=str(tmp_path / "mine.json"))[0] for target in ("android", "mcu")
    )
    for folder in (android, mcu):
        table = json.loads((folder / CONTRACT).read_text("utf-8"))
        assert table["default_label_set"] == "mine-3"
        assert table["label_sets"].keys() == {*shipped.label_sets, "mine-3"}
        np.testing.assert_array_equal(np.array(table["label_sets"]["mine-3"]["prototypes"], np.float32), own.prototypes)
        cases = (folder / "golden" / "cases.csv").read_text().splitlines()
        assert all(line.split(",")[1] == "mine-3" for line in cases[1:])
    assert "#define MUJO_LABELS mujo_labels_mine_3" in next(mcu.rglob("mujo_labels.h")).read_text()
    assert "labels-mine-3.txt" in zipfile.ZipFile(android / "student_int8_float_io.tflite").namelist()


def test_own_label_set_must_not_have_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    gym = ModelBundle.load().label_sets["gym-wrist"]
    replace(gym, labels=gym.labels[:3], prototypes=gym.prototypes[:3]).save(tmp_path / "mine.json")
    with pytest.raises(UsageError, match="has a label set gym-wrist already"):
        export("android", None, tmp_path / "out", labels=tmp_path / "mine.json")
    assert not (tmp_path / "out").exists()
