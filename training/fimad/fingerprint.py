"""What the part of a task depends on: the task itself, the files that it names, and the code that reads them."""

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


def fingerprint(task: Task, source: Source, seen: dict[Path, str]) -> str:
    """Digest of all that a part depends on. `seen` remembers the stamps of files from one task to the next."""
    for path in paths(task.arguments):
        seen.setdefault(path, stamp(path))
    files = [seen[path] for path in paths(task.arguments)]
    reader = getattr(task.read, "func", task.read).__module__
    code = [content(path) for path in sorted(code_of(reader) | code_of("training.fimad.convert"))]
    return digest(source.name, source.license, repr(task.arguments), files, code)


def digest(*values: object) -> str:
    """Short hash of JSON values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def paths(value: object) -> Iterator[Path]:
    """The paths in a task's arguments, also inside tuples and dataclasses."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from paths(item)
    elif is_dataclass(value):
        for name in value.__dataclass_fields__:
            yield from paths(getattr(value, name))


def stamp(path: Path) -> str:
    """Digest of size and time of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return digest([(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()])


def code_of(module: str) -> set[Path]:
    """Files of a module and of all that it imports anywhere: modules of `training`, and the signal processing."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        stem = ROOT.joinpath(*name.split("."))
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        if path not in found and path.is_file():
            found.add(path)
            waiting += (n for n in imports(path) if n.startswith("training.") or n == "mujo_edge.signal")
    return found


@cache
def imports(path: Path) -> frozenset[str]:
    """Names that may be modules which a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


@cache
def content(path: Path) -> str:
    """Digest of a file of code."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
