"""Microcontrollers: the whole recognizer in C99, as a folder for make and for the Arduino IDE.

`src` holds firmware_bridge/firmware/student (the network and the pipeline), mujo_packet.h, and the generated files
mujo_model (network.py), mujo_config and mujo_labels (labels.py).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

from mujo_edge.bundle.manifest import LabelSet, LoweredFile, Manifest
from mujo_edge.export import Job, Model, Written
from mujo_edge.export.escape import markdown
from mujo_edge.export.mcu import labels, network
from mujo_edge.export.mcu.sizes import measure

STUDENT = ("mujo_network.h", "mujo_network.c", "mujo_recognizer.h", "mujo_recognizer.c")
HOST_FILES = ("Makefile", "selftest.c", "size.c")
SKETCH = "examples/Wearable/Wearable.ino"
EXECUTORCH = "executorch"
"""Folder of the model that is lowered for Cortex-M; the Arduino IDE does not use it."""


def write(job: Job) -> Written:
    """Write sources, self-test and Arduino library into `job.folder`.

    Raises:
        DataError: the model or a label set cannot be written as C.
    """
    home = files("mujo_edge.export") / "mcu"
    macs = write_sources(job.manifest, job.labels, job.folder / "src").macs
    for name in HOST_FILES:
        (job.folder / name).write_bytes((home / name).read_bytes())
    values = {
        "set": labels.identifier(job.labels),
        "version": job.manifest.version,
        "bundle": job.manifest.name,
        "license": "Apache-2.0",
    }
    for name in (SKETCH, "library.properties"):
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((home / name).read_text("utf-8")).substitute(values), "utf-8")
    tflite = job.copy(job.manifest.model("litert").file)
    models = [
        Model("src/mujo_model.c", "c", "int8", "int8"),
        Model(tflite.name, "tflite-micro", "int8", "int8"),
    ]
    lowered = [model for model in job.manifest.lowered if model.backend == "cortex_m"]
    for model in lowered:
        (job.folder / EXECUTORCH).mkdir(exist_ok=True)
        moved = job.copy(model.file).rename(job.folder / EXECUTORCH / Path(model.file).name)
        models.append(Model(f"{EXECUTORCH}/{moved.name}", model.backend, model.precision, "float32"))
    readme = {
        "set": values["set"],
        "macs": f"{macs:,}",
        "sizes": measure(job.folder),
        "cortex_m": "\n".join(map(_note, lowered)),
    }
    return Written(tuple(models), readme)


def _note(model: LoweredFile) -> str:
    """The README's paragraph on a model for ExecuTorch."""
    operators = "".join(f"\n- `{markdown(name)}`" for name in model.operators)
    return (
        f"`{EXECUTORCH}/{Path(model.file).name}` is the same network for ExecuTorch with CMSIS-NN, and needs both. "
        f"**It was not run on a board**; compared was {markdown(model.measured)}. The firmware must register these "
        f"operators:\n{operators}"
    )


def write_sources(manifest: Manifest, chosen: LabelSet, folder: Path) -> network.Network:
    """Write all C sources of the library into a new `folder` -> its network. Raises `DataError` as `write`."""
    firmware = files("firmware_bridge") / "firmware"
    folder.mkdir(parents=True)
    for name in STUDENT:
        (folder / name).write_bytes((firmware / "student" / name).read_bytes())
    (folder / "mujo_packet.h").write_bytes((firmware / "mujo_packet.h").read_bytes())
    student = network.read((manifest.folder / manifest.model("litert").file).read_bytes())
    sets = manifest.label_sets.values()
    sources = {
        "mujo_model.h": network.header(student),
        "mujo_model.c": network.source(student),
        "mujo_config.h": labels.config(manifest, student.input.scale),
        "mujo_labels.h": labels.header(sets, chosen),
        "mujo_labels.c": labels.source(sets),
        "mujo.h": '/* All of it. */\n#include "mujo_labels.h"\n#include "mujo_packet.h"\n',
    }
    for name, content in sources.items():
        (folder / name).write_text(content, "ascii")
    return student
