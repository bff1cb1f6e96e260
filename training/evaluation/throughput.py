"""How fast a recipe's teacher is pretrained: `python -m training.throughput --recipe mujo_pure --shards DIR`.

Under torchrun it measures that many processes; the file has one entry for each recipe and number of processes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 5
"""Steps that are not counted."""


def speed(times_s: Sequence[float], batch: int) -> dict[str, Any]:
    """Times (n,) at which the steps were done -> windows/s over all counted steps, and quartiles over single steps."""
    steps = np.diff(times_s[WARM_UP - 1 :])
    return {
        "steps": len(steps),
        "windows_per_s": batch * len(steps) / float(steps.sum()),
        "windows_per_s_quartiles": (batch / np.quantile(steps, (0.75, 0.25))).tolist(),
    }


def merge(path: Path, entry: dict[str, Any]) -> None:
    """Put `entry` into the JSON list at `path`, in place of what was measured of the same recipe and processes."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else []
    kept = [old for old in kept if any(old[key] != entry[key] for key in ("recipe", "processes"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, entry], indent=1) + "\n")
