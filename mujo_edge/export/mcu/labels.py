"""Constants of the pipeline and label sets as C: mujo_config.h, mujo_labels.h and mujo_labels.c.

They belong to `firmware_bridge/firmware/student/mujo_recognizer.c`. Each label set is a constant of its own, so that a
linker with --gc-sections drops those that a program does not use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

import numpy as np

from mujo_edge.bundle.manifest import LabelSet, Manifest
from mujo_edge.core import DataError
from mujo_edge.export.escape import c_comment, c_identifier, c_string

MAX_COUNT = 255
"""Most labels of a set with "unknown", and most windows of a majority vote: C counts them in a byte."""

NAMES, PROTOTYPES = "_names", "_prototypes"
"""Suffixes of a label set's identifier for its tables."""

METHODS = {"none": "MUJO_NONE", "hmm": "MUJO_HMM", "majority": "MUJO_MAJORITY"}


def config(manifest: Manifest, input_scale: float) -> str:
    """mujo_config.h. `input_scale` is that of the network's int8 input.

    Raises:
        DataError: mujo_recognizer.c does not support the rate, hop, gap or a label set.
    """
    spec = manifest.input
    interval_us = 1e6 / spec.rate_hz
    if interval_us % 1 or 1e9 % interval_us or spec.hop * interval_us <= spec.max_gap_s * 1e6:
        raise DataError(
            f"a microcontroller cannot take windows at {spec.rate_hz:g} Hz every {spec.hop} samples: the interval must "
            "divide 1000 s in whole microseconds, and a hop be longer than the longest gap that is bridged"
        )
    sets = manifest.label_sets.values()
    classes = max(len(labels.names) for labels in sets)
    votes = max(labels.smoothing.windows for labels in sets)
    if max(classes, votes) > MAX_COUNT:
        raise DataError(f"a microcontroller takes at most {MAX_COUNT} labels, and windows in a vote")
    values = {
        "MUJO_BUNDLE": c_string(f"{manifest.name} {manifest.version}"),
        "MUJO_INTERVAL_US": f"{interval_us:.0f}",
        "MUJO_HOP": str(spec.hop),
        "MUJO_MAX_GAP_US": f"{spec.max_gap_s * 1e6:.0f}",
        "MUJO_SCALE": "{" + ", ".join(map(number, spec.scale)) + "}",
        "MUJO_CLIP": number(spec.clip),
        "MUJO_INPUT_PER_SCALE": number(1 / input_scale),
        "MUJO_MAX_CLASSES": str(classes),
        "MUJO_MAX_VOTES": str(votes),
    }
    return (
        "/* Constants of mujo_recognizer.c, from mujo.json, which describes them. */\n"
        "#ifndef MUJO_CONFIG_H\n#define MUJO_CONFIG_H\n\n"
        + "".join(f"#define {name} {value}\n" for name, value in values.items())
        + "\n#endif\n"
    )


def header(sets: Iterable[LabelSet], chosen: LabelSet) -> str:
    """mujo_labels.h. MUJO_LABELS is defined as `chosen`."""
    listed = [(identifier(labels), labels) for labels in sets]
    taken = [f"{name}{part}" for name, _ in listed for part in ("", NAMES, PROTOTYPES)]
    if len({*taken}) < len(taken):
        raise DataError("two label sets of the bundle have the same name in C")
    declared = "".join(
        f"extern const mujo_label_set {name}; /* {c_comment(labels.placement)}, {len(labels.labels)} labels */\n"
        for name, labels in listed
    )
    every = " ".join(f"X({name})" for name, _ in listed)
    return (
        "/* The label sets of the bundle. */\n#ifndef MUJO_LABELS_H\n#define MUJO_LABELS_H\n\n"
        '#include "mujo_recognizer.h"\n\n#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"{declared}\n#ifdef __cplusplus\n}}\n#endif\n\n"
        f"/* The default label set. */\n#define MUJO_LABELS {identifier(chosen)}\n\n"
        "/* X(name) for each label set. */\n"
        f"#define MUJO_LABEL_SETS(X) {every}\n\n#endif\n"
    )


def source(sets: Iterable[LabelSet]) -> str:
    """mujo_labels.c."""
    return '#include "mujo_labels.h"\n' + "".join(map(_source, sets))


def _source(labels: LabelSet) -> str:
    name, names, smoothing = identifier(labels), labels.names, labels.smoothing
    values = [number(value) for value in labels.prototypes.ravel().tolist()]
    fields = [
        c_string(labels.name),
        f"{name}{NAMES}",
        f"{name}{PROTOTYPES}",
        str(len(names)),
        str(labels.channels),
        METHODS[smoothing.method],
        str(smoothing.windows),
        number(smoothing.stay),
        number(labels.temperature),
        number(labels.unknown_threshold),
    ]
    return (
        f"\nstatic const char *const {name}{NAMES}[{len(names)}] = {{\n{_lines(list(map(c_string, names)))}}};\n\n"
        f"static const float {name}{PROTOTYPES}[{len(values)}] = {{\n{_lines(values)}}};\n\n"
        f"const mujo_label_set {name} = {{\n{_lines(fields)}}};\n"
    )


def identifier(labels: LabelSet) -> str:
    """Identifier of a label set in C."""
    return f"mujo_labels_{c_identifier(labels.name)}"


def number(value: float) -> str:
    """A float literal of C with exactly the value `np.float32(value)`: nine digits identify any float32."""
    digits = f"{np.float32(value):.9g}"
    return digits + ("f" if re.search(r"[.e]", digits) else ".0f")


def _lines(values: Sequence[str]) -> str:
    """Values separated by commas, on lines of at most 120 characters."""
    glued = ", ".join(value.replace(" ", "\0") for value in values) + ","
    return "".join(
        f"    {line.replace(chr(0), ' ')}\n"
        for line in wrap(glued, 110, break_long_words=False, break_on_hyphens=False)
    )
