"""Fingerprint of a task: a digest of its arguments, the files that they name, and the code that reads them."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path

from training.fimad.clip import Source, Task

ROOT = Path(__file__).resolve().parents[2]


def fingerprint(task: Task, source: Source, stamps: dict[Path, str]) -> str:
    """Digest of everything a part depends on. `stamps` caches the stamps of files between tasks."""
    for path in paths(task.arguments):
        stamps.setdefault(path, stamp(path))
    files = [stamps[path] for path in paths(task.arguments)]
    reader = getattr(task.read, "func", task.read).__module__
    code = [content(path) for path in sorted(code_of(reader) | code_of("training.fimad.convert"))]
    return digest(source.name, source.license, repr(task.arguments), files, code)


def digest(*values: object) -> str:
    """First 16 hex digits of the SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def paths(value: object) -> Iterator[Path]:
    """The paths in a task's arguments, including those inside tuples and dataclasses."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from paths(item)
    elif is_dataclass(value):
        for name in value.__dataclass_fields__:
            yield from paths(getattr(value, name))


def stamp(path: Path) -> str:
    """Digest of size and modification time of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return digest([(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()])


def code_of(module: str) -> set[Path]:
    """Files of a module and of all that it imports at any depth, within `training` and including `mujo_edge.signal`."""
    files: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        stem = ROOT.joinpath(*name.split("."))
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        if path not in files and path.is_file():
            files.add(path)
            waiting += (n for n in imports(path) if n.startswith("training.") or n == "mujo_edge.signal")
    return files


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names in a file's import statements; those of functions and classes are no modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


@cache
def content(path: Path) -> str:
    """Digest of a source file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
