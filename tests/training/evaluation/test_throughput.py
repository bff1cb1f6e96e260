"""Throughput: what is counted, and that a second measurement takes the place of the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.evaluation.throughput import WARM_UP, merge, speed


def test_warm_up_is_not_counted():
    times_s = [10.0 * i for i in range(1, WARM_UP + 1)]
    times_s += [times_s[-1] + 0.5 * i for i in (1, 2, 3, 6)]
    told = speed(times_s, 30)
    assert told["steps"] == 4
    assert told["windows_per_s"] == pytest.approx(30 * 4 / 3)
    assert told["windows_per_s_quartiles"] == pytest.approx([40, 60])


def test_one_entry_for_a_recipe_and_a_number_of_processes(tmp_path: Path):
    path = tmp_path / "new" / "figures.json"
    for recipe, processes, value in (("a", 1, 1.0), ("a", 2, 2.0), ("b", 1, 3.0), ("a", 1, 4.0)):
        merge(path, {"recipe": recipe, "processes": processes, "windows_per_s": value})
    told = {(e["recipe"], e["processes"]): e["windows_per_s"] for e in json.loads(path.read_text())}
    assert told == {("a", 2): 2.0, ("b", 1): 3.0, ("a", 1): 4.0}
