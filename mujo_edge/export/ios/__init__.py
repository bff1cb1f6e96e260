"""iOS and watchOS: the model for three runtimes, the pipeline as a Swift package, a page of Swift that calls them.

There is no Swift compiler where this is made. The package is kept close to the Java reference, line by line, and comes
with a self-test that its users run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mujo_edge.export import Job, Written, models


def write(job: Job) -> Written:
    """Models, swift/ and app/ into `job.folder`. Raises `DataError` for a model that is off."""
    shipped = models.ship(job, ("executorch", "onnx", "coreml"))
    for part in ("swift", "app"):
        shutil.copytree(Path(__file__).parent / part, job.folder / part)
    return Written(shipped, {"models": models.rows(shipped)})
