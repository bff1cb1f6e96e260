"""Android and Wear OS: the model for three runtimes, the pipeline in Java, and a page of Kotlin that uses them.

mujo.properties is mujo.json in the format of java.util.Properties, since Java has no JSON parser of its own: paths are
keys ("input.rate_hz", "label_sets.NAME.labels.0"), and a list of numbers is one value separated by spaces.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mujo_edge.export import Job, Written, contract, models
from mujo_edge.export.escape import java_property

PROPERTIES = "mujo.properties"


def write(job: Job) -> Written:
    """Write models, mujo.properties, java/ and kotlin/ into `job.folder`. Raises as `models.ship`."""
    shipped = models.ship(job, ("executorch", "onnx"))
    (job.folder / PROPERTIES).write_text(properties(contract(job)), "ascii")
    for part in ("java", "kotlin"):
        shutil.copytree(Path(__file__).parent / part, job.folder / part)
    return Written(shipped, {"models": models.rows(shipped)})


def properties(table: dict[str, Any]) -> str:
    """`table` in the line format of java.util.Properties.load."""
    return "".join(f"{java_property(path)}={text}\n" for path, text in leaves("", table))


def leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """(path, written value) of every leaf of `value`, which is at `path`."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(f"{path}.{name}" if path else name, part)
    elif isinstance(value, list | tuple):
        if all(isinstance(part, int | float) for part in value):
            yield path, " ".join(map(str, value))
        else:
            for index, part in enumerate(value):
                yield from leaves(f"{path}.{index}", part)
    else:
        yield path, java_property(str(value))
