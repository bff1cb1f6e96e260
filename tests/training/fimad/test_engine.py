"""Functions on processes and on Ray: the same results, and what errors and dead workers cost."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from made_takes import made_source

from mujo_edge.core import DataError, MissingExtraError, UsageError
from training.fimad.build import build
from training.fimad.engine import ENGINES, Engine, engine
from training.fimad.shards import read


def square(x: int) -> tuple[int, int]:
    if x < 0:
        os._exit(7)
    if x > 100:
        raise MissingExtraError("a package is not installed")
    return x * x, os.getpid()


@pytest.fixture(params=list(ENGINES))
def run(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray" and find_spec("ray") is None:
        pytest.skip("ray is not installed")
    return engine(request.param)


def test_results_deaths_and_the_build(run, tmp_path):
    got = dict(run(square, [*range(12), -1, *range(12, 20)], 2))
    assert got.pop(-1) is None
    assert {x: result[0] for x, result in got.items()} == {x: x * x for x in range(20)}
    workers = {result[1] for result in got.values()}
    assert os.getpid() not in workers
    assert len(workers) >= 2

    source = made_source(tmp_path / "data", 5, p1="broken", p2="die")
    (progress,) = build([(source, tmp_path / "data")], tmp_path / "out", 2, run)
    assert sorted(where for where, _ in progress.failures) == ["person 1", "person 2"]
    assert [c.id for c in read(tmp_path / "out")] == [
        f"made/p{p} t{t}"
        for p, t in chain(((0, t) for t in range(4)), [(1, 0)], ((p, t) for p in (3, 4) for t in range(4)))
    ]


def test_an_error_of_the_users_ends_it(run):
    with pytest.raises(MissingExtraError, match=r"^a package is not installed$"):
        list(run(square, [1, 200, 2], 2))


def test_nothing_to_do(run):
    assert list(run(square, [], 2)) == []


def test_leaving_early_ends_the_workers():
    results = ENGINES["processes"](square, range(50), 2)
    _, (_, worker) = next(results)
    results.close()
    end = Path(f"/proc/{worker}/stat")
    assert not end.exists() or end.read_text().split()[2] == "Z"


def test_an_engine_that_does_not_exist():
    with pytest.raises(UsageError, match="processes, ray"):
        engine("slurm")


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"mujo-edge\[cluster\]"):
        list(ENGINES["ray"](square, [1], 1))


def test_data_errors_travel(run):
    with pytest.raises(DataError, match=r"^sixteen$"):
        list(run(refuse, [16], 1))


def refuse(x: int) -> None:
    raise DataError("sixteen")
