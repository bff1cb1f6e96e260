"""Baseline: a random forest on hand-crafted features."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from mujo_edge.core import F32

TREES = 300


def hand_features(x: F32) -> F32:
    """(N, C, T) -> (N, F): per axis mean, sd, extremes, quartiles, mean absolute difference and the amplitudes of
    the 15 lowest frequencies (up to 5 Hz for 3 s); correlations of the axes."""
    amplitudes = np.abs(np.fft.rfft(x - x.mean(2, keepdims=True), axis=2))[:, :, 1:16] / x.shape[2]
    centered = x - x.mean(2, keepdims=True)
    sd = centered.std(2)
    pairs = np.triu_indices(x.shape[1], 1)
    covariance = np.einsum("nct,ndt->ncd", centered, centered) / x.shape[2]
    correlation = covariance / np.maximum(sd[:, :, None] * sd[:, None], 1e-6)
    parts = [
        x.mean(2),
        sd,
        x.min(2),
        x.max(2),
        *np.percentile(x, (25, 50, 75), axis=2),
        np.abs(np.diff(x, axis=2)).mean(2),
        amplitudes.reshape(len(x), -1),
        correlation[:, pairs[0], pairs[1]],
    ]
    return np.concatenate(parts, 1).astype(np.float32)


def forest_predictions(x: F32, y: np.ndarray, test: F32, seed: int) -> np.ndarray:
    """Predicted labels (M,) of `test` (M, C, T) from a forest fitted to `x` (N, C, T), `y` (N,)."""
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=1).fit(hand_features(x), y)
    return np.asarray(forest.predict(hand_features(test)))
