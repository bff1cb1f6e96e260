"""Generated motion, for tests that need windows and a network trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("rest", "slow swing", "fast swing", "twist")


def motion(per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 6, 150) windows in m/s2 and rad/s, and their class (N,): gravity, a swing along x, or a twist about z."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(CLASSES)), per_class)
    t = np.arange(150) / 50
    phase, size = rng.uniform(0, 2 * np.pi, (len(y), 1)), rng.uniform(0.7, 1.3, (len(y), 1))
    wave = size * np.sin(2 * np.pi * np.choose(y, (0.0, 0.8, 2.5, 1.2))[:, None] * t + phase)
    x = rng.normal(0, 0.3, (len(y), 6, 150))
    x[:, 2] += 9.81
    x[:, 0] += np.isin(y, (1, 2))[:, None] * 6 * wave
    x[:, 5] += (y == 3)[:, None] * 4 * wave
    return x.astype(np.float32), y
