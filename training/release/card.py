"""The model card of a bundle, with the scores of its network by protocol v1."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import dacite

from mujo_edge.bundle.manifest import (
    LabelSet,
    LoweredFile,
    ModelFile,
)
from mujo_edge.core import UsageError
from mujo_edge.signal import InputSpec
from training.corpora import get
from training.models.student import StudentConfig

CARD_METHODS = ("mujo_plus int8", "random fp32", "forest")
"""Methods whose scores are in a bundle: the shipped one, the same network from random init, and the random forest."""


def read_results(folder: Path, network: StudentConfig) -> dict[str, Any]:
    """Results of `training.evaluate` in `folder` as the entry "protocol_v1" of a bundle's metrics.

    "git_commit", and "rows", each with the method ("row"), channels, corpus, fraction, mean and sd of macro-F1 over the
    folds, and the numbers of folds and seeds.

    Raises:
        UsageError: `folder` holds no results, or those of another network.
    """
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        table = json.loads((folder / "table.json").read_text("utf-8"))
        encoder = about["config"]["recipe"]["pretrain"]["encoder"]
        evaluated = dacite.from_dict(StudentConfig, encoder, dacite.Config(cast=[tuple], strict=True))
        rows = [
            {"row": entry["method"]}
            | {key: entry[key] for key in ("channels", "corpus", "fraction", "mean", "sd")}
            | {"folds": len(entry["folds"]), "seeds": min(map(len, entry["folds"].values()))}
            for entry in table
            if entry["method"] in CARD_METHODS
        ]
        commit = str(about["git_commit"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, dacite.DaciteError) as error:
        raise UsageError(
            f"{folder} has no results to read: {error!r}. Give the folder that training.evaluate wrote with --out"
        ) from error
    if evaluated != network:
        raise UsageError(f"{folder} has the results of another network; evaluate this one with training.evaluate")
    return {"git_commit": commit, "rows": rows}


def card_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the card's table: a line per label fraction, channels and method, a column per data set."""
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    lines = []
    known = {(row["fraction"], row["channels"], row["row"]) for row in rows}

    def order(key: tuple[float | str, int, str]) -> tuple[float, int, int]:
        fraction, channels, method = key
        return (inf if isinstance(fraction, str) else fraction), channels, CARD_METHODS.index(method)

    for fraction, channels, method in sorted(known, key=order):
        own = {r["corpus"]: r for r in rows if (r["fraction"], r["channels"], r["row"]) == (fraction, channels, method)}
        runs = f"{min(row['folds'] for row in own.values())} x {min(row['seeds'] for row in own.values())}"
        cells = [f"{own[corpus]['mean']:.3f} ± {own[corpus]['sd']:.3f}" if corpus in own else "" for corpus in corpora]
        lines.append(["1 person" if fraction == "one" else f"{fraction:.0%}", str(channels), method, runs, *cells])
    return ["labels", "channels", "model", "folds x seeds", *(get(corpus).title for corpus in corpora)], lines


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
    protocol = metrics.get("protocol_v1")
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
