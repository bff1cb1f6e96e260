"""The model card of a bundle, with the scores of its network by protocol v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mujo_edge.bundle.manifest import (
    LabelSet,
    LoweredFile,
    ModelFile,
)
from mujo_edge.signal import InputSpec
from training.corpora import get

METHODS = {
    "broad_int8, logistic": "this network, int8",
    "random, logistic": "the same from random init",
    "hand, logistic": "hand features, logistic regression",
    "hand, forest": "hand features, random forest",
    "hand, nearest": "hand features, nearest window",
}
"""Rows of protocol v2 in a card, and their names there."""


def card_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the card's table: a line per labels, channels and method, a column per data set."""
    sets = list(dict.fromkeys(name for row in rows for name in row["sets"]))
    lines = [
        [
            row["labels"],
            str(row["channels"]),
            METHODS[row["method"]],
            f"{row['mean']:.3f}",
            *(f"{row['sets'][name]:.3f}" if name in row["sets"] else "" for name in sets),
        ]
        for row in rows
        if row["method"] in METHODS
    ]
    return ["labels", "channels", "model", "mean", *(get(name).title for name in sets)], lines


def model_card(
    table: Mapping[str, Any],
    spec: InputSpec,
    models: Sequence[ModelFile],
    lowered: Sequence[LoweredFile],
    sizes: Mapping[str, int],
    label_sets: Sequence[LabelSet],
) -> str:
    """The model card in Markdown with the YAML front matter that model hubs read."""
    import jinja2

    templates = jinja2.Environment(  # noqa: S701 - Markdown
        loader=jinja2.PackageLoader("training"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    corpora, clips, metrics = table["training"]["corpora"], table["training"].get("clips", []), table["metrics"]
    protocol = metrics.get("protocol_v2")
    return templates.get_template("model_card.md.j2").render(
        name=table["name"],
        version=table["version"],
        created=table["created"],
        dim=table["embedding_dim"],
        parameters=metrics["parameters"],
        macs=metrics["macs"],
        arena_bytes=metrics["tflite_micro_arena_bytes"],
        default_label_set=table["default_label_set"],
        git_commit=table["training"].get("git_commit"),
        license="apache-2.0" if all(data["open_licence"] for data in (*corpora, *clips)) else "other",
        corpora=corpora,
        clips=clips,
        results=metrics.get("results", []),
        held_out=metrics.get("held_out", {}),
        names=metrics.get("names"),
        protocol=protocol,
        protocol_table=card_table(protocol["rows"]) if protocol else None,
        spec=spec,
        models=models,
        lowered=lowered,
        sizes=sizes,
        label_sets=label_sets,
    )
