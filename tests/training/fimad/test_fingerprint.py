"""Fingerprints of tasks depend on arguments, files and code."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from made_takes import PathArgument, made_source, made_tasks

from training.fimad import fingerprint as module
from training.fimad.clip import Task
from training.fimad.fingerprint import code_of, fingerprint
from training.fimad.sources import hdm05


@pytest.fixture
def arguments(tmp_path):
    source = made_source(tmp_path / "data", 2)
    return source, next(made_tasks(tmp_path / "data")), tmp_path / "data" / "0.txt"


def test_fingerprint_is_reproducible(arguments):
    source, task, _ = arguments
    first = fingerprint(task, source, {})
    assert fingerprint(task, source, {}) == first
    assert len(first) == 16


def test_fingerprint_depends_on_arguments_reader_and_license(arguments):
    source, task, path = arguments
    seen = {
        fingerprint(task, source, {}),
        fingerprint(replace(task, arguments=(PathArgument(path), 1)), source, {}),
        fingerprint(replace(task, read=hdm05.read), source, {}),
        fingerprint(task, replace(source, license="other"), {}),
    }
    assert len(seen) == 4
    assert fingerprint(replace(task, read=partial(task.read)), source, {}) in seen


@pytest.mark.parametrize("wrap", [lambda p: p, PathArgument, lambda p: (1, (p,)), lambda p: p.parent])
def test_fingerprint_depends_on_files_in_nested_arguments(arguments, wrap):
    source, task, path = arguments
    task = Task(task.id, task.read, (wrap(path),))
    seen = [fingerprint(task, source, {})]
    path.write_text("longer than before")
    seen.append(fingerprint(task, source, {}))
    os.utime(path, (1, 1))
    seen.append(fingerprint(task, source, {}))
    path.unlink()
    seen.append(fingerprint(task, source, {}))
    assert len(set(seen)) == 4


def test_code_includes_all_modules_that_a_reader_imports():
    names = {path.relative_to(module.ROOT).as_posix() for path in code_of("training.fimad.sources.hdm05")}
    assert {
        "training/fimad/sources/hdm05.py",
        "training/fimad/skeletons/asf_amc.py",
        "training/fimad/skeletons/canonical.py",
        "training/fimad/clip.py",
    } <= names
    assert "training/fimad/sources/cmu.py" not in names
    names = {path.relative_to(module.ROOT).as_posix() for path in code_of("training.fimad.convert")}
    assert {"training/fimad/virtual_imu.py", "training/fimad/titles.py", "mujo_edge/signal.py"} <= names
    assert code_of("numpy") == set()


def test_fingerprint_depends_on_imported_code(arguments, tmp_path, monkeypatch):
    root = tmp_path / "project"
    package = root / "training" / "fimad"
    package.mkdir(parents=True)
    (package / "convert.py").write_text("from training.fimad import helper\n")
    (package / "helper.py").write_text("def late():\n    import training.fimad.deep\n")
    (package / "deep.py").write_text("x = 1\n")
    monkeypatch.setattr(module, "ROOT", root)
    source, task, _ = arguments
    seen = set()
    for text in ("x = 1\n", "x = 2\n"):
        (package / "deep.py").write_text(text)
        module.imports.cache_clear()
        module.content.cache_clear()
        seen.add(fingerprint(task, source, {}))
    assert len(seen) == 2
    module.imports.cache_clear()
    module.content.cache_clear()


def test_stamps_of_files_are_cached(arguments):
    source, task, path = arguments
    seen: dict[Path, str] = {}
    first = fingerprint(task, source, seen)
    path.write_text("changed meanwhile")
    assert fingerprint(task, source, seen) == first
