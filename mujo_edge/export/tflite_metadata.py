"""TensorFlow Lite's standard metadata: what a model is, what its input and output mean, which files belong to it.

Layout: metadata_schema.fbs of TensorFlow's tflite-support, file identifier "M001", version 1.0.0 of the schema. A
.tflite file holds it in its metadata buffer "TFLITE_METADATA"; files named in it are in a zip archive appended to it.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from mujo_edge.export import Job

METADATA = "TFLITE_METADATA"
IDENTIFIER = b"M001"

# Numbers of the schema: enumerators, and members of unions.
DESCRIPTIONS = 1
FEATURE_PROPERTIES = 1
NORMALIZATION_OPTIONS = 1


def label_files(job: Job) -> dict[str, bytes]:
    """A file a label set, with a label a line in the order of the prototypes, by name."""
    return {
        label_file(name): "".join(f"{label.name}\n" for label in labels.labels).encode()
        for name, labels in job.manifest.label_sets.items()
    }


def label_file(label_set: str) -> str:
    """Name of the file that has the labels of a label set."""
    return f"labels-{label_set}.txt"


def metadata(job: Job) -> bytes:
    """The ModelMetadata of a model of the bundle, whose graph has one input and one output.

    The input's process unit says what `mujo_edge.signal.prepare` does first, (x - 0) / scale; its range, what x is
    clipped to then. The label files belong to the model and not to the output, which has no axis of labels.
    """
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write(builder, _model(job)), IDENTIFIER)
    return bytes(builder.Output())


def _model(job: Job) -> tuple[Any, ...]:
    """ModelMetadata as `_write` takes it: a tuple is a table, with its fields in the order of the schema."""
    manifest, spec = job.manifest, job.manifest.input
    labels = [
        (label_file(name), f"labels of {name} in the order of its prototypes", DESCRIPTIONS)
        for name in manifest.label_sets
    ]
    clip = np.full(1, spec.clip, np.float32)
    normalization = (np.zeros(len(spec.channels), np.float32), np.array(spec.scale, np.float32))
    given = (
        "imu",
        f"{spec.window} samples at {spec.rate_hz:g} Hz of {' '.join(spec.channels)}: m/s2 with gravity, rad/s, 0 where "
        f"there is no gyroscope; each divided by its scale, then clipped to +-{spec.clip:g}",
        ["batch", "channel", "row", "time"],
        _CONTENT,
        [(NORMALIZATION_OPTIONS, normalization)],
        (clip, -clip),
    )
    taken = (
        "embedding",
        "divide by its length; its dot product with each prototype in the metadata buffer mujo.json is a cosine",
        ["batch", "feature"],
        _CONTENT,
    )
    graph = ("embed", None, [given], [taken])
    description = (
        f"Human activity from a window of {spec.window / spec.rate_hz:g} s of a wearable's IMU. The metadata buffer "
        "mujo.json has rate, units, axes, scale, label sets with prototypes and thresholds, and smoothing."
    )
    license = "Apache-2.0; for the data it was trained on see LICENSES.md and MODEL_CARD.md, which come with it"
    author = "The mujo-edge authors"
    return (manifest.name, description, manifest.version, [graph], author, license, labels, "1.0.0")


_CONTENT = (FEATURE_PROPERTIES, ())
"""Content of a tensor that is neither an image nor a box."""


def _write(builder: Any, value: str | tuple[Any, ...] | list[Any] | Any) -> int:
    """Write a string, a table (tuple: fields by number, None is absent, an int a byte), a vector of these (list) or a
    vector of numbers (array) -> its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    fields = [field if field is None or isinstance(field, int) else (_write(builder, field),) for field in value]
    builder.StartObject(len(fields))
    for number, field in enumerate(fields):
        if isinstance(field, tuple):
            builder.PrependUOffsetTRelativeSlot(number, field[0], 0)
        elif field is not None:
            builder.PrependInt8Slot(number, field, 0)
    return int(builder.EndObject())
