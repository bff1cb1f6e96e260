"""The models for apps are those of the bundle, and are checked before they are written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.bundle import ModelBundle, l2_normalize
from mujo_edge.core import DataError
from mujo_edge.export import Job, golden, models
from mujo_edge.runtimes import open_model


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


def test_shipped_models_give_the_golden_embeddings(bundle: ModelBundle, tmp_path: Path) -> None:
    labels = bundle.manifest.label_set()
    job = Job(bundle, labels, golden.cases(bundle, labels)[:1], tmp_path)
    shipped = models.ship(job, ("executorch", "onnx"))
    assert {(model.runtime, model.precision, model.dtype) for model in shipped} == {
        ("litert", "int8", "float32"),
        ("executorch", "int8", "float32"),
        ("onnx", "int8", "float32"),
    }
    assert {model.file for model in shipped} == {path.name for path in tmp_path.iterdir()}
    for model in shipped:
        runtime = open_model((tmp_path / model.file).read_bytes(), model.runtime)
        actual = l2_normalize(runtime.run(np.ascontiguousarray(job.cases[0].windows[:, :, None])))
        atol = 1e-3 if model.runtime == "litert" else 0.1  # the others were quantized on their own
        np.testing.assert_allclose(actual, job.cases[0].embeddings, atol=atol)


def test_deviating_model_is_not_shipped(bundle: ModelBundle, tmp_path: Path) -> None:
    labels = bundle.manifest.label_set()
    cases = golden.cases(bundle, labels)[:2]
    off = cases[1].embeddings.copy()
    off[3, 5] += 2e-3
    job = Job(bundle, labels, (cases[0], replace(cases[1], embeddings=off)), tmp_path)
    with pytest.raises(DataError, match=r"is off by 0\.002 in the golden stream 'fast'"):
        models.ship(job, ())
    assert list(tmp_path.iterdir()) == []
    off[3, 5] = np.nan
    with pytest.raises(DataError, match="is off by nan"):
        models.ship(job, ())
