"""ModelBundle: a folder with models, prototypes and a card, opened in a runtime.

bundle = mujo_edge.ModelBundle.load()
embeddings = bundle.embed(windows)  # (N, 3 or 6, 150) m/s2 and rad/s at 50 Hz -> (N, D)
labels = bundle.classify(windows)  # [("walking", 0.97), ...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle.fit import fit_label_set, fit_prototypes, l2_normalize
from mujo_edge.bundle.labels import label_table
from mujo_edge.bundle.manifest import Label, LabelSet, Manifest, ModelFile, Parity, Smoothing, read_manifest
from mujo_edge.bundle.store import max_file_bytes
from mujo_edge.core import F32, STANDARD_GRAVITY, DataError, Runtime, UsageError
from mujo_edge.files import read_file
from mujo_edge.runtimes import RUNTIMES, choose_runtime, open_model
from mujo_edge.signal import InputSpec, prepare

__all__ = ["Label", "LabelSet", "ModelBundle", "ModelFile", "Parity", "Smoothing", "fit_prototypes", "l2_normalize"]

LEAST_SNR_DB = 20.0
"""Smallest SNR of a model file against the fp32 network at which it passes."""


@dataclass(frozen=True, slots=True)
class Check:
    """Comparison of a model file in a runtime with the fp32 network, on the bundle's reference windows."""

    file: str
    runtime: str
    parity: Parity

    @property
    def passed(self) -> bool:
        """Whether the SNR is high enough. Label agreement does not count, as a few windows are near ties."""
        return self.parity.snr_db >= LEAST_SNR_DB


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model that turns windows of motion into embeddings, with label sets: a checked `manifest`, a loaded `runtime`.

    Windows are float32 arrays (N, 3 or 6, T): acceleration x, y, z in m/s2 *with* gravity (about 9.81 in length at
    rest), and rad/s if there is a gyroscope; T samples at `input.rate_hz` (150 at 50 Hz, that is 3 s, in the shipped
    bundle). Axes are those of a watch: x to 3 o'clock, y to 12 o'clock, z out of the display.
    """

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

    def __repr__(self) -> str:
        sets = ", ".join(f"{labels.name} ({len(labels.labels)})" for labels in self.label_sets.values())
        return f"<ModelBundle {self.manifest.id} in {self.runtime.name}; label sets: {sets}>"

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.manifest.name

    @property
    def input(self) -> InputSpec:
        """Format of the model's input."""
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

    @overload
    def classify(
        self, x: npt.ArrayLike, labels: str | Path | LabelSet | None = None, top: None = None
    ) -> list[tuple[str, float]]: ...

    @overload
    def classify(
        self, x: npt.ArrayLike, labels: str | Path | LabelSet | None = None, *, top: int
    ) -> list[list[tuple[str, float]]]: ...

    def classify(
        self, x: npt.ArrayLike, labels: str | Path | LabelSet | None = None, top: int | None = None
    ) -> list[tuple[str, float]] | list[list[tuple[str, float]]]:
        """(N, 3 or 6, T) -> the label and its probability of every window, "unknown" included.

        Windows are taken one by one; the recognizer of a stream smooths over time besides.

        Args:
            x: windows, see the class.
            labels: a label set of the bundle, names of activities ("squat, deadlift, bench press"), one of your own or
                its file; None takes the bundle's default.
            top: for every window a list of this many labels instead, the most probable first.

        Raises:
            UsageError: no such label set, or `top` below 1. DataError: windows of another shape or unit, or a set of
                another bundle.
        """
        if top is not None and top < 1:
            raise UsageError(f"top is {top}; it must be 1 or more")
        chosen = self.manifest.labels(labels)
        probabilities = chosen.probabilities(self.embed(in_si_units(x)))
        ranked = [
            [(chosen.names[i], float(row[i])) for i in (-row).argsort(kind="stable")[: top or 1]]
            for row in probabilities
        ]
        return ranked if top else [first for (first,) in ranked]

    def fit_labels(
        self,
        x: npt.ArrayLike,
        y: Sequence[str],
        *,
        name: str = "own",
        placement: str = "",
        smoothing: Smoothing | None = None,
        groups: Sequence[object] | None = None,
    ) -> LabelSet:
        """A label set of your own from labeled windows; no training, a label is the mean direction of its embeddings.

        `LabelSet.save` keeps it in a file; `classify`, `recognize`, `mujo-edge stream --labels FILE` and
        `mujo-edge export --labels FILE` take it.

        Args:
            x: windows (N, 3 or 6, T), see the class. A few of each label suffice; twenty are better.
            y: N labels.
            name: of the set; letters, digits and "._+-".
            placement: where the sensor was worn, such as "wrist"; other placements are warned about. "": anywhere.
            smoothing: over time in a stream; None: as in the shipped sets.
            groups: N names of the person or session of each window. The temperature and the threshold of "unknown"
                are then fitted to held-out groups, so that they suit new people; None holds out parts of each label.

        Raises:
            UsageError: counts that do not match, a label with a single window, a name that cannot be one.
            DataError: windows of another shape or unit.
        """
        windows = in_si_units(x)
        embeddings, channels = self.embed(windows), windows.shape[1]
        return fit_label_set(
            embeddings,
            y,
            self.manifest.id,
            channels,
            name=name,
            placement=placement,
            smoothing=smoothing,
            groups=groups,
        )

    def with_labels(self, labels: LabelSet) -> Self:
        """This bundle with a label set of your own among its `label_sets`.

        Raises `UsageError` if another one has its name, `DataError` if it belongs to another bundle.
        """
        labels = self.manifest.label_set(labels)
        same = self.label_sets.get(labels.name, labels)
        if label_table(same) != label_table(labels):
            raise UsageError(f"bundle {self.name} has a label set {labels.name} already; give yours another name")
        sets = {**self.label_sets, labels.name: labels}
        return replace(self, manifest=replace(self.manifest, label_sets=sets))

    def verify(self) -> list[Check]:
        """Run every model file in every runtime installed for it, see `verify`."""
        return verify(self.manifest)


def in_si_units(x: npt.ArrayLike) -> F32:
    """(N, C, T) windows as float32. Raises `DataError` if the acceleration is about as long as 1 g in units of g."""
    windows = np.asarray(x, np.float32)
    if windows.ndim == 3 and windows.shape[1] >= 3 and windows.size:
        length = float(np.median(np.linalg.norm(windows[:, :3], axis=1)))
        if 0.8 < length < 1.25:
            raise DataError(
                f"the acceleration has a median length of {length:.2f}, as if it were in g; the model takes m/s2 with "
                f"gravity. Multiply it by {STANDARD_GRAVITY}"
            )
    return windows


def open_checked(manifest: Manifest, model: ModelFile, runtime: str, threads: int = 1) -> Runtime:
    """Load a model file of the bundle. Raises `DataError` unless its shapes are the manifest's."""
    opened = open_model(read_file(manifest.folder / model.file, max_file_bytes()), runtime, threads)
    takes, gives = (1, len(manifest.input.channels), 1, manifest.input.window), (1, manifest.embedding_dim)
    if (opened.input_shape, opened.output_shape) != (takes, gives):
        raise DataError(
            f"{model.file} takes {opened.input_shape} and gives {opened.output_shape}, but bundle.json says {takes} "
            f"and {gives}. Export it again"
        )
    return opened


def compare(y: F32, measured: F32, label_sets: Mapping[str, LabelSet], member: npt.NDArray[np.str_]) -> Parity:
    """Compare (N, D) normalized embeddings with the fp32 network's `y`; `member` (N,) names each one's label set."""
    same = np.zeros(len(y), bool)
    for name, labels in label_sets.items():
        own = member == name
        same[own] = (y[own] @ labels.prototypes.T).argmax(1) == (measured[own] @ labels.prototypes.T).argmax(1)
    signal, noise = (float(np.square(v, dtype=np.float64).sum()) for v in (y, y - measured))
    snr_db = 10 * float(np.log10(signal / max(noise, 1e-30)))
    return Parity(len(y), float(same.mean()), snr_db, float(np.abs(y - measured).max()))


def check(manifest: Manifest, model: ModelFile, runtime: Runtime) -> Check:
    """Run a loaded model on the bundle's reference windows."""
    reference = manifest.read_reference()
    measured = l2_normalize(runtime.run(prepare(reference.x, manifest.input)))
    parity = compare(reference.y, measured, manifest.label_sets, reference.member)
    return Check(model.file, runtime.name, parity)


def verify(manifest: Manifest) -> list[Check]:
    """Run every model file in every available runtime on the reference windows.

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
