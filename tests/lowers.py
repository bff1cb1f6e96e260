"""Process for `test_network.py`: imports as an export does, lowers a network to .onnx and embeds a sentence."""

from __future__ import annotations

import coremltools  # noqa: F401 (imported to be watched, as the others without a use)
import executorch.exir  # noqa: F401
import litert_torch  # noqa: F401
import numpy as np
import tflite_micro  # noqa: F401
import torchao  # noqa: F401

from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.runtimes import open_model
from mujo_edge.signal import InputSpec
from training.models.sentence_embedding import embed_text
from training.models.student import Student
from training.release.metadata import ModelMetadata
from training.release.quantize import quantize_onnx

if __name__ == "__main__":
    bundle = read_manifest()
    sets = tuple(bundle.label_sets.values())
    metadata = ModelMetadata("small", "1", InputSpec(), 64, sets, bundle.default_label_set)
    x = np.random.default_rng(0).normal(size=(16, 6, 1, 150)).astype(np.float32)
    embeddings = open_model(quantize_onnx(Student().eval(), x, metadata), "onnx").run(x)
    print(embeddings.shape, embed_text(["a person walks"]).shape)
