"""Accuracy on people and data sets that training did not see.

python -m training.evaluate labels --shards runs/fimad

Protocol v1: subject-disjoint folds, mean and spread. All subcommands store their scores in the folder --out, resume an
interrupted run there, and write tables and figures of everything in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.cli.arguments import HELP
from mujo_edge.core import UsageError
from training.corpora import PROTOCOL_V1
from training.evaluation.encoders import PRETRAINED, Evaluation, Shards
from training.evaluation.protocol_v1 import (
    ABLATED,
    NETWORKS,
    WITH_CLIPS,
    ZERO_SHOT,
    among,
    chosen_methods,
    label_fractions,
    label_trials,
    parts_of,
    start_run,
    transfer_trials,
    zero_shot_trials,
)
from training.evaluation.report import write_report
from training.evaluation.runs import TARGETS
from training.evaluation.schedule import evaluate
from training.evaluation.trials import METHODS, Method, Trial, read_scores
from training.recipes.recipe import read_recipe
from training.support.command import RecipeOption, ShardsOption, step

app = typer.Typer(
    context_settings=HELP, help=__doc__, no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

SetsOption = Annotated[str, typer.Option(help="data sets, comma-separated  [default: those of the protocol]")]
MethodsOption = Annotated[str, typer.Option(help=f"of {', '.join(METHODS)}  [default: all that apply]")]
ChannelsOption = Annotated[str, typer.Option(help="3 (accelerometer), 6 (with gyroscope)")]
FractionsOption = Annotated[str, typer.Option(help='fractions of the train labels; "one": all of one person')]
FoldOption = Annotated[str, typer.Option(help="folds to run")]
SeedsOption = Annotated[int, typer.Option(help="seeds of every trial", min=1)]
JobsOption = Annotated[int, typer.Option(help="processes", min=1)]
FolderOption = Annotated[Path, typer.Option(file_okay=False, help="folder of scores, tables and figures")]

FRACTIONS, FOLDS, OUT = "0.02,0.1,1,one", "0,1,2,3,4", Path("runs/evaluate")


def labels(
    sets: SetsOption = "",
    methods: MethodsOption = "",
    channels: ChannelsOption = "3",
    fractions: FractionsOption = FRACTIONS,
    fold: FoldOption = FOLDS,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "base",
    shards: ShardsOption = None,
    jobs: JobsOption = 2,
    out: FolderOption = OUT,
) -> None:
    """Label efficiency: trained on few or all labels of the tested set."""
    allowed: tuple[Method, ...] = (*NETWORKS, "forest")
    chosen = chosen_methods(methods, allowed, allowed, shards)
    trials = label_trials(
        chosen, folds_of(fold), seeds, corpora_of(sets), channels_of(channels), label_fractions(fractions)
    )
    score([*trials], evaluation_of(recipe, shards, out, chosen), seeds, jobs)


def semi(
    sets: SetsOption = "",
    methods: MethodsOption = "",
    channels: ChannelsOption = "3",
    fractions: FractionsOption = FRACTIONS,
    fold: FoldOption = FOLDS,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "base",
    shards: ShardsOption = None,
    jobs: JobsOption = 2,
    out: FolderOption = OUT,
) -> None:
    """Semi-supervised: few labels, and the other windows of the train people without theirs."""
    chosen = chosen_methods(methods, NETWORKS, NETWORKS, shards)
    some = [fraction for fraction in label_fractions(fractions) if fraction != 1]
    if not some:
        raise UsageError("semi needs a label fraction below 1: with all labels, no window is unlabeled")
    trials = label_trials(chosen, folds_of(fold), seeds, corpora_of(sets), channels_of(channels), some, semi=True)
    score([*trials], evaluation_of(recipe, shards, out, chosen), seeds, jobs)


def zero_shot(
    sets: SetsOption = "",
    methods: MethodsOption = "",
    fold: FoldOption = FOLDS,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "base",
    shards: ShardsOption = None,
    jobs: JobsOption = 2,
    out: FolderOption = OUT,
) -> None:
    """Zero-shot: no labels of the tested set, only the prompts of its classes."""
    chosen = chosen_methods(methods, ZERO_SHOT, ZERO_SHOT, shards)
    trials = zero_shot_trials(chosen, folds_of(fold), seeds, corpora_of(sets))
    score([*trials], evaluation_of(recipe, shards, out, chosen), seeds, jobs)


def transfer(
    sets: SetsOption = "",
    methods: MethodsOption = "",
    fold: FoldOption = FOLDS,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "base",
    shards: ShardsOption = None,
    jobs: JobsOption = 2,
    out: FolderOption = OUT,
) -> None:
    """Transfer: trained on the labels of another data set with corresponding classes."""
    allowed: tuple[Method, ...] = (*NETWORKS, "forest")
    chosen = chosen_methods(methods, allowed, allowed, shards)
    trials = transfer_trials(chosen, folds_of(fold), seeds, corpora_of(sets, TARGETS))
    score([*trials], evaluation_of(recipe, shards, out, chosen), seeds, jobs)


def ablation(
    parts: Annotated[str, typer.Argument(help='modalities, data sets and loss terms, as pose,hdm05,labels, or "all"')],
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="test zero-shot instead of with labels")] = False,
    sets: SetsOption = "",
    methods: MethodsOption = "",
    channels: ChannelsOption = "3",
    fractions: FractionsOption = FRACTIONS,
    fold: FoldOption = FOLDS,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "base",
    shards: ShardsOption = None,
    jobs: JobsOption = 2,
    out: FolderOption = OUT,
) -> None:
    """Ablation: pretraining without one part at a time."""
    chosen = chosen_methods(methods, ABLATED, PRETRAINED, shards)
    corpora, folds = corpora_of(sets), folds_of(fold)
    run = evaluation_of(recipe, shards, out, chosen)
    left_out = ["", *parts_of(parts, run, chosen, zero_shot)]
    trials = (
        zero_shot_trials(chosen, folds, seeds, corpora, left_out)
        if zero_shot
        else label_trials(chosen, folds, seeds, corpora, channels_of(channels), label_fractions(fractions), left_out)
    )
    score([*trials], run, seeds, jobs)


def corpora_of(text: str, allowed: Sequence[str] = PROTOCOL_V1) -> list[str]:
    """The data sets of `--sets`. Raises `UsageError`."""
    return among("--sets", text, allowed) if text else list(allowed)


def folds_of(text: str) -> list[int]:
    """The numbers of `--fold`. Raises `UsageError`."""
    return [int(number) for number in among("--fold", text, "01234")]


def channels_of(text: str) -> list[int]:
    """The numbers of `--channels`. Raises `UsageError`."""
    return [int(number) for number in among("--channels", text, "36")]


def evaluation_of(recipe: str, shards: Path | None, out: Path, methods: Sequence[Method]) -> Evaluation:
    """The inputs of a run; shards only if one of `methods` needs them. Raises as `read_recipe` and `Shards.of`."""
    needed = shards if set(methods) & set(WITH_CLIPS) else None
    return Evaluation(out, read_recipe(recipe), Shards.of(needed) if needed else None)


def score(trials: Sequence[Trial], run: Evaluation, seeds: int, jobs: int) -> None:
    """Run the trials that have no scores yet; write and print the tables of all scores in the folder."""
    methods = list(dict.fromkeys(trial.method for trial in trials))
    pretrained_on = run.recipe.allowed() if set(methods) - {"random", "forest", "mujo"} else ()
    sources = (trial.source for trial in trials if trial.source)
    start_run(run, seeds, methods, {*(trial.corpus for trial in trials), *pretrained_on, *sources})
    evaluate(trials, run, jobs)
    typer.echo(write_report(read_scores(run.trials_file), run.out))


for name, command in {
    "labels": labels,
    "semi": semi,
    "zero-shot": zero_shot,
    "transfer": transfer,
    "ablation": ablation,
}.items():
    app.command(name)(step(command))

if __name__ == "__main__":
    app()
