"""One training and test of protocol v1 as a `Cell`, its predictions as `Score`s, and the file that keeps them."""

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

Row = Literal["random", "mujo", "mujo_plus", "student", "forest", "prompts"]
"""random: the student's network from random init. mujo: pretrained on clips alone, their IMU virtual (the paper's
claim). mujo_plus: on clips and real IMU windows with words. student: on the real windows alone. forest: 300 trees on
hand features. prompts: a classifier of other labels and the nearest words (zero-shot only)."""
ROWS: tuple[Row, ...] = get_args(Row)

Share = float | Literal["one"]
"""Of the train labels: a number up to 1, "one" for all labels of one person, 0 for none (zero-shot)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training and test. `corpus` is tested, on the people of `fold`; `channels` is 3 or 6.

    `without` names the modality or data set that an ablation left out of pretraining. `source` is the data set whose
    labels were learned where that is another one (transfer). `semi`: the train people's windows without labels are
    learned from, too.
    """

    row: Row
    channels: int
    corpus: str
    fold: int
    fraction: Share
    seed: int
    without: str = ""
    source: str = ""
    semi: bool = False

    @property
    def model(self) -> str:
        """The row as tables have it."""
        return f"{self.row} semi" if self.semi else self.row

    @property
    def variants(self) -> set[str]:
        """What a finished cell has scores of: int8 is measured where labels of the same people were learned."""
        if self.row == "forest":
            return {"forest"}
        few = self.fraction == 0 or self.without or self.source
        return {"fp32", "int8"} if self.row in ("student", "mujo_plus") and not few else {"fp32"}


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions of one variant ("fp32", "int8" or "forest") of a cell, as a confusion matrix (L, L)."""

    cell: Cell
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
        """Expected macro-F1 of a guess that takes every class equally often: of k classes, one with the share p of
        the windows has precision p and recall 1/k."""
        c = np.asarray(self.confusion)
        share = c.sum(1)[c.sum(1) > 0] / c.sum()
        return float((2 * share / (len(c) * share + 1)).mean())


def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    """(L, L) counts, rows are the truth."""
    counts = np.bincount(y * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    return tuple(tuple(map(int, row)) for row in counts)


@cache
def prepared(corpus: str, channels: int) -> tuple[WindowSet, F32]:
    """A data set and its windows as model input (N, 6, 1, T), with the gyroscope or without; once a process."""
    data = load_windows(corpus)
    return data, prepare(data.x[:, :channels], DEFAULT_INPUT)


def split(data: WindowSet, cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the labeled train windows, of the other train windows and of the test windows of a cell. Raises
    `DataError` as `labels_of_one`."""
    train, test = list(folds(data.y, data.subject))[cell.fold]
    if cell.fraction == "one":
        try:
            rows = labels_of_one(data.y, data.subject, train, cell.fold, cell.seed)
        except DataError as error:
            raise DataError(f'{cell.corpus}, fold {cell.fold}: {error}. Leave "one" out of --fractions') from None
    else:
        rows = label_fraction(data.y, train, cell.fraction, cell.fold)
    return rows, np.setdiff1d(train, rows), test


def read_scores(path: Path) -> list[Score]:
    """Scores of the cells that earlier runs finished; a torn line and the other variants of its cell are left out."""
    found: dict[Cell, dict[str, Score]] = defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        score = Score(Cell(**entry["cell"]), entry["variant"], tuple(tuple(row) for row in entry["confusion"]))
        found[score.cell][score.variant] = score
    return [s for cell, variants in found.items() if set(variants) >= cell.variants for s in variants.values()]


def append_scores(path: Path, scores: Iterable[Score]) -> None:
    """Add a line a score, after what a kill left on a line of its own."""
    torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + "".join(json.dumps(asdict(score)) + "\n" for score in scores))
