"""A page that recognizes on the device: TypeScript, built with npm and vite, beside the model that it runs.

The sources lie here and are built on the user's machine, once for each version of them: what npm fetches is not ours to
ship. The page takes all from its own folder by relative URL, so any static server will do, under any path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from mujo_edge.core import MissingExtraError, UsageError
from mujo_edge.export import Job, Written, contract, models
from mujo_edge.files import sha256
from mujo_edge.folders import cache_folder

HOME = Path(__file__).parent
SOURCES = (
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
    "index.html",
    "selftest.html",
    "licenses.txt",
    "src",
    "public",
)
EDITION = "@edition@"
"""Stands in the service worker for what tells one folder from another."""

NODE = "Node.js 20.19 or newer with npm"
GET_NODE = "Install it with: pip install 'mujo-edge[web]', or from nodejs.org"

NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ENOTCACHED")
"""npm's error codes where there is no network."""


def write(job: Job) -> Written:
    """The built page and its models into `job.folder`.

    Raises:
        DataError: a model is off.
        MissingExtraError, UsageError: as `build`.
    """
    shipped = models.ship(job, ("onnx",))
    shutil.copytree(build(), job.folder, dirs_exist_ok=True)
    worker = job.folder / "sw.js"
    edition = hashlib.sha256(json.dumps(contract(job)).encode())
    for path in sorted(job.folder.rglob("*")):
        if path.is_file():
            edition.update(f"{path.relative_to(job.folder).as_posix()} {sha256(path)}\n".encode())
    worker.write_text(worker.read_text("utf-8").replace(EDITION, edition.hexdigest()[:16]), "utf-8")
    return Written(shipped)


def build() -> Path:
    """The built page: a folder in the user's cache that must not be written to, made when it is not there.

    Raises:
        MissingExtraError: Node.js or npm is missing or too old, or npm cannot fetch what it needs.
        UsageError: the cache cannot be written.
    """
    folder = cache_folder() / f"web-{digest()}"
    if (folder / "index.html").is_file():
        return folder
    node, npm = tools()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"{folder.parent} cannot be written: {error.strerror}; set MUJO_CACHE to a folder that is yours"
        ) from error
    with work as name:
        copy_sources(Path(name))
        install(npm, Path(name))
        run([node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], Path(name))
        try:
            (Path(name) / "dist").rename(folder)
        except OSError:
            if not (folder / "index.html").is_file():  # else another process was faster
                raise
    return folder


def source_files() -> Iterable[Path]:
    """All that the page is built from."""
    for name in SOURCES:
        path = HOME / name
        yield from sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else (path,)


def digest() -> str:
    """Of the sources, by name and content."""
    total = hashlib.sha256()
    for path in source_files():
        total.update(f"{path.relative_to(HOME).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()[:16]


def copy_sources(folder: Path) -> None:
    """The sources into a folder in which npm may work."""
    for path in source_files():
        target = folder / path.relative_to(HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def tools() -> tuple[str, str]:
    """node and npm, from this Python's environment or else PATH. Raises `MissingExtraError`."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if not node or not npm:
        raise MissingExtraError(
            f"the page is built with {NODE}, and there is no {'npm' if node else 'node'}. {GET_NODE}"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if not ((20, 19) <= found < (21,) or found >= (22, 12)):  # what vite 8 says that it runs on
        raise MissingExtraError(f"the page is built with {NODE}, and {node} is {version or 'broken'}. {GET_NODE}")
    return node, npm


def install(npm: str, folder: Path) -> None:
    """What package-lock.json names into `folder`/node_modules; no package runs anything."""
    command = [npm, "ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    run([*command, "--no-update-notifier", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"], folder)


def run(command: list[str], folder: Path) -> None:
    """Run a step of the build in `folder`. Raises `MissingExtraError` with what it said."""
    path = os.pathsep.join((str(Path(command[0]).parent), os.environ.get("PATH", os.defpath)))
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return
    code = next((code for code in NO_NETWORK if code in done.stderr), None)
    if code:
        raise MissingExtraError(
            f"npm cannot fetch what the page is built with ({code}). Export once with a network: "
            f"the built page is kept in {cache_folder()}"
        )
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    raise MissingExtraError(f"the page could not be built: {Path(command[0]).name} {command[1]} said\n{said}")
