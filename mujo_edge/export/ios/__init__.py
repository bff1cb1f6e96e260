"""iOS and watchOS: the model for three runtimes, the pipeline as a Swift package, and a page of Swift that uses them.

This project is built without a Swift compiler. The package follows the Java reference line by line, and comes with a
self-test for its users to run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mujo_edge.export import Job, Written, models


def write(job: Job) -> Written:
    """Write models, swift/ and app/ into `job.folder`. Raises as `models.ship`."""
    shipped = models.ship(job, ("executorch", "onnx", "coreml"))
    for part in ("swift", "app"):
        shutil.copytree(Path(__file__).parent / part, job.folder / part)
    return Written(shipped, {"models": models.rows(shipped)})
