"""ModelBundle: a folder with models, prototypes and a card, opened in a runtime.

bundle = mujo_edge.ModelBundle.load()
embeddings = bundle.embed(windows)  # (N, 3 or 6, 150) m/s2 and rad/s at 50 Hz -> (N, D)
labels = bundle.classify(windows)  # [("walking", 0.97), ...]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle.manifest import Label, LabelSet, Manifest, ModelFile, Parity, Smoothing, read_manifest
from mujo_edge.core import F32, DataError, Runtime
from mujo_edge.runtimes import RUNTIMES, choose_runtime, open_model
from mujo_edge.signal import InputSpec, prepare

__all__ = ["Label", "LabelSet", "ModelBundle", "ModelFile", "Parity", "Smoothing", "fit_prototypes"]

LEAST_SNR_DB = 20.0
"""Below this a model file does not compute what was trained."""


@dataclass(frozen=True, slots=True)
class Check:
    """One model file run in one runtime on the bundle's reference windows, against the fp32 network."""

    file: str
    runtime: str
    parity: Parity

    @property
    def passed(self) -> bool:
        """Whether the SNR is high enough. Agreement is shown, not judged: a few windows lie on a border."""
        return self.parity.snr_db >= LEAST_SNR_DB


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A checked bundle (`manifest`) whose model is loaded (`runtime`)."""

    manifest: Manifest
    runtime: Runtime

    @classmethod
    def load(cls, path_or_name: str | Path | None = None, runtime: str = "auto", threads: int = 1) -> Self:
        """Check every file of a bundle and load its int8 model.

        Args:
            path_or_name: a bundle folder or the name of a shipped bundle; None for the shipped default.
            runtime: "auto" (LiteRT, or tflite-runtime where LiteRT is not installed) or a name of
                `mujo_edge.runtimes.RUNTIMES`.
            threads: threads of the runtime.

        Raises:
            UsageError: no such bundle, runtime or number of threads.
            MissingExtraError: the runtime is not installed.
            DataError: the bundle is damaged, of a newer schema, or without a model for the runtime.
        """
        info = choose_runtime(runtime)
        manifest = read_manifest(path_or_name)
        model = manifest.model(info.format)
        return cls(manifest, open_checked(manifest, model, info.name, threads))

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.manifest.name

    @property
    def input(self) -> InputSpec:
        """What the model takes."""
        return self.manifest.input

    @property
    def label_sets(self) -> Mapping[str, LabelSet]:
        """Every label set by name."""
        return self.manifest.label_sets

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the default label set; `label_sets` has the others."""
        return self.manifest.label_set().names[:-1]

    @property
    def prototypes(self) -> F32:
        """(L, D) prototypes of the default label set, L2-normalized."""
        return self.manifest.label_set().prototypes

    def embed(self, x: npt.ArrayLike) -> F32:
        """(N, 3 or 6, T) m/s2 and rad/s -> (N, D) float32, L2-normalized. Raises `DataError` for other shapes."""
        return l2_normalize(self.runtime.run(prepare(np.asarray(x), self.manifest.input)))

    def classify(self, x: npt.ArrayLike, labels: str | None = None) -> list[tuple[str, float]]:
        """(N, 3 or 6, T) -> the label and its probability of every window, "unknown" included.

        `labels` names a label set, or activities ("squat, push-up, plank"); None takes the bundle's default. Windows
        are taken one by one: the recognizer of a stream smooths over time besides.
        """
        chosen = self.manifest.labels(labels)
        probabilities = chosen.probabilities(self.embed(x))
        return [(chosen.names[row.argmax()], float(row.max())) for row in probabilities]

    def verify(self) -> list[Check]:
        """Run every model file in every runtime installed for it, see `verify`."""
        return verify(self.manifest)


def l2_normalize(embeddings: F32) -> F32:
    """(N, D) -> rows of length 1; a zero row stays zero."""
    result: F32 = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12).astype(np.float32)
    return result


def fit_prototypes(embeddings: F32, y: npt.NDArray[np.int64], classes: int) -> F32:
    """Prototypes of one's own classes from labeled windows: their mean directions.

    (N, D) L2-normalized embeddings with class numbers `y` (N,) -> (L, D) float32, L2-normalized. A class without
    windows takes the mean of all, which is near to nothing in particular.
    """
    means = [embeddings[y == c].mean(0) if (y == c).any() else embeddings.mean(0) for c in range(classes)]
    return l2_normalize(np.stack(means).astype(np.float32))


def open_checked(manifest: Manifest, model: ModelFile, runtime: str, threads: int = 1) -> Runtime:
    """Load a model file of the bundle. Raises `DataError` unless its shapes are the manifest's."""
    opened = open_model((manifest.folder / model.file).read_bytes(), runtime, threads)
    expected = (1, len(manifest.input.channels), 1, manifest.input.window)
    if opened.input_shape != expected:
        raise DataError(f"{model.file} takes {opened.input_shape}, but bundle.json says {expected}. Export it again")
    return opened


def compare(y: F32, found: F32, label_sets: Mapping[str, LabelSet], member: npt.NDArray[np.str_]) -> Parity:
    """How (N, D) normalized embeddings compare with the fp32 network's `y`; `member` (N,) its label set's name."""
    same = np.zeros(len(y), bool)
    for name, labels in label_sets.items():
        own = member == name
        same[own] = (y[own] @ labels.prototypes.T).argmax(1) == (found[own] @ labels.prototypes.T).argmax(1)
    signal, noise = (float(np.square(v, dtype=np.float64).sum()) for v in (y, y - found))
    snr_db = 10 * float(np.log10(signal / max(noise, 1e-30)))
    return Parity(len(y), float(same.mean()), snr_db, float(np.abs(y - found).max()))


def check(manifest: Manifest, model: ModelFile, runtime: Runtime) -> Check:
    """Run a loaded model on the bundle's reference windows."""
    reference = manifest.read_reference()
    found = l2_normalize(runtime.run(prepare(reference.x, manifest.input)))
    parity = compare(reference.y, found, manifest.label_sets, reference.member)
    return Check(model.file, runtime.name, parity)


def verify(manifest: Manifest) -> list[Check]:
    """Run every model file in every runtime that can be used for it, on the reference windows.

    The hashes were checked when the manifest was read.

    Raises:
        DataError: a model does not load, or differs from the fp32 network by more than the export allows.
    """
    checks = []
    for model in manifest.models:
        for info in RUNTIMES.values():
            if info.format != model.runtime or info.obstacle:
                continue
            done = check(manifest, model, open_checked(manifest, model, info.name))
            if not done.passed:
                raise DataError(
                    f"{model.file} in {info.name} does not give the reference outputs: SNR {done.parity.snr_db:.1f} dB "
                    f"instead of at least {LEAST_SNR_DB:g}. Export the bundle again"
                )
            checks.append(done)
    return checks
