"""Parts of the bridge benchmark; its long runs are not tests."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bridge import __main__ as bridge
from benchmarks.bridge import memory as bridge_memory
from firmware_bridge.simulator.wearables import WEARABLES


def test_sine_amplitude_and_frequency_are_measured() -> None:
    t_s = 500 + np.arange(600) / 52
    x = np.zeros((600, 3), np.float32)
    x[:, 0] = 3 + 4.9 * np.sin(2 * np.pi * 1.1 * t_s + 0.3)
    amplitude, frequency_hz = bridge._sine(t_s, x)
    assert (amplitude, frequency_hz) == (pytest.approx(4.9, abs=0.01), pytest.approx(1.1, abs=0.003))


def test_sums_omit_wearables_without_accounting() -> None:
    row = {"sent": 10, "delivered": 7, "lost": 3, "corrupt": 1, "twice": 0, "gaps": 1}
    row |= {"fault": "loss", "undamaged windows": 4, "same labels": 4}
    rows = [row | {"wearable": "mujo", "exact": True}, row | {"wearable": "dot", "exact": False}]
    rows.append(row | {"wearable": "witmotion", "exact": None})
    (total,) = bridge._by_fault(rows)
    assert (total["wearables"], total["exact"], total["sent"], total["lost"]) == (2, 1, 20, 6)


def test_wearables_of_the_trials_exist() -> None:
    named = {name for trial in bridge.TRIALS for name in trial.wearables}
    assert named | set(bridge.NUMBERED) | set(bridge.WAITING) | set(bridge.RESTARTED) <= WEARABLES.keys()


def test_simulated_run_survives_disconnects_and_gives_labels() -> None:
    rows = bridge_memory.half_hour(0.5)
    last = rows[-1]
    assert last["devices"] == sum(wearable.rate_hz >= 10 for wearable in WEARABLES.values())
    assert last["samples"] > last["devices"] * 30 * 8 * (1 - 2 * bridge_memory.LOSS)
    assert last["predictions"] > 20 * last["devices"]
    assert last["RSS MB"] > 0
