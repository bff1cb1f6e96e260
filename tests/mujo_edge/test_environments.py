"""Separate Python environments: created once, isolated, and removed if pip fails."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mujo_edge import environments
from mujo_edge.core import MissingExtraError, UsageError
from mujo_edge.environments import python_with
from mujo_edge.folders import cache_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    """A wheel of one module (PEP 427) that depends on a package that does not exist."""
    path = tmp_path / "lonely-1.0-py3-none-any.whl"
    info = "lonely-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("lonely.py", "WORD = 'here'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lonely\nVersion: 1.0\nRequires-Dist: nowhere\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"lonely.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return str(path)


def test_concurrent_calls_create_one_environment(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], subprocess.run

    def counted(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return real(command, **options)

    monkeypatch.setattr(environments.subprocess, "run", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(
            lambda _: python_with("lonely-1.0", (), sys.version_info[:2], alone=(wheel,)), range(2)
        )
    assert first == second
    assert len(calls) == 2  # venv and pip, once
    inside = real([first, "-I", "-c", "import lonely; print(lonely.WORD)"], capture_output=True, text=True, check=True)
    assert inside.stdout == "here\n"
    assert real([sys.executable, "-c", "import lonely"], capture_output=True, check=False).returncode != 0


def test_failed_environment_is_removed() -> None:
    with pytest.raises(MissingExtraError, match=re.escape("tflite-runtime==2.14.0")):
        python_with("tflite", ("tflite-runtime==2.14.0",), (3, 99))
    assert [path for path in cache_folder().iterdir() if path.is_dir()] == []


def test_python_that_is_too_new_is_an_error() -> None:
    with pytest.raises(MissingExtraError, match=r"thing==1 has no wheels for Pythons after 3\.8; .*python3\.8"):
        python_with("thing", ("thing==1",), (3, 8))


def test_cache_that_is_not_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UsageError, match="set MUJO_CACHE to a writable folder"):
        python_with("thing", ("thing==1",), (3, 99))
