"""What a run was given, written beside what it made: config, data hashes, seeds, git commit, versions."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.corpora.files import Tree
from training.corpora.registry import find, get
from training.fimad.shards import shard_paths

PACKAGES = ("torch", "torchao", "litert-torch", "executorch", "onnxruntime", "numpy")


def git_commit() -> str:
    """HEAD of the checkout, with "+changes" when tracked files differ; "unknown" outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def data_sha256(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of every data set that its reader uses."""
    digests = {}
    for name in names:
        with Tree.open(find(name)) as tree:
            digests[name] = tree.sha256(get(name).marker)
    return digests


def shards_sha256(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard of clips in `folder`, by file name. Raises `DataError` where there are none."""
    digests = {}
    for path in shard_paths(folder):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def plain(value: Any) -> Any:
    """Dataclasses and mappings of them as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return value


def describe(config: Mapping[str, Any], corpora: Iterable[str]) -> dict[str, Any]:
    """Everything that a result depends on, as JSON values."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "config": plain(config),
        "data_sha256": data_sha256(corpora),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
    }
