"""Labels, and the prototypes that a window's embedding is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mujo_edge.core import F32, UNKNOWN
from mujo_edge.printable import NAME, PLACE, check_kinds, checked, one_of

Method = Literal["hmm", "majority", "none"]


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How the recogniser steadies labels over time.

    "hmm": forward filter over labels and unknown that keeps a label with probability `stay` from one
    window to the next; "majority": vote over the last `windows` windows; "none".
    """

    method: Method = "hmm"
    stay: float = 0.9
    windows: int = 5


@dataclass(frozen=True, slots=True)
class Label:
    """A class: the name that the user sees and the sentences whose text embedding it was fitted with."""

    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Classes for one placement. `prototypes` (L, D) float32, L2-normalised, in the order of `labels`.

    `placement` is "" for a set made of names, see `Manifest.labels`, and `note` what its user should know then.
    """

    name: str
    labels: tuple[Label, ...]
    prototypes: F32
    placement: str
    temperature: float
    unknown_threshold: float
    smoothing: Smoothing
    channels: int
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The labels in the order of the prototypes and, last, "unknown": the columns of `probabilities`."""
        return (*(label.name for label in self.labels), UNKNOWN)

    def probabilities(self, embeddings: F32) -> F32:
        """(N, D) L2-normalised -> (N, L + 1): one probability a label, the last one that of "unknown".

        softmax(cosine / temperature), with unknown as one more class whose cosine is always
        `unknown_threshold`; so unknown is the largest exactly when no prototype reaches the threshold.
        """
        cosine = embeddings @ self.prototypes.T
        logits = np.pad(cosine, ((0, 0), (0, 1)), constant_values=self.unknown_threshold) / self.temperature
        weights = np.exp(logits - logits.max(1, keepdims=True))
        result: F32 = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        return result


def parse_label_set(folder: Path, name: str, entry: Mapping[str, Any], dim: int) -> LabelSet:
    """One label set with its prototypes loaded and checked. Raises `KeyError`, `TypeError` or `ValueError`."""
    checked("a label set's name", name, NAME)
    labels = tuple(Label(str(label["name"]), tuple(label["prompts"])) for label in entry["labels"])
    prototypes = np.load(folder / entry["prototypes"], allow_pickle=False)
    if prototypes.shape != (len(labels), dim) or prototypes.dtype != np.float32 or not len(labels):
        raise ValueError(
            f"prototypes of {name} are {prototypes.dtype}{prototypes.shape}, not float32{(len(labels), dim)}"
        )
    if not np.allclose(np.linalg.norm(prototypes, axis=1), 1, atol=1e-3):  # false for NaN as well
        raise ValueError(f"prototypes of {name} are not of length 1")
    if entry["temperature"] <= 0:
        raise ValueError(f"temperature of {name} is {entry['temperature']}")
    smoothing = Smoothing(**entry["smoothing"])
    one_of(f"the smoothing of {name}", smoothing.method, get_args(Method))
    check_kinds(f"the smoothing of {name}", smoothing)
    return LabelSet(
        name=name,
        labels=labels,
        prototypes=prototypes,
        placement=checked(f"the placement of {name}", entry["placement"], PLACE),
        temperature=float(entry["temperature"]),
        unknown_threshold=float(entry["unknown_threshold"]),
        smoothing=smoothing,
        channels=int(entry["channels"]),
    )


def label_set_table(labels: LabelSet) -> dict[str, Any]:
    """A label set as it stands in `bundle.json`."""
    return {
        "prototypes": f"prototypes/{labels.name}.npy",
        "labels": [{"name": label.name, "prompts": list(label.prompts)} for label in labels.labels],
        "placement": labels.placement,
        "temperature": labels.temperature,
        "unknown_threshold": labels.unknown_threshold,
        "smoothing": asdict(labels.smoothing),
        "channels": labels.channels,
    }
