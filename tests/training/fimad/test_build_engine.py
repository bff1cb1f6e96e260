"""Engines on processes and Ray: equal results, errors and dead workers."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from made_takes import made_source
from made_work import square

from mujo_edge.core import MissingExtraError, UsageError
from training.fimad.build import build
from training.fimad.shards import read
from training.support.engine import ENGINES, Engine, engine


@pytest.fixture(params=list(ENGINES))
def run(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray" and find_spec("ray") is None:
        pytest.skip("ray is not installed")
    return engine(request.param)


def test_build_survives_a_worker_that_dies(run, tmp_path):
    source = made_source(tmp_path / "data", 5, p1="broken", p2="die")
    (progress,) = build([(source, tmp_path / "data")], tmp_path / "out", 2, run)
    assert sorted(where for where, _ in progress.failures) == ["person 1", "person 2"]
    assert [clip.id for clip in read(tmp_path / "out")] == [
        *(f"made/p0 t{t}" for t in range(4)),
        "made/p1 t0",
        *(f"made/p{p} t{t}" for p in (3, 4) for t in range(4)),
    ]


def test_user_error_ends_the_run(run):
    with pytest.raises(MissingExtraError, match=r"^a package is not installed$"):
        list(run(square, [1, 200, 2], 2))


def test_results_of_dead_workers_are_none():
    got = dict(ENGINES["processes"](square, [*range(12), -1, *range(12, 20), -2], 2))
    assert got.pop(-1) is got.pop(-2) is None
    assert {x: result[0] for x, result in got.items()} == {x: x * x for x in range(20)}
    workers = {result[1] for result in got.values()}
    assert os.getpid() not in workers
    assert len(workers) >= 2


def test_no_items_give_no_results():
    assert list(ENGINES["processes"](square, [], 2)) == []


def test_leaving_early_ends_the_workers():
    results = ENGINES["processes"](square, range(50), 2)
    _, (_, worker) = next(results)
    results.close()
    end_s = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < end_s
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_unknown_engine_is_a_usage_error():
    with pytest.raises(UsageError, match="processes, ray"):
        engine("slurm")


def test_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[cluster\]"):
        list(ENGINES["ray"](square, [1], 1))
