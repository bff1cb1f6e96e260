"""Protocol v1: the trials of `python -m training.evaluate`, and `run.json`.

Five folds that share no person; 2 / 10 / 100 % of the train labels, or all labels of one person; several seeds. Every
score is a line of `trials.jsonl`, so that an interrupted run can be resumed. All subcommands write to the same folder.
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
from training.evaluation.encoders import TERMS, Evaluation, settings_of
from training.evaluation.runs import sources_of
from training.evaluation.trials import LabelFraction, Method, Trial, read_scores
from training.recipes.recipe import Recipe
from training.support.provenance import describe, plain

WITH_CLIPS: tuple[Method, ...] = ("mujo", "mujo_plus")
"""Methods that need `--shards`."""
NETWORKS: tuple[Method, ...] = ("random", "mujo", "mujo_plus", "student")
"""Methods that train the student's network on labels of the tested set."""
ZERO_SHOT: tuple[Method, ...] = (*WITH_CLIPS, "student", "prompts")
"""Methods that need no labels of the tested set."""
ABLATED: tuple[Method, ...] = ("mujo_plus",)
"""Methods of an ablation without `--methods`."""


def start_run(run: Evaluation, seeds: int, methods: Iterable[Method], corpora: Iterable[str]) -> None:
    """Write `run.json`: the inputs of this run, and for every method of the folder how its scores were made.

    Raises:
        UsageError: the folder holds scores of one of `methods` made with another recipe, or scores of other data.
    """
    path = run.out / "run.json"
    now = describe({"recipe": run.recipe, "seeds": seeds}, data_sha256(sorted(corpora)))
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    digests = before.get("data_sha256", {})
    changed = [name for name, sha256 in now["data_sha256"].items() if digests.get(name, sha256) != sha256]
    provenance = provenance_of_methods(run, before)
    for method in methods:
        shards = run.shards.sha256 if run.shards and method in WITH_CLIPS else ""
        old = provenance.setdefault(method, {"recipe": plain(run.recipe), "shards_sha256": shards, "git_commits": []})
        changed += differences(method, old["recipe"], run.recipe)
        changed += ["shards"] if old["shards_sha256"] != shards else []
        old["git_commits"] = list(dict.fromkeys([*old["git_commits"], now["git_commit"]]))
    if changed:
        names = ", ".join(dict.fromkeys(changed))
        raise UsageError(f"{run.out} holds scores made with another {names}; choose another folder with --out")
    run.out.mkdir(parents=True, exist_ok=True)
    now |= {"data_sha256": digests | now["data_sha256"], "methods": provenance}
    path.write_text(json.dumps(now, indent=1) + "\n")


def provenance_of_methods(run: Evaluation, before: dict[str, Any]) -> dict[str, Any]:
    """Recipe, shards and commits of every method that the folder has scores of, from its `run.json`; those of the
    whole run if an older version wrote it."""
    if not before:
        return {}
    whole_run = {"recipe": before["config"]["recipe"], "shards_sha256": "", "git_commits": [before["git_commit"]]}
    methods = dict.fromkeys(score.trial.method for score in read_scores(run.trials_file))
    return {method: before.get("methods", {}).get(method) or dict(whole_run) for method in methods}


def differences(method: Method, old: dict[str, Any], new: Recipe) -> list[str]:
    """Parts of a recipe that changed and that the scores of a method depend on. Settings that `old` lacks, since an
    older version wrote it, had the values that are the defaults now."""
    try:
        recipe = dacite.from_dict(Recipe, old, dacite.Config(cast=[tuple], strict=True))
    except dacite.DaciteError:
        return ["recipe of an older version"]
    before, after = settings_of(method, recipe), settings_of(method, new)
    return [key for key in after if before[key] != after[key]]


def among(option: str, text: str, allowed: Iterable[str]) -> list[str]:
    """Comma-separated values of an option, without duplicates. Raises `UsageError` for one that is not allowed."""
    values = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := set(values) - set(allowed):
        raise UsageError(
            f"{option} takes {', '.join(allowed)}; {', '.join(map(repr, sorted(unknown)))} is not among them"
        )
    return values


def label_fractions(text: str) -> list[LabelFraction]:
    """Comma-separated label fractions. Raises `UsageError` for an invalid one."""
    try:
        values: list[LabelFraction] = ["one" if part.strip() == "one" else float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(value == "one" or 0 < value <= 1 for value in values):
        raise UsageError(f'--fractions takes "one" and numbers above 0, up to 1, such as 0.02,0.1,1,one; got {text!r}')
    return list(dict.fromkeys(values))


def chosen_methods(
    text: str, default: Sequence[Method], allowed: Sequence[Method], shards: Path | None
) -> list[Method]:
    """The methods of `--methods`, or `default` without those that need clips. Raises `UsageError`."""
    methods = among("--methods", text, allowed) if text else [m for m in default if shards or m not in WITH_CLIPS]
    if not methods or (not shards and set(methods) & set(WITH_CLIPS)):
        raise UsageError(
            f"the methods {', '.join(WITH_CLIPS)} need clips: give their folder with --shards. "
            "Make it with: python -m training.fimad build"
        )
    return methods  # type: ignore[return-value]


def label_trials(
    methods: Sequence[Method],
    folds: Sequence[int],
    seeds: int,
    corpora: Sequence[str],
    channels: Sequence[int],
    fractions: Sequence[LabelFraction],
    left_out: Sequence[str] = ("",),
    semi: bool = False,
) -> Iterator[Trial]:
    """Trained on labels of the tested set; the forest once a fold, as it has no encoder whose seed could matter."""
    for width, corpus, fraction, fold, method, without in product(
        channels, corpora, fractions, folds, methods, left_out
    ):
        for seed in range(1 if method == "forest" else seeds):
            yield Trial(method, width, corpus, fold, fraction, seed, without, semi=semi)


def zero_shot_trials(
    methods: Sequence[Method], folds: Sequence[int], seeds: int, corpora: Sequence[str], left_out: Sequence[str] = ("",)
) -> Iterator[Trial]:
    """Without labels of the tested set, accelerometer only."""
    for method, corpus, fold, seed, without in product(methods, corpora, folds, range(seeds), left_out):
        yield Trial(method, 3, corpus, fold, 0.0, seed, without)


def transfer_trials(
    methods: Sequence[Method], folds: Sequence[int], seeds: int, corpora: Sequence[str]
) -> Iterator[Trial]:
    """All labels of each set that shares movements with the tested one, accelerometer only."""
    for method, corpus in product(methods, corpora):
        for source, fold, seed in product(sources_of(corpus), folds, range(1 if method == "forest" else seeds)):
            yield Trial(method, 3, corpus, fold, 1.0, seed, source=source)


def parts_of(text: str, run: Evaluation, methods: Sequence[Method], zero_shot: bool) -> list[str]:
    """Comma-separated parts that an ablation leaves out, one at a time; "all" is every modality, data set and loss term
    that `methods` are pretrained with. A zero-shot ablation cannot leave out text.

    Raises:
        UsageError: the methods are not pretrained with a part.
    """
    needed = {"imu", "text"} if zero_shot else {"imu"}
    parts: list[str] = [m for m in run.recipe.pretrain.modalities if m not in needed] if run.shards else []
    parts += run.recipe.allowed_clips(run.shards.corpora) if run.shards else ()
    parts += run.recipe.allowed() if set(methods) - {"mujo"} else ()
    parts += [name for name, field in TERMS.items() if getattr(run.recipe.pretrain, field)]
    parts = list(dict.fromkeys(parts))
    return parts if text == "all" else among("PARTS", text, parts)
