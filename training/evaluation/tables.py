"""Tables of an evaluation in Markdown: label efficiency, zero-shot, transfer, ablation, differences and goals."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from training.corpora import PROTOCOL_V1
from training.evaluation.paired import ByFold, Difference, mean_of, paired
from training.evaluation.trials import METHODS, LabelFraction, Score
from training.recipes.recipe import RECIPES

PEERS = RECIPES / "protocol_v1.toml"
PEER_FOLDS = (0, 1)
"""Folds that the peers of `PEERS` were measured on."""
REFERENCE = "random fp32"
"""The baseline of every comparison: same network, augmentation and steps, from random initialization."""
REFERENCE_SEMI = "random semi fp32"
"""The baseline of semi-supervised methods; itself compared with `REFERENCE`."""

Key = tuple[str, int, str, LabelFraction]
"""(method, channels, corpus, fraction); the method with its variant, as in "student int8"."""
Table = Mapping[Key, ByFold]

ByMethod = Mapping[tuple[str, str], ByFold]
"""(method or "chance", column) -> macro-F1."""

Differences = Mapping[tuple[str, int, LabelFraction], Mapping[str, Difference]]
"""(method, channels, fraction) -> data set -> method minus its reference; "mean" if every data set is there."""

Ablations = Mapping[tuple[str, int, LabelFraction, str], Mapping[str, Difference]]
"""(method, channels, fraction, part left out) -> data set -> gain from the part; "mean" if every data set is there."""

UNPAIRED = "no interval: one fold"


def method_name(score: Score) -> str:
    """The method with its variant, as tables name it."""
    return score.variant if score.trial.method == score.variant else f"{score.trial.title} {score.variant}"


def method_order(name: str) -> tuple[bool, int, str]:
    """Sort key: methods in the order of `METHODS`, fp32 before int8, semi-supervised ones last."""
    method, *rest = name.split()
    return "semi" in rest, METHODS.index(method), name  # type: ignore[arg-type]


def reference_of(name: str) -> str:
    """The baseline that a method is compared with."""
    return REFERENCE_SEMI if "semi" in name.split() and name != REFERENCE_SEMI else REFERENCE


def fraction_order(fraction: LabelFraction) -> tuple[bool, float]:
    """Sort key: rising fractions, then "one"."""
    return fraction == "one", 0.0 if fraction == "one" else fraction


def fraction_name(fraction: LabelFraction) -> str:
    """The label fraction as tables name it."""
    if fraction == "one":
        return "all labels of one person"
    return f"{fraction:.0%} of the labels" if fraction else "zero-shot"


def gathered(scores: Iterable[Score], key: Callable[[Score], Any]) -> dict[Any, dict[int, dict[int, float]]]:
    """Macro-F1 by key, then fold, then seed."""
    table: dict[Any, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for score in sorted(scores, key=lambda s: (s.trial.fold, s.trial.seed)):
        table[key(score)][score.trial.fold][score.trial.seed] = score.macro_f1
    return table


def efficiency(scores: Iterable[Score]) -> Table:
    """The label-efficiency table: trained on labels of the tested set, pretrained on everything allowed."""
    plain = [s for s in scores if not s.trial.without and not s.trial.source and s.trial.fraction != 0]
    return gathered(plain, lambda s: (method_name(s), s.trial.channels, s.trial.corpus, s.trial.fraction))


def summary(by_fold: ByFold) -> dict[str, Any]:
    """Mean and standard deviation over folds (each the mean of its seeds), mean of the peers' folds, all values."""
    means = [float(np.mean(list(seeds.values()))) for seeds in by_fold.values()]
    same = [float(np.mean(list(by_fold[fold].values()))) for fold in PEER_FOLDS if fold in by_fold]
    return {
        "mean": float(np.mean(means)),
        "sd": float(np.std(means)),
        "mean_peer_folds": float(np.mean(same)) if len(same) == len(PEER_FOLDS) else None,
        "folds": {str(fold): [round(value, 4) for value in seeds.values()] for fold, seeds in by_fold.items()},
    }


def heading(first: str, columns: Sequence[str]) -> list[str]:
    """Blank line, header and separator of a Markdown table."""
    return ["", f"| {first} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]


def line(first: str, cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return f"| {first} | " + " | ".join(cells) + " |"


def parts(table: Table) -> list[tuple[LabelFraction, list[str], list[tuple[str, int]]]]:
    """(fraction, data sets, (method, channels) pairs) of each part of the table, in display order."""
    result = []
    for fraction in sorted({key[3] for key in table}, key=fraction_order):
        keys = [key for key in table if key[3] == fraction]
        corpora = [name for name in PROTOCOL_V1 if any(key[2] == name for key in keys)]
        methods = sorted({(key[0], key[1]) for key in keys}, key=lambda pair: (pair[1], method_order(pair[0])))
        result.append((fraction, corpora, methods))
    return result


def markdown(table: Table) -> str:
    """One table for each label fraction: a line for each method, a column for each data set and for their mean.

    Values are mean ± sd over all folds, and in brackets the mean of the peers' folds 0 and 1.
    """
    peers = tomllib.loads(PEERS.read_text())
    lines = ["Macro-F1: mean ± sd over the folds (each the mean of its seeds); in brackets the mean of folds 0 and 1."]
    for fraction, corpora, methods in parts(table):
        lines += heading(fraction_name(fraction), [*corpora, "mean"])
        for method, channels in methods:
            results = [
                summary(by_fold) if (by_fold := table.get((method, channels, corpus, fraction))) else None
                for corpus in corpora
            ]
            measured = [result for result in results if result is not None]
            lines.append(line(f"{method}, {channels} ch", [*map(show, results), show_mean(measured, len(corpora))]))
        for name in ("floor", "peer", "peer_6ch"):
            values = [peers.get(corpus, {}).get(str(fraction), {}).get(name) for corpus in corpora]
            if all(value is not None for value in values):
                mean = f"[{np.mean(np.asarray(values, float)):.3f}]"
                lines.append(line(name, [*(f"[{value:.3f}]" for value in values), mean]))
    return "\n".join(lines) + "\n"


def show(result: Mapping[str, Any] | None) -> str:
    """A `summary` as a table shows it."""
    if result is None:
        return ""
    same = result["mean_peer_folds"]
    return f"{result['mean']:.3f} ± {result['sd']:.3f}" + (f" [{same:.3f}]" if same is not None else "")


def show_mean(results: Sequence[Mapping[str, Any]], wanted: int) -> str:
    """Mean over the data sets; empty unless there are `wanted` of them."""
    if len(results) != wanted:
        return ""
    same = [result["mean_peer_folds"] for result in results]
    bracket = f" [{np.mean(np.asarray(same, float)):.3f}]" if None not in same else ""
    return f"{np.mean([result['mean'] for result in results]):.3f}{bracket}"


def compared(table: Table) -> Differences:
    """Every method minus its reference with the same channels."""
    result: dict[tuple[str, int, LabelFraction], dict[str, Difference]] = {}
    for fraction, corpora, methods in parts(table):
        for method, channels in methods:
            reference = reference_of(method)
            pairs = {
                corpus: paired(table[method, channels, corpus, fraction], table[reference, channels, corpus, fraction])
                for corpus in corpora
                if method != reference
                and (method, channels, corpus, fraction) in table
                and (reference, channels, corpus, fraction) in table
            }
            own = {corpus: difference for corpus, difference in pairs.items() if difference is not None}
            if own:
                whole = {"mean": mean_of(list(own.values()))} if len(own) == len(corpora) else {}
                result[method, channels, fraction] = own | whole
    return result


def show_difference(difference: Difference | None) -> str:
    """Mean and interval, signed."""
    if difference is None:
        return ""
    low, high = difference.interval
    return f"{difference.mean:+.3f}" + (f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else f" ({UNPAIRED})")


def differences_markdown(table: Table) -> str:
    """Paired differences from random initialization, one table; empty if nothing can be compared."""
    by_method = compared(table)
    if not by_method:
        return ""
    corpora = [name for name in PROTOCOL_V1 if any(name in own for own in by_method.values())]
    lines = [
        f"Difference from {REFERENCE} with the same channels (semi-supervised methods: from {REFERENCE_SEMI}), over",
        "the folds and seeds that both have: mean and 95 % confidence interval (t over folds, seeds averaged, variance",
        "of Nadeau and Bengio for folds with overlapping train sets).",
    ]
    lines += heading("labels, method", [*corpora, "mean", "pairs"])
    for (method, channels, fraction), own in by_method.items():
        cells = [show_difference(own.get(name)) for name in (*corpora, "mean")]
        pairs = sum(own[name].pairs for name in corpora if name in own)
        lines.append(line(f"{fraction_name(fraction)}: {method}, {channels} ch", [*cells, str(pairs)]))
    return "\n".join(lines) + "\n"


def goals_markdown(table: Table) -> str:
    """The project's goals, each with the measured value; goals whose methods were not all measured are left out.

    Accelerometer only, float: the gains are those of pretraining; int8 is in the other tables.
    """
    by_method = compared(table)
    peers = tomllib.loads(PEERS.read_text())
    lines = []

    def goal(text: str, met: bool, value: str) -> None:
        lines.append(f"- {'met' if met else 'not met'}: {text}; it is {value}.")

    def gains(method: str, fraction: LabelFraction) -> Mapping[str, Difference]:
        own = by_method.get((f"{method} fp32", 3, fraction), {})
        return own if set(own) == {*PROTOCOL_V1, "mean"} else {}

    if own := gains("mujo_plus", 0.02):
        text = "mujo_plus at 2 % is at least 0.05 above random init in the mean of the sets"
        goal(text, own["mean"].mean >= 0.05, show_difference(own["mean"]))
    if own := gains("mujo_plus", 1.0):
        text = "mujo_plus at 100 % is on no set more than 0.005 below random init"
        worst = min(PROTOCOL_V1, key=lambda name: own[name].mean)
        goal(text, own[worst].mean >= -0.005, f"{show_difference(own[worst])} on {worst}")
    if own := gains("mujo", 0.02):
        text = "pure mujo at 2 % is above random init in the mean of the sets"
        goal(text, own["mean"].mean > 0, show_difference(own["mean"]))
    for method in ("mujo", "mujo_plus"):
        if own := gains(f"{method} semi", 0.02):
            text = f"{method} semi at 2 % is at least 0.05 above random init semi in the mean of the sets"
            goal(text, own["mean"].mean >= 0.05, show_difference(own["mean"]))
    for method, corpus in product(("mujo_plus", "mujo_plus semi"), PROTOCOL_V1):
        key = (f"{method} fp32", 3, corpus, 0.02)
        same = summary(table[key])["mean_peer_folds"] if key in table else None
        if same is not None:
            best = peers[corpus]["1.0"]["peer"]
            text = f"{method} at 2 % reaches the best peer at 100 % on {corpus} (folds 0 and 1: {best:.3f})"
            goal(text, same >= best, f"{same:.3f}")
    return "\n".join(["Goals", "", *lines]) + "\n" if lines else ""


def with_chance(scores: Iterable[Score], column: Callable[[Score], str]) -> ByMethod:
    """Macro-F1 by method and column, with that of a random guess, which is the same for every method and seed."""
    scores = list(scores)
    table = gathered(scores, lambda score: (score.trial.method, column(score)))
    for score in scores:
        table["chance", column(score)][score.trial.fold][0] = score.chance
    return table


def zero_shot_table(scores: Iterable[Score]) -> ByMethod:
    """Without any label of the tested set; a column for each data set."""
    return with_chance((s for s in scores if s.trial.fraction == 0 and not s.trial.without), lambda s: s.trial.corpus)


def transfer_table(scores: Iterable[Score]) -> ByMethod:
    """With the labels of another set only; columns are "source to target"."""
    return with_chance((s for s in scores if s.trial.source), lambda s: f"{s.trial.source} to {s.trial.corpus}")


def by_method_markdown(table: ByMethod, caption: str) -> str:
    """`caption`, then a table with a line for each method, and the mean of the columns."""
    columns = columns_of(table)
    lines = [caption, *heading("method", [*columns, "mean"])]
    for method in methods_of(table):
        results = [summary(table[method, column]) if (method, column) in table else None for column in columns]
        means = [result["mean"] for result in results if result is not None]
        mean = f"{np.mean(means):.3f}" if len(means) == len(columns) else ""
        lines.append(line(method, [*(show(result and result | {"mean_peer_folds": None}) for result in results), mean]))
    return "\n".join(lines) + "\n"


def methods_of(table: ByMethod) -> list[str]:
    """Chance, then the methods in the order of `METHODS`."""
    return [method for method in ("chance", *METHODS) if any(method == key[0] for key in table)]


def columns_of(table: ByMethod) -> list[str]:
    """Columns: the protocol's sets in their order, then the others by name."""
    known = {name: i for i, name in enumerate(PROTOCOL_V1)}
    return sorted({column for _, column in table}, key=lambda name: (known.get(name, len(known)), name))


def ablations(scores: Iterable[Score]) -> Ablations:
    """The gain from each part of pretraining: macro-F1 with everything minus without the part, same folds and seeds."""
    chosen = [s for s in scores if s.variant == "fp32" and not s.trial.source and not s.trial.semi]
    table = gathered(
        chosen, lambda s: (s.trial.method, s.trial.channels, s.trial.fraction, s.trial.without, s.trial.corpus)
    )
    gains: dict[tuple[str, int, LabelFraction, str], dict[str, Difference]] = {}
    for method, channels, fraction, without, corpus in table:
        full = table.get((method, channels, fraction, "", corpus))
        if without and full:
            gain = paired(full, table[method, channels, fraction, without, corpus])
            if gain is not None:
                gains.setdefault((method, channels, fraction, without), {})[corpus] = gain
    sets = {corpus for own in gains.values() for corpus in own}
    return {
        key: own | ({"mean": mean_of(list(own.values()))} if set(own) == sets else {}) for key, own in gains.items()
    }


def ablation_markdown(table: Ablations) -> str:
    """A line for each part that was left out, largest gain first."""
    sets = [name for name in PROTOCOL_V1 if any(name in own for own in table.values())]
    lines = [
        "Gain from each part of pretraining: macro-F1 with everything minus that without the part, over the same folds",
        "and seeds, with 95 % confidence intervals; positive if the part helps. A part that the leave-out rule removes",
        "for a set in any case gains nothing there.",
        *heading("method, labels", ["left out", *sets, "mean"]),
    ]
    order = sorted(table, key=lambda key: (key[:2], str(key[2]), -np.mean([d.mean for d in table[key].values()])))
    for key in order:
        method, channels, fraction, without = key
        cells = [show_difference(table[key].get(name)) for name in (*sets, "mean")]
        lines.append(line(f"{method}, {channels} ch, {fraction_name(fraction)}", [without, *cells]))
    return "\n".join(lines) + "\n"
