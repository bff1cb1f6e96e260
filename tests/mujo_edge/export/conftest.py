"""Shared fixtures of the tests of the web app."""

from __future__ import annotations

from pathlib import Path

import pytest

from mujo_edge.core import MissingExtraError
from mujo_edge.export import export
from mujo_edge.export.web import build


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported web folder. Tests copy it before they change it."""
    try:
        build()
    except MissingExtraError as error:
        pytest.skip(f"what the page is built with is not installed: {error}")
    return export("web", None, tmp_path_factory.mktemp("out"), "physio-wrist")[0]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and certificates of the server go to the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
