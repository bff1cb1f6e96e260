"""Metadata of a model file, compared with the manifest of its bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mujo_edge.bundle.manifest import LabelSet, Manifest, Smoothing
from mujo_edge.signal import InputSpec

LABEL_METHODS = ("labels", "prototypes", "temperature", "unknown_threshold", "smoothing", "placement", "channels")


def same_label_set(labels: LabelSet, actual: Mapping[str, Any]) -> None:
    """`found` has the values of `LABEL_METHODS` as Python objects; `prototypes` anything that numpy takes."""
    assert tuple(actual["labels"]) == tuple(label.name for label in labels.labels)
    np.testing.assert_array_equal(np.asarray(actual["prototypes"], np.float32), labels.prototypes)
    assert (actual["temperature"], actual["unknown_threshold"]) == (labels.temperature, labels.unknown_threshold)
    assert Smoothing(**actual["smoothing"]) == labels.smoothing
    assert (actual["placement"], actual["channels"]) == (labels.placement, labels.channels)


def constants_are_those_of(manifest: Manifest, constants: Mapping[str, Any], with_labels: bool = True) -> None:
    """Every constant method of a .pte, and no other, has the manifest's value."""
    spec = manifest.input
    assert (constants["bundle"], constants["version"]) == (manifest.name, manifest.version)
    for key in ("rate_hz", "window", "hop", "clip", "max_gap_s"):
        value = getattr(spec, key)
        assert (constants[key], type(constants[key])) == (value, type(value)), key
    assert tuple(json.loads(constants["channels"])) == spec.channels
    np.testing.assert_array_equal(constants["scale"].numpy(), np.asarray(spec.scale, np.float32))
    assert constants["embedding_dim"] == manifest.embedding_dim
    of_input = {"bundle", "version", "rate_hz", "window", "hop", "channels", "scale", "clip", "max_gap_s"}
    names = of_input | {"embedding_dim"}
    if with_labels:
        assert json.loads(constants["label_sets"]) == list(manifest.label_sets)
        assert constants["default_label_set"] == manifest.default_label_set
        for name, labels in manifest.label_sets.items():
            actual = {key: constants[f"{name}.{key}"] for key in LABEL_METHODS}
            decoded = {key: json.loads(actual[key]) for key in ("labels", "smoothing")}
            same_label_set(labels, actual | decoded)
        names |= {"label_sets", "default_label_set"}
        names |= {f"{name}.{key}" for name in manifest.label_sets for key in LABEL_METHODS}
    assert set(constants) == names


def json_is_that_of(manifest: Manifest, text: str) -> None:
    """The "mujo.json" property of an .onnx file has the manifest's values."""
    table = json.loads(text)
    assert (table["bundle"], table["version"]) == (manifest.name, manifest.version)
    stored = {key: table["input"][key] for key in asdict(manifest.input)}
    assert InputSpec(**stored | {key: tuple(stored[key]) for key in ("channels", "scale")}) == manifest.input
    assert table["input"]["units"] == ["m/s2 with gravity"] * 3 + ["rad/s"] * 3
    assert table["embedding_dim"] == manifest.embedding_dim
    assert table["default_label_set"] == manifest.default_label_set
    assert list(table["label_sets"]) == list(manifest.label_sets)
    for name, labels in manifest.label_sets.items():
        same_label_set(labels, table["label_sets"][name])
