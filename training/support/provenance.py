"""Provenance of a run, written with its results: config, data hashes, seeds, git commit, versions."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchao", "litert-torch", "executorch", "onnxruntime", "numpy")


def git_commit() -> str:
    """HEAD of the checkout, with "+changes" if tracked files differ; "unknown" outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def plain(value: Any) -> Any:
    """Dataclasses and mappings of them as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return value


def describe(config: Mapping[str, Any], data_sha256: Mapping[str, str]) -> dict[str, Any]:
    """Config, data hashes, commit and versions as JSON values."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "config": plain(config),
        "data_sha256": dict(data_sha256),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
    }
