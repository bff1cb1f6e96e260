"""Labels, the prototypes that a window's embedding is compared with, and the file of a label set of one's own.

A label set is written as JSON in three places, all made here: in `bundle.json` its prototypes are a file of the bundle
(`label_set_table`), in an export's `mujo.json` they stand beside the names of the labels (`label_table`), and a label
set's own file (`LabelSet.save`) names the bundle that it was fitted with besides.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt

from mujo_edge.bundle.arrays import read_npy
from mujo_edge.bundle.taught import Taught, number_rows, parse_taught, taught_table
from mujo_edge.core import F32, UNKNOWN, DataError, UsageError
from mujo_edge.files import atomic_file, read_file
from mujo_edge.printable import check_texts, printable, shown
from mujo_edge.schema import MAX_JSON_BYTES, LabelSetEntry, LabelSetFile, Settings, convert, parse_json

Method = Literal["hmm", "majority", "none"]

BACKGROUND = "background"
"""Label for windows outside the movements of a set, if the student was trained on such windows."""

TITLES = {
    "physio-wrist": "shoulder exercises",
    "gym-wrist": "gym exercises",
    "gestures-wrist": "gestures",
    "daily-pocket": "daily activities",
    "daily-wrist": "daily activities",
}
"""Titles of the shipped label sets for display; other sets are shown by their names."""

FILE_SCHEMA = 1
FILE_KIND = "mujo-edge label set"


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Method by which the recognizer smooths labels over time.

    "hmm": forward filter over labels and unknown that keeps a label with probability `stay` from one
    window to the next; "majority": vote over the last `windows` windows; "none".
    """

    method: Method = "hmm"
    stay: float = 0.9
    windows: int = 5


@dataclass(frozen=True, slots=True)
class Label:
    """A class: the name that the user sees, the sentences whose text embedding it was fitted with, and how many
    `windows` it was fitted to where those were one's own."""

    name: str
    prompts: tuple[str, ...] = ()
    windows: int = 0


@dataclass(frozen=True, slots=True)
class BundleId:
    """The bundle in whose embedding space prototypes lie. `reference_sha256` is of its reference outputs, which change
    whenever the network does."""

    name: str
    version: str
    reference_sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Classes for one placement, from a bundle or fitted to windows of your own (`ModelBundle.fit_labels`).

    Attributes:
        name: letters, digits and "._+-".
        labels: the classes.
        prototypes: (L, D) float32, L2-normalized, in the order of `labels`.
        placement: body site that it was fitted for; "" for any.
        temperature, unknown_threshold: see `probabilities`.
        smoothing: how the recognizer steadies labels over time.
        channels: 3 if it was fitted without a gyroscope, else 6.
        note: shown to the user of a stream.
        bundle: whose embedding space the prototypes lie in; None where it is not known.
        background: (B, D) prototypes of windows that are "unknown", for a set made of names; None for none.
        taught: the takes that `mujo-edge teach` fitted it to, and its estimate; None for other sets.
    """

    name: str
    labels: tuple[Label, ...]
    prototypes: F32 = field(repr=False)
    placement: str
    temperature: float
    unknown_threshold: float
    smoothing: Smoothing
    channels: int
    note: str = ""
    bundle: BundleId | None = None
    background: F32 | None = field(default=None, repr=False)
    taught: Taught | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        owner = f", of {self.bundle}" if self.bundle else ""
        return f"<LabelSet {self.name}: {len(self.labels)} labels, worn at {self.placement or 'any place'}{owner}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The labels in the order of the prototypes and, last, "unknown": the columns of `probabilities`."""
        return (*(label.name for label in self.labels), UNKNOWN)

    @property
    def title(self) -> str:
        """The label set for people: "shoulder exercises, wrist"; "" for names of activities."""
        about = TITLES.get(self.name, "" if "," in self.name else self.name)
        return ", ".join(part for part in (about, self.placement) if part)

    def probabilities(self, embeddings: F32) -> F32:
        """(N, D) L2-normalized -> (N, L + 1): one probability a label, the last one that of "unknown".

        softmax(cosine / temperature), with unknown as one more class whose cosine is `unknown_threshold`, or that of
        the nearest `background` prototype if it is larger; so unknown is the largest exactly when no prototype reaches
        it.
        """
        cosine = embeddings @ self.prototypes.T
        logits = np.pad(cosine, ((0, 0), (0, 1)), constant_values=self.unknown_threshold)
        if self.background is not None:
            logits[:, -1] = np.maximum(logits[:, -1], (embeddings @ self.background.T).max(1))
        logits /= self.temperature
        weights = np.exp(logits - logits.max(1, keepdims=True))
        result: F32 = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        return result

    def save(self, path: str | Path) -> None:
        """Write a file that `load`, `recognize` and the option `--labels` take. Its name has to end with .json.

        Raises:
            UsageError: another ending, a path that cannot be written, or a set of unknown origin (`bundle` is None).
        """
        path = Path(path)
        if not is_file(path.name):
            raise UsageError(f"{path}: give a file name that ends with .json, so that --labels knows it as a file")
        if self.bundle is None:
            raise UsageError(f"label set {self.name} does not say which bundle it belongs to; use bundle.fit_labels")
        if self.background is not None:
            raise UsageError(f"label set {self.name} is made of names: give the names instead of a file")
        table = {
            "schema_version": FILE_SCHEMA,
            "kind": FILE_KIND,
            "bundle": asdict(self.bundle),
            "name": self.name,
            "labels": [asdict(label) for label in self.labels],
            **_settings(self),
            "note": self.note,
            "prototypes": number_rows(self.prototypes),
        }
        if self.taught is not None:
            table["taught"] = taught_table(self.taught)
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
        try:
            path.parent.lstat()  # `atomic_file` would make it
            with atomic_file(path) as partial:
                partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}; choose a folder that is yours") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote; whether it suits a bundle is checked when the two are used together.

        Raises:
            UsageError: there is no such file.
            DataError: it is not a label set, damaged, or written by a newer mujo-edge.
        """
        try:
            table = parse_json(read_file(Path(path), MAX_JSON_BYTES))
            kind, schema = table["kind"], table["schema_version"]
        except FileNotFoundError as error:
            raise UsageError(f"there is no file {path}; `LabelSet.save` writes one") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = printable(str(error))[:200]
            raise DataError(f"{path} cannot be read as a label set: {reason}. Save it again") from error
        if kind != FILE_KIND:
            raise DataError(f"{path} is not a label set; `LabelSet.save` writes one")
        if isinstance(schema, int) and schema > FILE_SCHEMA:
            raise DataError(
                f"{path} has schema version {shown(schema)}, this mujo-edge reads {FILE_SCHEMA}. "
                "Upgrade with: pip install -U mujo-edge"
            )
        try:
            check_texts("the label set", table)
            entry = convert(table, LabelSetFile)
            prototypes = np.array(entry.prototypes, np.float32)
            owner = BundleId(**msgspec.structs.asdict(entry.bundle))
            taught = parse_taught(entry.taught, prototypes.shape[1]) if entry.taught else None
            return cls(**_fields(entry.name, entry, prototypes), note=entry.note, bundle=owner, taught=taught)
        except ValueError as error:
            raise DataError(f"{path} is damaged: {printable(str(error))}. Save the label set again") from error


def is_file(wanted: str | Path) -> bool:
    """Whether `--labels` means a label set's file, and not the name of a set or of activities."""
    return isinstance(wanted, Path) or wanted.casefold().endswith(".json")


def parse_label_set(folder: Path, name: str, entry: LabelSetEntry, dim: int, bundle: BundleId) -> LabelSet:
    """A label set of `bundle.json`, with its prototypes from their file in `folder`. Raises `OSError`, `DataError` or
    `ValueError`."""
    prototypes = read_npy(folder / entry.prototypes)
    labels = LabelSet(**_fields(name, entry, prototypes), bundle=bundle)
    if prototypes.shape[1] != dim:
        raise ValueError(f"prototypes of {name} have {prototypes.shape[1]} values, not {dim}")
    return labels


def label_set_table(labels: LabelSet) -> dict[str, Any]:
    """A label set in `bundle.json`."""
    return {
        "prototypes": f"prototypes/{labels.name}.npy",
        "labels": [{"name": label.name, "prompts": list(label.prompts)} for label in labels.labels],
        **_settings(labels),
    }


def label_table(labels: LabelSet) -> dict[str, Any]:
    """A label set in `mujo.json`, which apps read."""
    return {
        "labels": [label.name for label in labels.labels],
        "title": labels.title or labels.name,
        **_settings(labels),
        "prototypes": number_rows(labels.prototypes),
    }


def _settings(labels: LabelSet) -> dict[str, Any]:
    """The part of a label set that is written alike everywhere."""
    return {
        "placement": labels.placement,
        "temperature": labels.temperature,
        "unknown_threshold": labels.unknown_threshold,
        "smoothing": asdict(labels.smoothing),
        "channels": labels.channels,
    }


def _fields(name: str, entry: Settings, prototypes: npt.NDArray[Any]) -> dict[str, Any]:
    """The fields that every written label set has. Raises `ValueError`."""
    labels = tuple(Label(**msgspec.structs.asdict(label)) for label in entry.labels)
    check_names([label.name for label in labels])
    if prototypes.ndim != 2 or len(prototypes) != len(labels) or prototypes.dtype != np.float32:
        raise ValueError(
            f"prototypes of {name} are {prototypes.dtype}{prototypes.shape}, not float32, one row for each of "
            f"{len(labels)} labels"
        )
    if not np.allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-3):  # false for NaN as well
        raise ValueError(f"prototypes of {name} are not of length 1")
    return {
        "name": name,
        "labels": labels,
        "prototypes": prototypes,
        "placement": entry.placement,
        "temperature": entry.temperature,
        "unknown_threshold": entry.unknown_threshold,
        "smoothing": Smoothing(**msgspec.structs.asdict(entry.smoothing)),
        "channels": entry.channels,
    }


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` where a name is empty, "unknown" or there twice."""
    for name in names:
        if not name.strip() or name == UNKNOWN:
            raise ValueError(f"{name!r} cannot be a label")
    if len({*names}) < len(names):
        raise ValueError("a label is there twice")
