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
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle.labels import BundleId, is_file, parse_label_set
from mujo_edge.bundle.labels import Label as Label
from mujo_edge.bundle.labels import LabelSet as LabelSet
from mujo_edge.bundle.labels import Smoothing as Smoothing
from mujo_edge.bundle.labels import label_set_table as label_set_table
from mujo_edge.bundle.store import find_bundle
from mujo_edge.bundle.vocabulary import ARRAYS_FILE, MISSPELT, NAMES_FILE, Vocabulary, parse_vocabulary
from mujo_edge.core import CHANNELS, F32, DataError, UsageError
from mujo_edge.printable import NAME, check_kinds, check_texts, checked, inside, one_of, printable, shown
from mujo_edge.signal import InputSpec

SCHEMA_VERSION = 1
NO_DIGEST = "0" * 64
MODEL_ENDINGS = (".tflite", ".pte", ".onnx")
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
        """A label set of the bundle by name, one of your own, or the file of one; None: the bundle's default.

        Raises:
            UsageError: the bundle has none of this name, or there is no such file.
            DataError: the file is damaged, or the set was fitted with another bundle.
        """
        if isinstance(wanted, LabelSet) or (wanted is not None and is_file(wanted)):
            labels = wanted if isinstance(wanted, LabelSet) else LabelSet.load(wanted)
            if labels.bundle not in (None, self.id):
                said = str(labels.bundle) if str(labels.bundle) != str(self.id) else f"another {labels.bundle}"
                raise DataError(
                    f"label set {labels.name} was fitted with {said}, and this is {self.id}: their embeddings are not "
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
                "the file of a label set ends with .json"
            )
        return self.label_sets[name]

    def label_set_for(self, placement: str | None) -> LabelSet:
        """The default label set, or the first one of this placement if the default has another."""
        default = self.label_set()
        if not placement or default.placement in ("", placement):
            return default
        return next((labels for labels in self.label_sets.values() if labels.placement == placement), default)

    def labels(self, wanted: str | Path | LabelSet | None = None) -> LabelSet:
        """As `label_set`; where there is none of this name, one made of names: "squat, deadlift, bench press".

        Raises:
            UsageError: neither; with the nearest names, and what to install for words that are not among them.
            DataError: as `label_set`.
        """
        if self.vocabulary is None or not isinstance(wanted, str) or wanted in self.label_sets or is_file(wanted):
            return self.label_set(wanted)
        words = wanted.split(",")
        if len(words) == 1 and difflib.get_close_matches(wanted, self.label_sets, 1, MISSPELT):
            return self.label_set(wanted)
        try:
            return replace(self.vocabulary.label_set(words, len(self.input.channels)), bundle=self.id)
        except UsageError as error:
            sets = ", ".join(self.label_sets)
            raise UsageError(
                f"{error}\nbundle {self.name} has the label sets {sets}; `models names` lists names"
            ) from error

    def read_reference(self) -> Reference:
        """The bundle's reference windows and the fp32 network's embeddings of them."""
        with np.load(self.folder / self.reference) as arrays:
            return Reference(arrays["x"], arrays["y"], arrays["member"])

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
        for name, digest in table["files"].items():
            check_file(folder, name, digest)
        manifest = parse(folder, table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = printable(str(error) if isinstance(error, ValueError) else repr(error))
        raise DataError(f"{folder}/bundle.json does not follow schema {SCHEMA_VERSION}: {said}. {REPAIR}") from error
    models = [model.file for model in manifest.models] + [model.file for model in manifest.lowered]
    listed = {manifest.reference, manifest.card, *models, *((NAMES_FILE, ARRAYS_FILE) if manifest.vocabulary else ())}
    if missing := listed - set(manifest.files):
        raise DataError(f"{folder}/bundle.json gives no SHA-256 for {', '.join(sorted(missing))}. {REPAIR}")
    check_card(folder / manifest.card)
    return manifest


REPAIR = "Download or export the bundle again"


def read_json(path: Path) -> dict[str, Any]:
    """The table in `path`, with its schema version and digest checked. Raises `DataError`."""
    try:
        text = path.read_bytes().decode()
        table = json.loads(text)
        schema = table["schema_version"]
        digest = table["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as a bundle manifest: {error!r}. {REPAIR}") from error
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {schema}, this mujo-edge reads {SCHEMA_VERSION}. "
            "Upgrade with: pip install -U mujo-edge"
        )
    if schema != SCHEMA_VERSION or not isinstance(digest, str) or digest != text_digest(text, digest):
        raise DataError(f"{path} was changed after it was written (its SHA-256 is wrong). {REPAIR}")
    return dict(table)


def text_digest(text: str, digest: str) -> str:
    """SHA-256 of a manifest's text with its own digest zeroed."""
    return hashlib.sha256(text.replace(digest, NO_DIGEST, 1).encode()).hexdigest()


def check_file(folder: Path, name: str, digest: str) -> None:
    """Raise `DataError` unless `name` lies inside `folder` and has this SHA-256."""
    if not inside(name):
        raise DataError(
            f"{folder}/bundle.json names a file outside the bundle, or one whose name not every system takes: "
            f"{shown(name)}. {REPAIR}"
        )
    try:
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{folder / name} is missing from the bundle ({error.strerror}). {REPAIR}") from error
    if found != digest:
        raise DataError(f"{folder / name} was changed or damaged (its SHA-256 is wrong). {REPAIR}")


def parse(folder: Path, table: Mapping[str, Any]) -> Manifest:
    """The manifest in `table`. Raises `KeyError`, `TypeError` or `ValueError` for invalid content."""
    for key, part in table.items():
        check_texts(key, part, lines=key in DOCUMENTS)
    for name, entry in table["label_sets"].items():
        if entry["prototypes"] not in table["files"]:
            raise ValueError(f"prototypes of {shown(name)} are in a file without SHA-256: {shown(entry['prototypes'])}")
    dim = int(table["embedding_dim"])
    own = BundleId(str(table["name"]), str(table["version"]), str(table["files"].get(table["reference"], "")))
    manifest = Manifest(
        folder=folder,
        name=checked("name", table["name"], NAME),
        version=checked("version", table["version"], NAME),
        created=str(table["created"]),
        input=parse_input(table["input"]),
        embedding_dim=dim,
        models=tuple(parse_model(f"models[{n}]", entry) for n, entry in enumerate(table["models"])),
        label_sets={
            name: parse_label_set(folder, name, entry, dim, own) for name, entry in table["label_sets"].items()
        },
        default_label_set=str(table["default_label_set"]),
        reference=a_path("reference", table["reference"]),
        card=a_path("card", table["card"]),
        files=dict(table["files"]),
        training=dict(table["training"]),
        metrics=dict(table["metrics"]),
        lowered=tuple(parse_lowered(f"lowered[{n}]", entry) for n, entry in enumerate(table.get("lowered", ()))),
        vocabulary=parse_vocabulary(folder, table["vocabulary"], dim) if table.get("vocabulary") else None,
    )
    if manifest.default_label_set not in manifest.label_sets:
        raise ValueError(f"default label set {manifest.default_label_set!r} is not among the label sets")
    if not manifest.models:
        raise ValueError("no models")
    return manifest


def parse_input(entry: Mapping[str, Any]) -> InputSpec:
    """The entry "input"."""
    spec = InputSpec(**{**entry, "channels": tuple(entry["channels"]), "scale": tuple(entry["scale"])})
    check_kinds("input", spec)
    for name in spec.channels:
        one_of("a channel of input", name, CHANNELS)
    return spec


def parse_model(what: str, entry: Mapping[str, Any]) -> ModelFile:
    """One entry of "models"."""
    model = ModelFile(**{**entry, "parity": Parity(**entry["parity"])})
    one_of(f"precision of {what}", model.precision, ("int8", "fp32"))
    checked(f"runtime of {what}", model.runtime, NAME)
    a_model(what, model.file)
    return model


def parse_lowered(what: str, entry: Mapping[str, Any]) -> LoweredFile:
    """One entry of "lowered"."""
    parity = entry["parity"] and Parity(**entry["parity"])
    lowered = LoweredFile(**{**entry, "operators": tuple(map(str, entry["operators"])), "parity": parity})
    one_of(f"precision of {what}", lowered.precision, ("int8", "fp16"))
    checked(f"backend of {what}", lowered.backend, NAME)
    check_kinds(what, lowered)
    a_model(what, lowered.file)
    return lowered


def a_path(what: str, path: object) -> str:
    """`path`, if a bundle may have a file there. Raises `ValueError`."""
    if not isinstance(path, str) or not inside(path):
        raise ValueError(f"{what} names the file {shown(path)}, which is not a plain name inside the bundle")
    return path


def a_model(what: str, path: object) -> str:
    """`path`, if a model may have it: exports copy models next to their own files, which must not be overwritten."""
    name = PurePosixPath(a_path(what, path))
    one_of(f"the ending of the file of {what}", name.suffix, MODEL_ENDINGS)
    return str(name)


def check_card(path: Path) -> None:
    """Raise `DataError` unless a model card is UTF-8 text without hidden characters."""
    try:
        check_texts(path.name, path.read_bytes().decode(), lines=True)
    except ValueError as error:
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
