"""Python environments beside this one, for packages that cannot share it (they pin another numpy)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mujo_edge.core import MissingExtraError, UsageError, require_extra
from mujo_edge.files import written_aside


def cache_folder() -> Path:
    """Where what takes long to make is kept: mujo-edge's folder in $XDG_CACHE_HOME or ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mujo-edge"


def python_with(name: str, requirements: tuple[str, ...], newest: tuple[int, int], alone: tuple[str, ...] = ()) -> str:
    """The Python of an environment with `requirements` alone, made with pip where it is not there yet.

    Several processes may ask at once: one makes it, the others wait.

    Args:
        name: of its folder in `cache_folder`; says the version of what it holds.
        requirements: what pip installs, pinned.
        newest: the last Python that they have wheels for.
        alone: what is installed without what it asks for, where it asks for more than it uses.

    Raises:
        MissingExtraError: this Python is too new, or pip cannot get the packages.
        UsageError: the cache folder cannot be written to.
    """
    wanted = " and ".join(alone + requirements)
    if sys.version_info[:2] > newest:
        version = ".".join(map(str, newest))
        raise MissingExtraError(f"{wanted} has no wheels for Pythons after {version}; run this with python{version}")
    home = cache_folder() / f"{name}-cp{sys.version_info.major}{sys.version_info.minor}"
    python = home / "bin" / "python"
    if python.exists():
        return str(python)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{home.parent} cannot be written: {error.strerror}; set XDG_CACHE_HOME to a folder that is yours"
        ) from error
    with require_extra("filelock", "train").FileLock(home.with_name(f".{home.name}.lock")):
        if not python.exists():
            with written_aside(home, lambda path: (path / "pyvenv.cfg").exists(), "Python environment") as partial:
                pip = [str(partial / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
                commands = [[sys.executable, "-m", "venv", str(partial)]]
                commands += [[*pip, *requirements]] if requirements else []
                commands += [[*pip, "--no-deps", *alone]] if alone else []
                for command in commands:
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        said = last_words(done.stderr)
                        raise MissingExtraError(
                            f"{wanted} cannot be installed in {home} (once, from a package index): {said}"
                        )
    return str(python)


def last_words(text: str) -> str:
    """Of what a process complained, the end: a native library's reason stands in the line before the last."""
    return " ".join((text.strip() or "it said nothing").splitlines()[-2:])
