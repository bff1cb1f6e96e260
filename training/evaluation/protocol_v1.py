"""Protocol v1: `python -m training.evaluate --protocol v1 --shards DIR`.

Five folds that share no person; 2 / 10 / 100 % of the train labels, or all labels of one person; several seeds. Every
score is a line of `cells.jsonl`, so that a run that was stopped goes on where it was. `--zero-shot`, `--transfer`,
`--ablation` and `--semi` fill the other tables of the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import dacite

from mujo_edge.core import UsageError
from training.corpora.registry import data_sha256
from training.evaluation.cells import Cell, Row, Share, read_scores
from training.evaluation.encoders import TERMS, Evaluation, settings_of
from training.evaluation.transfer import sources_of
from training.recipes.recipe import Recipe
from training.support.provenance import describe, plain

WITH_CLIPS: tuple[Row, ...] = ("mujo", "mujo_plus")
"""Rows that need `--shards`."""
ABLATED: tuple[Row, ...] = ("mujo_plus",)
"""The row that an ablation takes apart where `--rows` names none."""


def go_on(this: Evaluation, seeds: int, rows: Iterable[Row], corpora: Iterable[str]) -> None:
    """Write `run.json`: what this run was given, and for every row of the folder what its scores were made with.

    Raises:
        UsageError: the folder holds scores of one of `rows` made by another recipe, or any from other data.
    """
    path = this.out / "run.json"
    now = describe({"recipe": this.recipe, "seeds": seeds}, data_sha256(sorted(corpora)))
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    shas = before.get("data_sha256", {})
    changed = [name for name, sha in now["data_sha256"].items() if shas.get(name, sha) != sha]
    made_with = rows_made_with(this, before)
    for row in rows:
        shards = this.shards.sha256 if this.shards and row in WITH_CLIPS else ""
        old = made_with.setdefault(row, {"recipe": plain(this.recipe), "shards_sha256": shards, "git_commits": []})
        changed += differences(row, old["recipe"], this.recipe)
        changed += ["shards"] if old["shards_sha256"] != shards else []
        old["git_commits"] = list(dict.fromkeys([*old["git_commits"], now["git_commit"]]))
    if changed:
        names = ", ".join(dict.fromkeys(changed))
        raise UsageError(f"{this.out} holds scores made with another {names}; choose another folder with --out")
    this.out.mkdir(parents=True, exist_ok=True)
    now |= {"data_sha256": shas | now["data_sha256"], "rows": made_with}
    path.write_text(json.dumps(now, indent=1) + "\n")


def rows_made_with(this: Evaluation, before: dict[str, Any]) -> dict[str, Any]:
    """Recipe, shards and commits of every row that the folder has scores of; of the whole run where an older version
    wrote it."""
    told = before.get("rows", {})
    found = dict.fromkeys(score.cell.row for score in read_scores(this.cells))
    return {
        row: told.get(row)
        or {"recipe": before["config"]["recipe"], "shards_sha256": "", "git_commits": [before["git_commit"]]}
        for row in found
        if before
    }


def differences(row: Row, old: dict[str, Any], new: Recipe) -> list[str]:
    """Parts of a recipe that a row's scores depend on and that are not as they were. Settings that an older version
    did not know had the values that are the default now."""
    try:
        recipe = dacite.from_dict(Recipe, old, dacite.Config(cast=[tuple], strict=True))
    except dacite.DaciteError:
        return ["recipe of an older version"]
    before, after = settings_of(row, recipe), settings_of(row, new)
    return [key for key in after if before[key] != after[key]]


def among(option: str, text: str, allowed: Iterable[str]) -> list[str]:
    """Comma-separated values of an option, each once. Raises `UsageError` for one that is not allowed."""
    values = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := set(values) - set(allowed):
        raise UsageError(
            f"{option} takes {', '.join(allowed)}; {', '.join(map(repr, sorted(unknown)))} is not among them"
        )
    return values


def shares(text: str) -> list[Share]:
    """Comma-separated shares of the labels. Raises `UsageError` for what is none."""
    try:
        values: list[Share] = ["one" if part.strip() == "one" else float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(value == "one" or 0 < value <= 1 for value in values):
        raise UsageError(f'--fractions takes "one" and numbers above 0, up to 1, such as 0.02,0.1,1,one; got {text!r}')
    return list(dict.fromkeys(values))


def rows_of(text: str, default: Sequence[Row], allowed: Sequence[Row], shards: Path | None) -> list[Row]:
    """Rows to run, and whether they can be. Raises `UsageError`."""
    rows = among("--rows", text, allowed) if text else [r for r in default if shards or r not in WITH_CLIPS]
    if not rows or (not shards and set(rows) & set(WITH_CLIPS)):
        raise UsageError(
            f"--rows {', '.join(WITH_CLIPS)} need clips: give their folder with --shards. "
            "Make it with: python -m training.fimad build"
        )
    return rows  # type: ignore[return-value]


def zero_shot_cells(
    rows: Sequence[Row], folds: Sequence[int], seeds: int, corpora: Sequence[str], left_out: Sequence[str]
) -> Iterator[Cell]:
    """Accelerometer only, by words alone."""
    for row, corpus, fold, seed, without in product(rows, corpora, folds, range(seeds), left_out):
        yield Cell(row, 3, corpus, fold, 0.0, seed, without)


def transfer_cells(rows: Sequence[Row], folds: Sequence[int], seeds: int, corpora: Sequence[str]) -> Iterator[Cell]:
    """All labels of each set that shares movements with the tested one."""
    for row, corpus in product(rows, corpora):
        for source, fold, seed in product(sources_of(corpus), folds, range(1 if row == "forest" else seeds)):
            yield Cell(row, 3, corpus, fold, 1.0, seed, source=source)


def parts_of(text: str, this: Evaluation, rows: Sequence[Row], zero_shot: bool) -> list[str]:
    """What an ablation leaves out, one at a time: "all" is every modality, data set and term that `rows` are pretrained
    with; `zero_shot` cannot be without words.

    Raises:
        UsageError: they are not pretrained on it.
    """
    needed = {"imu", "text"} if zero_shot else {"imu"}
    there: list[str] = [m for m in this.recipe.pretrain.modalities if m not in needed] if this.shards else []
    there += this.recipe.allowed_clips(this.shards.corpora) if this.shards else ()
    there += this.recipe.allowed() if set(rows) - {"mujo"} else ()
    there += [name for name, field in TERMS.items() if getattr(this.recipe.pretrain, field)]
    there = list(dict.fromkeys(there))
    return there if text == "all" else among("--ablation", text, there)
