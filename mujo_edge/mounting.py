"""How a sensor is worn: turned by half a turn about one of its axes, as a watch on the inside of the wrist is.

Of the four frames that half turns give, the right one is that in which the movements look most like the labels: the
mean over windows of the highest cosine to a prototype. On held-out people of the shipped sets for the wrist, 20 s of
movement find 67 to 100 % of the frames; `MARGIN` leaves as it is what is worn as trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from mujo_edge.core import F32, UNKNOWN, UsageError

Worn = Literal["as-trained", "inside", "upside-down", "inside-upside-down", "auto"]

FRAMES: dict[Worn, tuple[int, int, int]] = {
    "as-trained": (1, 1, 1),
    "inside": (1, -1, -1),
    "upside-down": (-1, -1, 1),
    "inside-upside-down": (-1, 1, -1),
}
"""Signs of x (along the arm), y and z (out of the display): turned about the arm, about the display's normal, both."""

SILENT = ("background", UNKNOWN)
"""Labels that no movement looks like."""

LEAST, MOST = 40, 240
"""Moving windows before a frame is chosen (20 s), and after which none is looked for any more."""

MARGIN = 0.05
"""Cosine by which another frame must be better in the mean."""

MOVING = 0.3
"""Standard deviation of |a| in m/s2 above which a window moves."""


class Mounting:
    """The frame of one stream. `watching` until it is chosen, for which `observe` sees every window.

    Args:
        worn: a frame, "auto" to find it, or None to leave it and to note if another one looks better.
        prototypes: (L, D) of the label set, and their `names`.
        placement: where the set is worn; frames are looked for at the wrist only, where they were measured.

    Raises:
        UsageError: no such frame.
    """

    def __init__(self, worn: Worn | None, prototypes: F32, names: tuple[str, ...], placement: str) -> None:
        if worn is not None and worn not in get_args(Worn):
            raise UsageError(f"--worn {worn}: give {', '.join(get_args(Worn))}")
        named = [i for i, name in enumerate(names[: len(prototypes)]) if name not in SILENT]
        self._prototypes = prototypes[named].T
        self._auto = worn == "auto"
        self.frame: Worn = "as-trained" if worn in (None, "auto") else worn
        self.watching = worn in (None, "auto") and placement == "wrist"
        self._sum = np.zeros(len(FRAMES))
        self._windows = 0

    def turned(self, x: F32, frame: Worn | None = None) -> F32:
        """Windows (N, T, 3 or 6) in the frame that the model was trained in."""
        signs = FRAMES[frame or self.frame]
        return x if signs == (1, 1, 1) else x * np.array(signs * (x.shape[2] // 3), np.float32)

    def observe(self, windows: F32, embed: Callable[[F32], F32]) -> str | None:
        """Look at windows (N, T, 3 or 6) as they came; a note if the frame was chosen, or another one looks better.

        To change the frame at the same window for any batches, give one at a time while `chooses`.
        """
        windows = windows[np.linalg.norm(windows[:, :, :3], axis=2).std(1) >= MOVING][: MOST - self._windows]
        if not len(windows):
            return None
        four = embed(np.concatenate([self.turned(windows, frame) for frame in FRAMES])) @ self._prototypes
        sums = self._sum[:, None] + four.max(1).reshape(len(FRAMES), -1).cumsum(1)
        count = self._windows + np.arange(1, len(windows) + 1)
        better = (count >= LEAST) & (sums.max(0) - sums[0] >= MARGIN * count)
        self._sum, self._windows = sums[:, -1], int(count[-1])
        self.watching = self._windows < MOST and not better.any()
        if not better.any():
            return None
        frame = [*FRAMES][int(sums[:, better.argmax()].argmax())]
        if self._auto:
            self.frame = frame
            return f"worn {frame}, as found from its movements; --worn as-trained leaves it as it is"
        return f"the sensor seems to be worn {frame}: if so, add --worn {frame}, or --worn auto"

    @property
    def chooses(self) -> bool:
        """Whether the frame may still change."""
        return self.watching and self._auto
