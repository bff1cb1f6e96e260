"""Fixtures: generated data sets, the real ones where present, and a cache for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_corpora import LAYOUTS

from training.corpora import CORPORA, data_root


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """(name, folder) of every generated data set."""
    folder = tmp_path / "data" / "publisher"
    LAYOUTS[request.param](folder)
    return request.param, folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Function that generates a data set by name and returns its folder."""

    def write(name: str) -> Path:
        folder = tmp_path / name
        LAYOUTS[name](folder)
        return folder

    return write


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Function that returns the path of a real data set; skips the test if it is absent."""

    def path(name: str) -> Path:
        located = CORPORA[name].locate() or CORPORA[name].find(data_root())
        if located is None:
            pytest.skip(f"{name} is not under {data_root()}: set MUJO_DATA")
        return located

    return path
