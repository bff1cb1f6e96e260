"""Paired differences of two methods over the same folds and seeds, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ByFold = Mapping[int, Mapping[int, float]]
"""Fold -> seed -> macro-F1."""

LEVEL = 0.95
OVERLAP = 1 / 4
"""Ratio of test people to train people with five folds."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`mean` of the differences, `variance` of that mean, its degrees of freedom, and the number of paired runs.

    `variance` and `freedom` are NaN with a single fold.
    """

    mean: float
    variance: float
    freedom: float
    pairs: int

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided confidence interval of the mean, at `LEVEL`."""
        half = float(stats.t.ppf((1 + LEVEL) / 2, self.freedom) * np.sqrt(self.variance))
        return self.mean - half, self.mean + half


def paired(method: ByFold, reference: ByFold) -> Difference | None:
    """Method minus reference over the folds and seeds that both have; None where they share none.

    Seeds of a fold are averaged first, since they are tested on the same people. The variance is that of Nadeau and
    Bengio for folds with overlapping train sets (Machine Learning 52, 2003, section 3: s^2 (1/k + test/train)), larger
    than that of a plain t-test.
    """
    folds, pairs = [], 0
    for fold in sorted(set(method) & set(reference)):
        seeds = sorted(set(method[fold]) & set(reference[fold]))
        if seeds:
            folds.append(float(np.mean([method[fold][seed] - reference[fold][seed] for seed in seeds])))
            pairs += len(seeds)
    if not folds:
        return None
    k = len(folds)
    variance = float(np.var(folds, ddof=1)) * (1 / k + OVERLAP) if k > 1 else float("nan")
    return Difference(float(np.mean(folds)), variance, k - 1 if k > 1 else float("nan"), pairs)


def mean_of(differences: Sequence[Difference]) -> Difference:
    """The mean over data sets that share no people, each with its own variance (Welch and Satterthwaite)."""
    variances = np.asarray([d.variance for d in differences]) / len(differences) ** 2
    freedom = np.asarray([d.freedom for d in differences])
    total = variances.sum()
    # With zero variance the interval is a point, whatever the degrees of freedom.
    joint = total**2 / np.sum(variances**2 / freedom) if total > 0 else freedom.sum()
    mean = float(np.mean([d.mean for d in differences]))
    return Difference(mean, float(total), float(joint), sum(d.pairs for d in differences))
