"""Metadata inside a model file, for apps that have only the file. docs/bundles.md lists it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mujo_edge.bundle.labels import label_table
from mujo_edge.bundle.manifest import LabelSet
from mujo_edge.export import input_table
from mujo_edge.signal import InputSpec


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Name and version of a bundle, input (`spec`) and output dimension (`dim`) of its model, and its label sets."""

    bundle: str
    version: str
    spec: InputSpec
    dim: int
    label_sets: Sequence[LabelSet]
    default_label_set: str

    def mujo_json(self) -> str:
        """The part of an export's mujo.json that describes the model."""
        table = {
            "bundle": self.bundle,
            "version": self.version,
            "input": input_table(self.spec),
            "embedding_dim": self.dim,
            "label_sets": {labels.name: label_table(labels) for labels in self.label_sets},
            "default_label_set": self.default_label_set,
        }
        return json.dumps(table, ensure_ascii=False, separators=(",", ":"))

    def input_constants(self) -> dict[str, Any]:
        """Constant methods of a .pte that describe its input and output."""
        return {
            "bundle": self.bundle,
            "version": self.version,
            "rate_hz": self.spec.rate_hz,
            "window": self.spec.window,
            "hop": self.spec.hop,
            "channels": json.dumps(self.spec.channels),
            "scale": torch.tensor(self.spec.scale, dtype=torch.float32),
            "clip": self.spec.clip,
            "max_gap_s": self.spec.max_gap_s,
            "embedding_dim": self.dim,
        }

    def constants(self) -> dict[str, Any]:
        """All constant methods of a .pte. Those of a label set are called NAME.labels and so on."""
        names = [labels.name for labels in self.label_sets]
        whole = {"label_sets": json.dumps(names), "default_label_set": self.default_label_set}
        for labels in self.label_sets:
            whole |= {f"{labels.name}.{key}": value for key, value in label_constants(labels).items()}
        return self.input_constants() | whole


def label_constants(labels: LabelSet) -> Mapping[str, Any]:
    """A label set as values that constant methods can return: text, numbers, tensors."""
    return {
        "labels": json.dumps([label.name for label in labels.labels]),
        "prototypes": torch.from_numpy(labels.prototypes),
        "temperature": labels.temperature,
        "unknown_threshold": labels.unknown_threshold,
        "smoothing": json.dumps(asdict(labels.smoothing)),
        "placement": labels.placement,
        "channels": labels.channels,
    }
