"""A web page that recognizes on the device: TypeScript, built with npm and vite, next to the model that it runs.

The sources here are built on the user's machine, once per version of them, since npm's packages are not ours to
distribute. The page loads everything from its own folder by relative URL, so that any static server can host it under
any path.
"""

from __future__ import annotations

import errno
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from markdown_it import MarkdownIt

from mujo_edge.core import MissingExtraError, UsageError, pip_install
from mujo_edge.export import Job, Written, contract, licenses, model_card, models
from mujo_edge.files import FULL, sha256, why_full
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
"""Placeholder in the service worker for the hash that identifies an exported folder."""

NODE = "Node.js 20.19 or newer with npm"

NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ENOTCACHED")
"""npm's error codes where there is no network."""


def write(job: Job) -> Written:
    """Write the built page and its models into `job.folder`.

    Raises:
        DataError: as `models.ship`.
        MissingExtraError, UsageError: as `build`.
    """
    shipped = models.ship(job, ("onnx",))
    shutil.copytree(build(), job.folder, dirs_exist_ok=True)
    for name, text in (("MODEL_CARD", model_card(job)), ("LICENSES", licenses(job.manifest))):
        (job.folder / f"{name}.html").write_text(page(text), "utf-8")
    worker = job.folder / "sw.js"
    edition = hashlib.sha256(json.dumps(contract(job)).encode())
    for path in sorted(job.folder.rglob("*")):
        if path.is_file():
            edition.update(f"{path.relative_to(job.folder).as_posix()} {sha256(path)}\n".encode())
    worker.write_text(worker.read_text("utf-8").replace(EDITION, edition.hexdigest()[:16]), "utf-8")
    return Written(shipped)


def page(markdown: str) -> str:
    """Markdown as an HTML page; HTML in it is shown as text."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    title = html.escape(markdown.partition("\n")[0].lstrip("# "))
    return Template((HOME / "document.html").read_text("utf-8")).substitute(title=title, body=body)


def build() -> Path:
    """Folder of the built page in the user's cache, built first if it is not there. Callers must not write to it.

    Raises:
        MissingExtraError: Node.js or npm is missing or too old, or npm cannot fetch what it needs.
        UsageError: the cache cannot be written, or is full.
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
        try:
            copy_sources(Path(name))
            install(npm, Path(name))
            run([node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], Path(name))
            (Path(name) / "dist").rename(folder)
        except OSError as error:
            if reason := why_full(error):
                raise full_cache(reason) from error
            if not (folder / "index.html").is_file():  # else another process was faster
                raise
    return folder


def full_cache(reason: str) -> UsageError:
    """The error of a cache folder without room."""
    return UsageError(f"{cache_folder()} has no room: {reason}; make room, or set MUJO_CACHE to another folder")


def source_files() -> Iterable[Path]:
    """All files that the page is built from."""
    for name in SOURCES:
        path = HOME / name
        yield from sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else (path,)


def digest() -> str:
    """Hash of the sources' names and contents."""
    total = hashlib.sha256()
    for path in source_files():
        total.update(f"{path.relative_to(HOME).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()[:16]


def copy_sources(folder: Path) -> None:
    """Copy the sources into a folder for npm to work in."""
    for path in source_files():
        target = folder / path.relative_to(HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def tools() -> tuple[str, str]:
    """Paths of node and npm, from this Python's environment or else PATH. Raises `MissingExtraError`."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if not node or not npm:
        raise MissingExtraError(
            f"the page is built with {NODE}, and there is no {'npm' if node else 'node'}. {get_node()}"
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    parsed = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if not ((20, 19) <= parsed < (21,) or parsed >= (22, 12)):  # the versions that vite 8 supports
        raise MissingExtraError(f"the page is built with {NODE}, and {node} is {version or 'broken'}. {get_node()}")
    return node, npm


def get_node() -> str:
    """Installation instructions for Node.js, for error messages."""
    return f"Install it with: {pip_install('web')}, or from nodejs.org"


def install(npm: str, folder: Path) -> None:
    """Install the packages of package-lock.json into `folder`/node_modules, without running their scripts."""
    command = [npm, "ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    run([*command, "--no-update-notifier", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"], folder)


def run(command: list[str], folder: Path) -> None:
    """Run a step of the build in `folder`. Raises `MissingExtraError` with the end of its output, `UsageError` if the
    disk is full."""
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
    if full := next((number for number in FULL if errno.errorcode[number] in done.stderr), None):
        raise full_cache(os.strerror(full))
    output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    raise MissingExtraError(f"the page could not be built: {Path(command[0]).name} {command[1]} failed with\n{output}")
