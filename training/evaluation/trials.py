"""Trials of protocol v1 (one training and test each), their scores, and the file that stores the scores."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mujo_edge.core import F32, DataError
from mujo_edge.signal import DEFAULT_INPUT, prepare
from training.corpora import WindowSet, folds, label_fraction, labels_of_one, load_windows

Method = Literal["random", "mujo", "mujo_plus", "student", "forest", "prompts"]
"""Method by which a classifier is trained.

random: the student's network from random initialization. mujo: pretrained on clips only, with a virtual IMU (the
paper's claim). mujo_plus: pretrained on clips and on real windows with their label prompts. student: pretrained on the
real windows only. forest: random forest of 300 trees on hand-crafted features. prompts: a classifier of the labels of
other data sets, each mapped to the nearest prompts (zero-shot only)."""
METHODS: tuple[Method, ...] = get_args(Method)

LabelFraction = float | Literal["one"]
"""Fraction of the train labels, above 0 up to 1; "one": all labels of one person; 0: none (zero-shot)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training and test: of `corpus`, on the people of `fold`, with 3 or 6 `channels`.

    `without` names the modality, data set or loss term that an ablation left out of pretraining. `source` is the data
    set that gave the labels where it is not `corpus` (transfer). `semi`: semi-supervised, trained on the unlabeled
    windows of the train people as well.
    """

    method: Method
    channels: int
    corpus: str
    fold: int
    fraction: LabelFraction
    seed: int
    without: str = ""
    source: str = ""
    semi: bool = False

    @property
    def title(self) -> str:
        """The method as tables name it."""
        return f"{self.method} semi" if self.semi else self.method

    @property
    def variants(self) -> set[str]:
        """Variants that a finished trial has scores of; int8 is measured only with labels of the tested set."""
        if self.method == "forest":
            return {"forest"}
        float_only = self.fraction == 0 or self.without or self.source
        return {"fp32", "int8"} if self.method in ("student", "mujo_plus") and not float_only else {"fp32"}


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions of one variant ("fp32", "int8" or "forest") of a trial, as a confusion matrix (L, L)."""

    trial: Trial
    variant: str
    confusion: tuple[tuple[int, ...], ...]

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have test windows."""
        c = np.asarray(self.confusion)
        has = c.sum(1) > 0
        return float((2 * np.diag(c) / np.maximum(c.sum(0) + c.sum(1), 1))[has].mean())

    @property
    def chance(self) -> float:
        """Expected macro-F1 of a uniformly random guess among k classes: a class that is a proportion p of the windows
        has precision p and recall 1/k."""
        c = np.asarray(self.confusion)
        p = c.sum(1)[c.sum(1) > 0] / c.sum()
        return float((2 * p / (len(c) * p + 1)).mean())


def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    """(L, L) counts, a row for each true class and a column for each predicted one."""
    counts = np.bincount(y * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return tuple(tuple(map(int, row)) for row in counts)


@cache
def prepared(corpus: str, channels: int) -> tuple[WindowSet, F32]:
    """A data set and its windows as model input (N, 6, 1, T), cached for the life of the process."""
    data = load_windows(corpus)
    return data, prepare(data.x[:, :channels], DEFAULT_INPUT)


def split(data: WindowSet, trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the labeled train windows, of the other train windows and of the test windows of a trial.

    Raises:
        DataError: `fraction` is "one", and no train person has every class.
    """
    train, test = list(folds(data.y, data.subject))[trial.fold]
    if trial.fraction == "one":
        try:
            labeled = labels_of_one(data.y, data.subject, train, trial.fold, trial.seed)
        except DataError as error:
            raise DataError(f'{trial.corpus}, fold {trial.fold}: {error}. Leave "one" out of --fractions') from None
    else:
        labeled = label_fraction(data.y, train, trial.fraction, trial.fold)
    return labeled, np.setdiff1d(train, labeled), test


def read_scores(path: Path) -> list[Score]:
    """Scores of the finished trials in a file; a trial with a missing variant (a truncated line) is skipped."""
    by_trial: dict[Trial, dict[str, Score]] = defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        score = Score(Trial(**entry["trial"]), entry["variant"], tuple(tuple(row) for row in entry["confusion"]))
        by_trial[score.trial][score.variant] = score
    return [s for trial, variants in by_trial.items() if set(variants) >= trial.variants for s in variants.values()]


def append_scores(path: Path, scores: Iterable[Score]) -> None:
    """Append one line for each score; a line truncated by a kill is ended first."""
    truncated = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * truncated + "".join(json.dumps(asdict(score)) + "\n" for score in scores))
