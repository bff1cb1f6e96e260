"""Python environments beside this one, for packages that cannot share it (they pin another numpy)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mujo_edge.core import MissingExtraError, UsageError, require_extra
from mujo_edge.files import atomic_directory
from mujo_edge.folders import cache_folder

PYTHON = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
"""The interpreter in a virtual environment (venv's own layout)."""


def python_with(name: str, requirements: tuple[str, ...], newest: tuple[int, int], alone: tuple[str, ...] = ()) -> str:
    """The Python executable of an environment that holds only `requirements`, created with pip on first use.

    Several processes may call at once: one creates it, the others wait.

    Args:
        name: of its folder in `cache_folder`; includes the version of its content.
        requirements: pinned requirements for pip.
        newest: the last version of Python for which they have wheels.
        alone: pinned requirements installed without their dependencies, if those are not needed.

    Raises:
        MissingExtraError: this Python is too new, or pip cannot install the packages.
        UsageError: the cache folder cannot be written.
    """
    packages = " and ".join(alone + requirements)
    if sys.version_info[:2] > newest:
        version = ".".join(map(str, newest))
        raise MissingExtraError(f"{packages} has no wheels for Pythons after {version}; run this with python{version}")
    home = cache_folder() / f"{name}-cp{sys.version_info.major}{sys.version_info.minor}"
    python = home / PYTHON
    if python.exists():
        return str(python)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{home.parent} cannot be written: {error.strerror}; set MUJO_CACHE to a writable folder"
        ) from error
    with require_extra("filelock", "train").FileLock(home.with_name(f".{home.name}.lock")):
        if not python.exists():
            with atomic_directory(home, lambda path: (path / "pyvenv.cfg").exists(), "Python environment") as partial:
                pip = [str(partial / PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
                commands = [[sys.executable, "-m", "venv", str(partial)]]
                commands += [[*pip, *requirements]] if requirements else []
                commands += [[*pip, "--no-deps", *alone]] if alone else []
                for command in commands:
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        reason = last_words(done.stderr)
                        raise MissingExtraError(
                            f"{packages} cannot be installed in {home} (once, from a package index): {reason}"
                        )
    return str(python)


def last_words(text: str) -> str:
    """The last two lines of a process's errors: a native library's reason may be in the line before the last."""
    return " ".join((text.strip() or "no error message").splitlines()[-2:])
