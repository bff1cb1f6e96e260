"""Faults of a signal that leave the numbers plausible: a low rate, clipped values, an axis that never changes."""

from __future__ import annotations

import numpy as np

from mujo_edge.core import F32, STANDARD_GRAVITY
from mujo_edge.signal import InputSpec

LOW_RATE = 0.6
"""Part of the bundle's rate below which a stream has lost what the network looks at."""

RATE_S, CONSTANT_S = 3.0, 10.0
"""Seconds of signal after which the rate is judged, and for which an axis must not change."""

RANGES_G = (2, 4, 8, 16)
"""Usual ranges of accelerometers."""

CLIPPED = 5
"""Samples that equal their predecessor at the largest value of an axis, for it to be the end of the range."""


class SignalChecks:
    """Looks at the samples of a stream and finds each fault once.

    `update` takes the samples (n, 3 or 6) in m/s2 and rad/s, the measured rate and the seconds of signal so far, and
    returns new notes for the user.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._rate_hz = spec.rate_hz
        self._found: set[str] = set()
        self._peak = np.zeros(3, np.float32)
        self._flat = np.zeros(3, np.int64)
        self._last = np.full(3, np.nan, np.float32)
        self._changed_s = np.zeros(3)

    def update(self, x: F32, rate_hz: float | None, signal_s: float) -> list[str]:
        """The notes of faults that these samples show for the first time."""
        notes: list[str] = []
        a = x[:, :3]
        a = a[np.isfinite(a).all(1)]
        if len(a):
            self._clipping(a, notes)
            self._constant(a, signal_s, notes)
        if rate_hz and signal_s >= RATE_S and rate_hz < LOW_RATE * self._rate_hz:
            self._note(
                "rate",
                f"{rate_hz:.3g} samples a second, far below the {self._rate_hz:g} that the model was trained with: "
                "quick movements are lost and labels are less often right",
                notes,
            )
        return notes

    def _clipping(self, a: F32, notes: list[str]) -> None:
        before = np.concatenate([self._last[None], a[:-1]])
        peak = np.abs(a).max(0)
        self._flat[peak > self._peak] = 0
        self._peak = np.maximum(self._peak, peak)
        self._flat += ((a == before) & (np.abs(a) == self._peak)).sum(0)
        for axis in np.flatnonzero(self._flat >= CLIPPED):
            peak_g = float(self._peak[axis]) / STANDARD_GRAVITY
            end = next((g for g in RANGES_G if abs(peak_g / g - 1) < 0.03), None)
            if end:
                self._note(
                    "clipped",
                    f"a{'xyz'[axis]} is cut off at {end} g, the end of the sensor's range: strong movements look "
                    "alike. Set a wider range if the sensor has one",
                    notes,
                )

    def _constant(self, a: F32, signal_s: float, notes: list[str]) -> None:
        changed = (a != np.concatenate([self._last[None], a[:-1]])).any(0)
        self._changed_s[changed] = signal_s
        self._last = a[-1]
        still_s = signal_s - self._changed_s
        if still_s.max() >= CONSTANT_S and still_s.min() < 1:
            axes = " and ".join(f"a{'xyz'[axis]}" for axis in np.flatnonzero(still_s >= CONSTANT_S))
            self._note("constant", f"{axes} never changed for {CONSTANT_S:g} s while another axis did: a fault?", notes)

    def _note(self, kind: str, text: str, notes: list[str]) -> None:
        if kind not in self._found:
            self._found.add(kind)
            notes.append(text)
