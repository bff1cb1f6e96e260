"""Loss curves: the file, resumed runs, and the figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.learn.curves import Curves, plot_curves, read_curves


def log(curves: Curves, steps: range) -> None:
    for step in steps:
        curves.hold({"imu-text": torch.tensor(10.0 / step), "imu label": torch.tensor(0.5)})
        curves.write(step, 1.0 / step)


def test_every_tenth_step_is_written_with_each_term(tmp_path: Path):
    path = tmp_path / "new" / "losses.csv"
    log(Curves(path), range(1, 35))
    assert path.read_text().splitlines()[0] == "step,name,value"
    rows = read_curves(path)
    assert [step for step, name, _ in rows if name == "loss"] == [1, 10, 20, 30]
    assert rows[4] == (10, "imu-text", 1.0)
    assert {name for _, name, _ in rows} == {"loss", "imu-text", "imu label"}


@pytest.mark.parametrize("start", [1, 11, 20, 21, 26])
def test_resumed_run_leaves_the_same_file_as_an_uninterrupted_one(tmp_path: Path, start: int):
    """Killed at step 34, with the last checkpoint before `start`."""
    whole, stopped = tmp_path / "whole.csv", tmp_path / "stopped.csv"
    log(Curves(whole), range(1, 61))
    log(Curves(stopped), range(1, 35))
    log(Curves(stopped), range(start, 61))
    assert stopped.read_text() == whole.read_text()


def test_truncated_line_is_skipped(tmp_path: Path):
    path = tmp_path / "losses.csv"
    log(Curves(path), range(1, 21))
    path.write_text(path.read_text()[:-5].rstrip(",") + "\n30,imu")
    assert [row[0] for row in read_curves(path)][-1] in (10, 20)
    log(Curves(path), range(21, 41))
    assert [step for step, name, _ in read_curves(path) if name == "loss"] == [1, 10, 20, 30, 40]


def test_figure_is_written(tmp_path: Path):
    path = tmp_path / "losses.csv"
    log(Curves(path), range(1, 200))
    plot_curves(path, path.with_suffix(".png"))
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
