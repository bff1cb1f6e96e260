"""Throughput: warm-up steps are excluded, and a new measurement replaces the old one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.evaluation.throughput import WARM_UP, merge, speed


def test_warm_up_is_not_counted():
    times_s = [10.0 * i for i in range(1, WARM_UP + 1)]
    times_s += [times_s[-1] + 0.5 * i for i in (1, 2, 3, 6)]
    measured = speed(times_s, 30)
    assert measured["steps"] == 4
    assert measured["windows_per_s"] == pytest.approx(30 * 4 / 3)
    assert measured["windows_per_s_quartiles"] == pytest.approx([40, 60])


def test_measurement_replaces_that_of_the_same_recipe_and_processes(tmp_path: Path):
    path = tmp_path / "new" / "figures.json"
    for recipe, processes, value in (("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 3.0), ("a", 1, 4.0)):
        merge(path, {"recipe": recipe, "processes": processes, "windows_per_s": value})
    measured = {(e["recipe"], e["processes"]): e["windows_per_s"] for e in json.loads(path.read_text())}
    assert measured == {("a", 2): 2.0, ("b", 1): 3.0, ("a", 1): 4.0}
