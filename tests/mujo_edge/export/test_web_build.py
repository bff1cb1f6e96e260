"""The page is built once for each version of its sources, and missing tools are named."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mujo_edge.core import MissingExtraError, UsageError
from mujo_edge.export import web
from mujo_edge.files import atomic_directory


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only programs that are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "mkdir", "sleep", "touch", "cat"):
        (folder / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


BUILDS = """case "$1" in
--version) echo v22.12.0 ;;
*) sleep 0.3; mkdir dist; cat package.json > dist/index.html ;;
esac"""


def test_page_is_built_once(bin_folder: Path) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", "touch called")
    folder = web.build()
    assert folder.parent == bin_folder.parent / "cache" / "mujo-edge"
    assert (folder / "index.html").read_text() == (web.HOME / "package.json").read_text()
    for name in ("node", "npm"):
        program(bin_folder, name, "exit 1")
    assert web.build() == folder
    assert list(folder.parent.iterdir()) == [folder]


def test_concurrent_builds_work(bin_folder: Path) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", "true")
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: web.build(), range(4)))
    assert list(folders.pop().parent.iterdir()) == [web.build()]
    assert not folders


def test_failed_build_leaves_nothing(bin_folder: Path) -> None:
    program(
        bin_folder, "node", 'test "$1" = --version && echo v22.12.0 || { mkdir dist; echo src/x.ts is odd; exit 1; }'
    )
    program(bin_folder, "npm", "true")
    with pytest.raises(MissingExtraError, match=r"could not be built: node .*vite.js failed with\nsrc/x.ts is odd"):
        web.build()
    assert list(web.cache_folder().iterdir()) == []


@pytest.mark.parametrize("code", ["ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT"])
def test_missing_network_is_explained(bin_folder: Path, code: str) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", f"echo npm error code {code} >&2; exit 1")
    with pytest.raises(MissingExtraError, match=f"cannot fetch.*{code}.*once with a network") as raised:
        web.build()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.3", "v21.7.3", "v22.11.0", "nonsense", ""])
def test_unsupported_node_is_rejected(bin_folder: Path, version: str) -> None:
    program(bin_folder, "node", f"echo {version}")
    program(bin_folder, "npm", "true")
    with pytest.raises(MissingExtraError, match=rf"20.19 or newer.* is {version or 'broken'}.*pip install.*\[web\]"):
        web.build()


@pytest.mark.parametrize("version", ["v20.19.0", "v20.20.2", "v22.12.0", "v24.1.0", "v26.0.0-pre"])
def test_supported_node_is_accepted(bin_folder: Path, version: str) -> None:
    program(bin_folder, "node", f"echo {version}")
    program(bin_folder, "npm", "true")
    assert web.tools() == (str(bin_folder / "node"), str(bin_folder / "npm"))


@pytest.mark.parametrize(("there", "absent"), [((), "node"), (("node",), "npm")])
def test_missing_program_is_named(bin_folder: Path, there: tuple[str, ...], absent: str) -> None:
    for name in there:
        program(bin_folder, name, "echo v22.12.0")
    with pytest.raises(MissingExtraError, match=rf"there is no {absent}\. .*pip install.*\[web\]"):
        web.build()


def test_node_of_the_python_environment_takes_precedence(bin_folder: Path) -> None:
    own = Path(sys.executable).parent
    for name in ("node", "npm"):
        program(bin_folder, name, "echo v18.0.0")
        program(own, name, "echo v24.1.0")
    assert web.tools() == (str(own / "node"), str(own / "npm"))


def test_unwritable_cache_is_named(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", "true")
    (bin_folder / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(bin_folder / "file"))
    with pytest.raises(UsageError, match=r"cannot be written.*set MUJO_CACHE"):
        web.build()


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT"])
def test_npm_without_disk_space_is_a_one_line_error(bin_folder: Path, code: str) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", f"echo 'npm error code {code}' >&2; echo lines; echo of; echo output; exit 1")
    with pytest.raises(UsageError, match=r"has no room: .*; make room, or set MUJO_CACHE") as caught:
        web.build()
    assert "\n" not in str(caught.value)
    assert list((bin_folder.parent / "cache" / "mujo-edge").iterdir()) == []


def test_full_disk_while_sources_are_copied_is_a_one_line_error(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bin_folder, "node", BUILDS)
    program(bin_folder, "npm", "true")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "src/main.ts")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UsageError, match="has no room: No space left on device; make room"):
        web.build()


def test_full_disk_while_a_folder_is_copied_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """shutil.copytree collects the errors of all files in one without a number."""
    source = tmp_path / "built"
    source.mkdir()
    (source / "index.html").write_text("x")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "index.html")

    with (
        pytest.raises(UsageError, match="web cannot be written: No space left on device; make room"),
        atomic_directory(tmp_path / "web", lambda path: True, "export") as partial,
    ):
        shutil.copytree(source, partial, dirs_exist_ok=True, copy_function=full)
    assert list(tmp_path.iterdir()) == [source]
