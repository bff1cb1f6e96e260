"""Classifiers on frozen features, fitted to few labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mujo_edge.bundle import fit_prototypes
from mujo_edge.core import F32
from training.evaluation.baselines import TREES

Head = Callable[[F32, np.ndarray, F32], np.ndarray]
"""(features (n, D), labels (n,), features (m, D)) -> labels (m,)."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and spread of every feature, of data that is not tested; a spread of zero counts as one."""

    mean: F32
    spread: F32

    @classmethod
    def of(cls, features: F32) -> Scaling:
        """Those of (N, D)."""
        spread = features.std(0)
        return cls(features.mean(0), np.where(spread > 1e-6, spread, 1))

    def __call__(self, features: F32) -> F32:
        """(N, D) -> the same, scaled."""
        return np.asarray((features - self.mean) / self.spread, np.float32)


def logistic(inverse_penalty: float) -> Head:
    """Multinomial logistic regression with an L2 penalty (scikit-learn's C)."""

    def head(x: F32, y: np.ndarray, test: F32) -> np.ndarray:
        model = LogisticRegression(C=inverse_penalty, max_iter=200, tol=1e-3)
        return np.asarray(model.fit(x, y).predict(test))

    return head


def forest(x: F32, y: np.ndarray, test: F32) -> np.ndarray:
    """A random forest of `TREES` trees."""
    return np.asarray(RandomForestClassifier(TREES, random_state=0, n_jobs=1).fit(x, y).predict(test))


def nearest(x: F32, y: np.ndarray, test: F32) -> np.ndarray:
    """The label of the nearest window."""
    return np.asarray(KNeighborsClassifier(1).fit(x, y).predict(test))


def prototypes(x: F32, y: np.ndarray, test: F32) -> np.ndarray:
    """The nearest of the classes' mean directions, as a label set without further training has it."""
    labels, number = np.unique(y, return_inverse=True)
    return np.asarray(labels[(test @ fit_prototypes(x, number, len(labels)).T).argmax(1)])
