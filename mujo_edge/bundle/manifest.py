"""A bundle's `bundle.json`: reading, validation and writing.

A bundle is a folder. `bundle.json` names every other file with its SHA-256, and carries a digest of
itself: the SHA-256 of its own text with the 64 digits of "sha256" replaced by zeros. So one flipped
byte anywhere is found when the bundle is opened.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec.structs import asdict

from mujo_edge.bundle.arrays import read_npz
from mujo_edge.bundle.labels import BACKGROUND, BundleId, is_file, parse_label_set
from mujo_edge.bundle.labels import Label as Label
from mujo_edge.bundle.labels import LabelSet as LabelSet
from mujo_edge.bundle.labels import Smoothing as Smoothing
from mujo_edge.bundle.labels import label_set_table as label_set_table
from mujo_edge.bundle.store import MAX_MB_VARIABLE, find_bundle, max_bundle_bytes, max_file_bytes
from mujo_edge.bundle.taught import find_taught
from mujo_edge.bundle.vocabulary import ARRAYS_FILE, MISSPELT, NAMES_FILE, Vocabulary, parse_vocabulary
from mujo_edge.core import F32, DataError, UsageError
from mujo_edge.files import check_regular, read_file, sha256
from mujo_edge.printable import check_texts, printable, shown
from mujo_edge.schema import MAX_JSON_BYTES, BundleFile, LoweredEntry, ModelEntry, convert, parse_json
from mujo_edge.signal import InputSpec

SCHEMA_VERSION = 1
NO_DIGEST = "0" * 64
DOCUMENTS = ("training", "metrics")
"""Entries whose texts may have several lines."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Comparison of a model file in its own runtime with the fp32 network, over `windows` real windows.

    All of L2-normalized embeddings: `top1_agreement` share of windows with the same nearest
    prototype, `snr_db` = 10 log10(sum y^2 / sum (y - y')^2), `max_abs_delta` largest difference.
    """

    windows: int
    top1_agreement: float
    snr_db: float
    max_abs_delta: float


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model of the bundle. `runtime` is its format: "litert" (.tflite), "executorch", "onnx"."""

    file: str
    runtime: str
    precision: Literal["int8", "fp32"]
    parity: Parity


@dataclass(frozen=True, slots=True)
class LoweredFile:
    """A model for a runtime that is not available where bundles are made: its hash is checked, its outputs are not.

    `backend` "coreml" or "cortex_m"; `operators` what the backend must have, by name. `parity` is that of `measured`,
    in words: what of it could be run in Python; None where nothing could.
    """

    file: str
    backend: str
    precision: Literal["int8", "fp16"]
    operators: tuple[str, ...]
    parity: Parity | None
    measured: str


@dataclass(frozen=True, slots=True)
class Reference:
    """`x` (R, 6, T) real windows in m/s2 and rad/s; `y` (R, D) their embeddings by the fp32 network, L2-normalized;
    `member` (R,) the label set of each window."""

    x: F32
    y: F32
    member: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A validated bundle, without a runtime. `training` and `metrics` are as written by the export."""

    folder: Path
    name: str
    version: str
    created: str
    input: InputSpec
    embedding_dim: int
    models: tuple[ModelFile, ...]
    label_sets: Mapping[str, LabelSet]
    default_label_set: str
    reference: str
    card: str
    files: Mapping[str, str]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lowered: tuple[LoweredFile, ...] = ()
    vocabulary: Vocabulary | None = None

    def __repr__(self) -> str:
        return f"<Manifest of {self.id} in {self.folder}>"

    def model(self, runtime: str, precision: str = "int8") -> ModelFile:
        """The model file in `runtime`'s format. Raises `DataError` if the bundle has none."""
        for model in self.models:
            if (model.runtime, model.precision) == (runtime, precision):
                return model
        raise DataError(f"bundle {self.name} has no {precision} model for {runtime}; it has: " + self._model_names())

    @property
    def id(self) -> BundleId:
        """The embedding space that prototypes of a label set belong to."""
        return BundleId(self.name, self.version, self.files.get(self.reference, ""))

    def label_set(self, wanted: str | Path | LabelSet | None = None) -> LabelSet:
        """A label set by name, of the bundle or taught, one of your own, or its file; None: the bundle's default.

        Raises:
            UsageError: the bundle has none of this name, or there is no such file.
            DataError: the file is damaged, or the set was fitted with another bundle.
        """
        if isinstance(wanted, str) and wanted not in self.label_sets and (taught := find_taught(wanted)):
            wanted = taught
        if isinstance(wanted, LabelSet) or (wanted is not None and is_file(wanted)):
            labels = wanted if isinstance(wanted, LabelSet) else LabelSet.load(wanted)
            if labels.bundle not in (None, self.id):
                other = str(labels.bundle) if str(labels.bundle) != str(self.id) else f"another {labels.bundle}"
                raise DataError(
                    f"label set {labels.name} was fitted with {other}, and this is {self.id}: their embeddings are not "
                    "comparable. Fit it again, or use that bundle"
                )
            if labels.prototypes.shape[1] != self.embedding_dim:
                raise DataError(
                    f"prototypes of label set {labels.name} have {labels.prototypes.shape[1]} values, and {self.id} "
                    f"gives {self.embedding_dim}. Fit it again"
                )
            return labels
        name = str(wanted or self.default_label_set)
        if name not in self.label_sets:
            raise UsageError(
                f"bundle {self.name} has no label set {name!r}; it has: {', '.join(self.label_sets)}; "
                "the file of a label set ends with .json, and `mujo-edge teach NAME` makes one of your own"
            )
        return self.label_sets[name]

    def label_set_for(self, placement: str | None) -> LabelSet:
        """The default label set, or the first one of this placement if the default has another."""
        default = self.label_set()
        if not placement or default.placement in ("", placement):
            return default
        return next((labels for labels in self.label_sets.values() if labels.placement == placement), default)

    @property
    def background(self) -> F32 | None:
        """(B, D) prototypes of `BACKGROUND` in the label sets; None if the student was not trained on any."""
        rows = [
            labels.prototypes[i]
            for labels in self.label_sets.values()
            for i, label in enumerate(labels.labels)
            if label.name == BACKGROUND
        ]
        return np.stack(rows) if rows else None

    def labels(self, wanted: str | Path | LabelSet | None = None) -> LabelSet:
        """As `label_set`; where there is none of this name, one made of names: "squat, deadlift, bench press".

        Raises:
            UsageError: neither; with the nearest names, and what to install for words that are not among them.
            DataError: as `label_set`.
        """
        if self.vocabulary is None or not isinstance(wanted, str) or wanted in self.label_sets or is_file(wanted):
            return self.label_set(wanted)
        if find_taught(wanted):
            return self.label_set(wanted)
        words = wanted.split(",")
        if len(words) == 1 and difflib.get_close_matches(wanted, self.label_sets, 1, MISSPELT):
            return self.label_set(wanted)
        try:
            named = self.vocabulary.label_set(words, len(self.input.channels), rejects=self.background is not None)
            return replace(named, bundle=self.id, background=self.background)
        except UsageError as error:
            sets = ", ".join(self.label_sets)
            raise UsageError(
                f"{error}\nbundle {self.name} has the label sets {sets}; `models names` lists names"
            ) from error

    def read_reference(self) -> Reference:
        """The bundle's reference windows and the fp32 network's embeddings of them.

        Raises `DataError` if they are damaged or of other shapes than the bundle's.
        """
        try:
            x, y, member = read_npz(self.folder / self.reference, "x", "y", "member")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / self.reference}: {printable(str(error))}. {REPAIR}") from error
        n, spec = len(member) if member.ndim else 0, self.input
        expected = {"x": (n, len(spec.channels), spec.window), "y": (n, self.embedding_dim), "member": (n,)}
        floats = x.dtype.kind == y.dtype.kind == "f" and np.isfinite(x).all() and np.isfinite(y).all()
        if not n or {"x": x.shape, "y": y.shape, "member": member.shape} != expected or not floats:
            raise DataError(
                f"{self.folder / self.reference} holds x {x.shape} and y {y.shape}, not finite numbers of the shapes "
                f"{expected['x']} and {expected['y']}. {REPAIR}"
            )
        return Reference(x.astype(np.float32), y.astype(np.float32), member.astype(np.str_))

    def _model_names(self) -> str:
        return ", ".join(model.file for model in self.models)


def read_manifest(path_or_name: str | Path | None = None) -> Manifest:
    """Read a bundle and check every byte of it.

    Raises:
        UsageError: there is no such bundle.
        DataError: a newer schema, a missing or changed file, a manifest or prototypes that make no sense.
    """
    folder = find_bundle(path_or_name)
    table = read_json(folder / "bundle.json")
    try:
        for key, part in table.items():
            check_texts(key, part, lines=key in DOCUMENTS)
        entries = convert(table, BundleFile)
        if missing := _used(entries) - set(entries.files):
            raise DataError(f"{folder}/bundle.json gives no SHA-256 for {', '.join(sorted(missing))}. {REPAIR}")
        check_files(folder, entries.files)
        manifest = parse(folder, entries)
    except (OSError, ValueError) as error:
        reason = printable(str(error))
        raise DataError(f"{folder}/bundle.json does not follow schema {SCHEMA_VERSION}: {reason}. {REPAIR}") from error
    check_card(folder / manifest.card)
    return manifest


REPAIR = "Download or export the bundle again"


def read_json(path: Path) -> dict[str, Any]:
    """The table in `path`, with its schema version and digest checked. Raises `DataError`."""
    try:
        content = read_file(path, MAX_JSON_BYTES)
        table = parse_json(content)
        schema, digest = table["schema_version"], table["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = printable(repr(error))[:300]
        raise DataError(f"{path} cannot be read as a bundle manifest: {reason}. {REPAIR}") from error
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {shown(schema)}, this mujo-edge reads {SCHEMA_VERSION}. "
            "Upgrade with: pip install -U mujo-edge"
        )
    if schema != SCHEMA_VERSION or not isinstance(digest, str) or digest != text_digest(content.decode(), digest):
        raise DataError(f"{path} was changed after it was written (its SHA-256 is wrong). {REPAIR}")
    return dict(table)


def text_digest(text: str, digest: str) -> str:
    """SHA-256 of a manifest's text with its own digest zeroed."""
    return hashlib.sha256(text.replace(digest, NO_DIGEST, 1).encode()).hexdigest()


def _used(entries: BundleFile) -> set[str]:
    """The files that a bundle reads."""
    models = {model.file for model in entries.models} | {model.file for model in entries.lowered}
    prototypes = {labels.prototypes for labels in entries.label_sets.values()}
    names = {NAMES_FILE, ARRAYS_FILE} if entries.vocabulary else set()
    return {entries.reference, entries.card, *models, *prototypes, *names}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise `DataError` unless every file of a bundle is there and has its SHA-256, and none is too large."""
    total, most = 0, max_bundle_bytes()
    for name, digest in files.items():
        path = folder / name
        try:
            total += check_regular(path, max_file_bytes())
            actual = sha256(path) if total <= most else ""
        except OSError as error:
            raise DataError(f"{path} is missing from the bundle ({error.strerror}). {REPAIR}") from error
        if total > most:
            raise DataError(
                f"the files of {folder} have more than {most >> 20} MB, the limit of a bundle. "
                f"{MAX_MB_VARIABLE} allows more"
            )
        if actual != digest:
            raise DataError(f"{path} was changed or damaged (its SHA-256 is wrong). {REPAIR}")


def parse(folder: Path, entries: BundleFile) -> Manifest:
    """The manifest of a bundle. Raises `OSError`, `DataError` or `ValueError` for damaged or inconsistent files."""
    dim = entries.embedding_dim
    own = BundleId(entries.name, entries.version, entries.files.get(entries.reference, ""))
    manifest = Manifest(
        folder=folder,
        name=entries.name,
        version=entries.version,
        created=entries.created,
        input=InputSpec(**asdict(entries.input)),
        embedding_dim=dim,
        models=tuple(_model(entry) for entry in entries.models),
        label_sets={name: parse_label_set(folder, name, entry, dim, own) for name, entry in entries.label_sets.items()},
        default_label_set=entries.default_label_set,
        reference=entries.reference,
        card=entries.card,
        files=entries.files,
        training=entries.training,
        metrics=entries.metrics,
        lowered=tuple(_lowered(entry) for entry in entries.lowered),
        vocabulary=parse_vocabulary(folder, entries.vocabulary, dim) if entries.vocabulary else None,
    )
    if manifest.default_label_set not in manifest.label_sets:
        raise ValueError(f"default label set {manifest.default_label_set!r} is not among the label sets")
    return manifest


def _model(entry: ModelEntry) -> ModelFile:
    return ModelFile(**asdict(entry) | {"parity": Parity(**asdict(entry.parity))})


def _lowered(entry: LoweredEntry) -> LoweredFile:
    return LoweredFile(**asdict(entry) | {"parity": Parity(**asdict(entry.parity)) if entry.parity else None})


def check_card(path: Path) -> None:
    """Raise `DataError` unless a model card is UTF-8 text without hidden characters."""
    try:
        check_texts(path.name, read_file(path, MAX_JSON_BYTES).decode(), lines=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no model card: {printable(str(error))}. {REPAIR}") from error


def write_manifest(folder: Path, table: Mapping[str, Any]) -> None:
    """Write `folder/bundle.json` for the files in `folder`, with their hashes and its own digest."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "bundle.json"
    }
    whole = {"schema_version": SCHEMA_VERSION, "sha256": NO_DIGEST, **table, "files": files}
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "bundle.json").write_bytes(text.replace(NO_DIGEST, digest, 1).encode())
