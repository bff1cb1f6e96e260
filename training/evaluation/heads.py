"""Classifiers on frozen features: what is fitted to a few labels while the encoder stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

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


@dataclass(frozen=True, slots=True)
class Whitening:
    """A linear map after which windows of one class vary alike in every direction (within-class covariance
    normalization; Hatch et al., Interspeech 2006), learned from classes that are not tested."""

    scaling: Scaling
    matrix: F32

    @classmethod
    def of(cls, features: F32, y: np.ndarray, ridge: float = 0.1) -> Whitening:
        """That of (N, D) features with classes (N,); `ridge` times the mean variance is added to the covariance."""
        scaling = Scaling.of(features)
        scaled = scaling(features).astype(np.float64)
        number = np.unique(y, return_inverse=True)[1]
        sums = np.zeros((number.max() + 1, scaled.shape[1]))
        np.add.at(sums, number, scaled)
        inner = scaled - (sums / np.bincount(number)[:, None])[number]
        covariance = inner.T @ inner / len(inner)
        covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        return cls(scaling, np.asarray(vectors / np.sqrt(values) @ vectors.T, np.float32))

    def __call__(self, features: F32) -> F32:
        """(N, D) -> the same number of features, whitened."""
        return np.asarray(self.scaling(features) @ self.matrix, np.float32)


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
