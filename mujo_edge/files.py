"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mujo_edge.core import DataError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room, or a quota or size limit that is used up."""


def why_full(error: OSError) -> str:
    """The reason if an error is one of `FULL`, else "". `shutil.copytree` raises a list of texts without a number."""
    reasons = [os.strerror(number) for number in FULL]
    if error.errno in FULL:
        return os.strerror(error.errno)
    return next((reason for reason in reasons if isinstance(error, shutil.Error) and reason in str(error)), "")


@contextmanager
def atomic_directory(out: Path, ours: Callable[[Path], bool], what: str) -> Iterator[Path]:
    """A new folder beside `out` to write to; it takes the place of `out` at the end, or is removed after an error.

    Args:
        out: the final path; parents are made. An empty folder there, or one that is `ours`, is replaced.
        ours: whether a folder was written by mujo-edge.
        what: name of such a folder, for the message.

    Raises:
        UsageError: something else exists at `out`, or it cannot be written.
    """
    try:
        if out.exists() and not (out.is_dir() and (ours(out) or not any(out.iterdir()))):
            raise UsageError(f"{out} exists and holds no {what}; choose another folder or empty it first")
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}"
        partial.mkdir()
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}; choose a writable folder") from error
    try:
        yield partial
        move_into_place(partial, out)
    except OSError as error:
        if not (reason := why_full(error)):
            raise
        raise UsageError(f"{out} cannot be written: {reason}; make room or choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; that file takes the place of `path` at the end, or is removed after an error.

    Parents of `path` are made. Several processes may write the same file: the last one to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def move_into_place(new: Path, out: Path) -> None:
    """Rename `new` to `out`; the folder that was there is set aside until then."""
    old = new.with_name(new.name + ".old")
    if out.exists():
        out.replace(old)
    try:
        new.replace(out)
    except OSError:
        if old.exists():
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read_file(path: Path, most_bytes: int) -> bytes:
    """Content of a regular file. Raises `OSError`, or `DataError` as `check_regular`."""
    size = check_regular(path, most_bytes)
    with path.open("rb") as file:
        content = file.read(size + 1)
    if len(content) != size:  # files of /proc have a size of 0
        raise DataError(f"{path} grew or shrank while it was read")
    return content


def sha256(path: Path, most_bytes: int | None = None) -> str:
    """SHA-256 of a regular file, in hexadecimal. Raises `OSError`, or `DataError` as `check_regular`."""
    check_regular(path, most_bytes)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path, most_bytes: int | None = None) -> int:
    """Size of a file in bytes. It is not opened: opening a FIFO waits for its writer, a device may act on it.

    Links are followed, as package managers and hub caches use them.

    Raises:
        OSError: it cannot be found.
        DataError: it is a FIFO, a device, a socket or a folder, or a link to one; or larger than `most_bytes`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a regular file")
    if most_bytes is not None and status.st_size > most_bytes:
        raise DataError(f"{path} is larger than {most_bytes / (1 << 20):.3g} MB, the limit of such a file")
    return status.st_size
