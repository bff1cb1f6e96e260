"""Numbers of the pipeline and label sets as C: mujo_config.h, mujo_labels.h and mujo_labels.c.

They go with `firmware_bridge/firmware/student/mujo_recognizer.c`. A label set is a constant of its own, so that a
linker with --gc-sections leaves out those that a program does not name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

import numpy as np

from mujo_edge.core import DataError
from mujo_edge.export.escape import c_comment, c_identifier, c_string
from mujo_edge.manifest import LabelSet, Manifest

MOST = 255
"""Labels of a set with "unknown", and windows that vote: they are counted in a byte."""

NAMES, PROTOTYPES = "_names", "_prototypes"
"""After a label set's identifier, those of its tables."""

METHODS = {"none": "MUJO_NONE", "hmm": "MUJO_HMM", "majority": "MUJO_MAJORITY"}


def config(manifest: Manifest, input_scale: float) -> str:
    """mujo_config.h. `input_scale` is that of the network's int8 input.

    Raises:
        DataError: a rate, hop, gap or label set that mujo_recognizer.c cannot take.
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
    if max(classes, votes) > MOST:
        raise DataError(f"a microcontroller takes at most {MOST} labels, and windows in a vote")
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
        "/* What mujo_recognizer.c is made for; of mujo.json, where it is described. */\n"
        "#ifndef MUJO_CONFIG_H\n#define MUJO_CONFIG_H\n\n"
        + "".join(f"#define {name} {value}\n" for name, value in values.items())
        + "\n#endif\n"
    )


def header(sets: Iterable[LabelSet], chosen: LabelSet) -> str:
    """mujo_labels.h. `chosen` is called MUJO_LABELS as well."""
    listed = [(identifier(labels), labels) for labels in sets]
    taken = [f"{name}{part}" for name, _ in listed for part in ("", NAMES, PROTOTYPES)]
    if len({*taken}) < len(taken):
        raise DataError("two label sets of the bundle have one name in C")
    declared = "".join(
        f"extern const mujo_label_set {name}; /* {c_comment(labels.placement)}, {len(labels.labels)} labels */\n"
        for name, labels in listed
    )
    every = " ".join(f"X({name})" for name, _ in listed)
    return (
        "/* The label sets of the bundle. */\n#ifndef MUJO_LABELS_H\n#define MUJO_LABELS_H\n\n"
        '#include "mujo_recognizer.h"\n\n#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"{declared}\n#ifdef __cplusplus\n}}\n#endif\n\n"
        f"/* The one that a program begins with. */\n#define MUJO_LABELS {identifier(chosen)}\n\n"
        "/* X(name) for each of them. */\n"
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
    """Of a label set in C."""
    return f"mujo_labels_{c_identifier(labels.name)}"


def number(value: float) -> str:
    """A float32 literal of the same value as `np.float32(value)`: nine digits tell all of them apart."""
    digits = f"{np.float32(value):.9g}"
    return digits + ("f" if re.search(r"[.e]", digits) else ".0f")


def _lines(values: Sequence[str]) -> str:
    """Values between commas, on lines of no more than 120 characters."""
    glued = ", ".join(value.replace(" ", "\0") for value in values) + ","
    return "".join(
        f"    {line.replace(chr(0), ' ')}\n"
        for line in wrap(glued, 110, break_long_words=False, break_on_hyphens=False)
    )
