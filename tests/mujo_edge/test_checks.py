"""Faults of a signal that are noted once."""

from __future__ import annotations

import numpy as np
import pytest

from mujo_edge.checks import SignalChecks
from mujo_edge.core import F32, STANDARD_GRAVITY
from mujo_edge.signal import InputSpec

RNG = np.random.default_rng(0)


def notes_of(x: F32, rate_hz: float = 50.0, chunk: int = 7) -> list[str]:
    checks, notes = SignalChecks(InputSpec()), []
    for start in range(0, len(x), chunk):
        notes += checks.update(x[start : start + chunk], rate_hz, (start + chunk) / rate_hz)
    return notes


def motion(n: int = 1000, swing: float = 3.0) -> F32:
    t = np.arange(n) / 50
    wave = swing * np.stack([np.sin(5 * t), np.cos(5 * t), np.sin(9 * t)], 1)
    return (np.array([0, 0, STANDARD_GRAVITY]) + wave + RNG.normal(0, 0.05, (n, 3))).astype(np.float32)


def test_good_signal_has_no_notes() -> None:
    assert notes_of(motion()) == []
    assert notes_of(motion() * 0 + np.float32(1.5)) == [], "a sensor that lies still is no fault"


@pytest.mark.parametrize("rate_hz", [4.2, 10.0, 25.0])
def test_low_rate_is_noted_once(rate_hz: float) -> None:
    (note,) = notes_of(motion(), rate_hz)
    assert f"{rate_hz:g} samples a second" in note
    assert "50" in note


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("end", [2, 4, 8])
def test_clipped_values_are_noted_once(end: int, chunk: int) -> None:
    limit = np.float32(end * STANDARD_GRAVITY * 0.999)
    x = np.clip(motion(swing=15.0 * end), -limit, limit)
    (note,) = notes_of(x, chunk=chunk)
    assert f"cut off at {end} g" in note


def test_axis_that_never_changes_is_noted_once() -> None:
    x = motion()
    x[:, 1] = 0.25
    (note,) = notes_of(x)
    assert note.startswith("ay never changed for 10 s")


def test_numbers_that_are_not_finite_are_left_out() -> None:
    x = motion()
    x[::3] = np.nan
    assert notes_of(x) == []
