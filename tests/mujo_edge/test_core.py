"""Shared types, errors and their exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pytest

import mujo_edge
from mujo_edge import core
from mujo_edge.core import (
    CHANNELS,
    Chunk,
    DataError,
    DeviceError,
    MissingExtraError,
    MujoError,
    Source,
    StreamInfo,
    StreamStats,
    UsageError,
    require_extra,
)


def test_every_error_has_its_own_exit_code() -> None:
    kinds = (MujoError, UsageError, DeviceError, DataError, MissingExtraError)
    assert all(issubclass(kind, MujoError) for kind in kinds)
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4, 5]


def test_installed_extra_is_imported() -> None:
    assert require_extra("json", "report") is sys.modules["json"]


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_missing_extra_names_the_pip_line(module: str) -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_package is not installed.*pip install .*\[parquet\]'"):
        require_extra(module, "parquet")


def test_pip_line_in_a_checkout_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = Path(core.__file__).parents[1]
    monkeypatch.chdir(root)
    assert core.pip_install("phone").endswith("pip install -e '.[phone]'")
    assert core.pip_install().endswith("pip install -e .")
    monkeypatch.chdir(tmp_path)
    assert core.pip_install("phone").endswith(f"pip install -e '{root}[phone]'")
    monkeypatch.setattr(core, "__file__", str(tmp_path / "site-packages" / "mujo_edge" / "core.py"))
    assert core.pip_install("phone").endswith("pip install 'mujo-edge[phone]'")


def test_pip_line_is_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(core, "which", lambda name: str(tmp_path / ".venv" / "bin" / name))
    assert core.pip() == "pip"
    monkeypatch.setattr(core, "which", lambda name: "/usr/bin/pip")
    monkeypatch.chdir(tmp_path)
    assert core.pip() == ".venv/bin/python -m pip"


def test_pip_line_of_an_extra_with_pytorch_avoids_cuda() -> None:
    assert "--extra-index-url https://download.pytorch.org/whl/cpu -e '" in core.pip_install("executorch")
    assert core.pip_install("executorch").endswith("GB on disk)")
    assert "index" not in core.pip_install("onnx")


def test_broken_extra_is_not_reported_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_package.py").write_text("raise ImportError('needs another numpy')")
    with pytest.raises(ImportError, match="another numpy"):
        require_extra("broken_package", "parquet")


@pytest.mark.parametrize("kind", [core.StreamInfo, core.Chunk, core.Window, core.Latency, core.Prediction])
def test_types_that_cross_threads_are_frozen(kind: type) -> None:
    assert is_dataclass(kind)
    value = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(kind)[0].name, 1)
    assert not hasattr(value, "__dict__")


def test_defaults_of_core_types() -> None:
    info = StreamInfo("a watch", CHANNELS, None)
    assert (info.placement, info.gravity, info.labels) == (None, "included", None)
    chunk = Chunk(np.zeros(1), np.zeros((1, 6), np.float32), 0.0)
    assert (chunk.lost, chunk.truth) == (0, None)


def test_two_streams_do_not_share_their_notes() -> None:
    one, other = StreamStats(), StreamStats()
    one.notes.append("gravity is missing")
    assert other.notes == []


def test_sources_are_recognized_structurally() -> None:
    class Watch:
        info = StreamInfo("a watch", CHANNELS, 50.0)
        notes: tuple[str, ...] = ()
        status = ""

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *exc: object) -> None:
            return None

        async def chunks(self) -> AsyncIterator[Chunk]:
            yield Chunk(np.zeros(0), np.zeros((0, 6), np.float32), 0.0)

    assert isinstance(Watch(), Source)
    assert not isinstance(object(), Source)


def test_public_names_exist() -> None:
    for name in mujo_edge.__all__:
        assert getattr(mujo_edge, name) is not None
    for name in ("Nothing", "_private", "numpy"):
        with pytest.raises(AttributeError, match=name):
            getattr(mujo_edge, name)


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("mujo_edge", ("numpy", "rich", "typer", "bleak")),
        ("mujo_edge.core", ("torch", "scipy", "training", "ai_edge_litert", "rich", "pyarrow")),
        ("mujo_edge.sources.replay", ("torch", "scipy", "training", "ai_edge_litert", "rich", "pyarrow")),
        ("mujo_edge.sinks.recording", ("torch", "scipy", "training", "ai_edge_litert", "rich", "pyarrow")),
    ],
)
def test_imports_stay_light(imported: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_standard_gravity_and_channel_order() -> None:
    assert core.STANDARD_GRAVITY == 9.80665
    assert CHANNELS == ("ax", "ay", "az", "gx", "gy", "gz")
