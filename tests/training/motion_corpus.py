"""A data set of generated motion, with people, recordings and prompts."""

from __future__ import annotations

import numpy as np
from generated_motion import CLASSES, motion

from training.corpora import WindowSet

WORDS = (
    ("resting, the arm lies still", "no movement at all"),
    ("swinging the arm slowly",),
    ("swinging the arm fast", "quick swings"),
    ("twisting the forearm",),
)


def motion_set(per_class: int, seed: int, people: int = 5) -> WindowSet:
    """Generated windows of the corpus "motion", in recordings of one label, spread over `people`."""
    x, y = motion(per_class, seed)
    person = np.tile(np.arange(per_class) * people // per_class, len(CLASSES))
    return WindowSet(
        "motion",
        CLASSES,
        x,
        np.ones(len(y), bool),
        y,
        np.char.add("p", person.astype(str)),
        np.full(len(y), "wrist"),
        person * len(CLASSES) + y,
        np.full(len(y), ""),
        np.zeros(len(y), np.float32),
    )
