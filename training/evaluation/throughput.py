"""Throughput of pretraining: windows/s, and the file of the measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 5
"""Steps that are excluded from the measurement."""


def speed(times_s: Sequence[float], batch: int) -> dict[str, Any]:
    """End times (n,) of the steps -> windows/s over all counted steps, and quartiles over single steps."""
    steps = np.diff(times_s[WARM_UP - 1 :])
    return {
        "steps": len(steps),
        "windows_per_s": batch * len(steps) / float(steps.sum()),
        "windows_per_s_quartiles": (batch / np.quantile(steps, (0.75, 0.25))).tolist(),
    }


def merge(path: Path, entry: dict[str, Any]) -> None:
    """Add `entry` to the JSON list at `path`, replacing that of the same recipe and number of processes."""
    entries = json.loads(path.read_text("utf-8")) if path.exists() else []
    entries = [old for old in entries if any(old[key] != entry[key] for key in ("recipe", "processes"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*entries, entry], indent=1) + "\n")
