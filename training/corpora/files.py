"""Files of a data set in an archive or folder (`Tree`), search for it on disk, and validating readers of formats."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from mujo_edge.core import DataError
from mujo_edge.folders import cache_folder

LARGEST = 1e15
"""Upper bound of all numbers in these data sets; timestamps in milliseconds are 1.6e12."""
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PEEK = 20
"""Number of members of a tar archive that are listed to identify it; reading all of it takes seconds."""


def usable(values: np.ndarray) -> np.ndarray:
    """Bool mask of the values that are finite and below `LARGEST`."""
    return np.abs(values) < LARGEST


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key for natural order: `sub_2` before `sub_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a zip or tar archive, of a folder, or a single file, by POSIX path. A context manager.

    `names` is in natural order. A tar archive is unpacked once into the cache.
    """

    path: Path
    names: tuple[str, ...]
    archive: zipfile.ZipFile | None = None

    @classmethod
    def open(cls, path: Path, names: tuple[str, ...] | None = None) -> Tree:
        """Open `path`; if `names` are given, only those files, without listing the others.

        Raises `DataError` if it is missing or a damaged archive.
        """
        if is_tar(path):
            path = unpacked(path)
        if path.is_dir():
            listed = names or (p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
            return cls(path, tuple(sorted(listed, key=natural)))
        if not path.is_file():
            raise DataError(f"{path} does not exist. Give the data set's zip file or its unpacked folder")
        if path.suffix.lower() != ".zip":
            return cls(path, (path.name,))
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise DataError(f"{path} is not a complete zip archive. Fetch it again: the download was cut off") from None
        listed = names or (n for n in archive.namelist() if n[-1] != "/")
        return cls(path, tuple(sorted(listed, key=natural)), archive)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.archive is not None:
            self.archive.close()

    def match(self, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
        """Files whose path matches `pattern` below any number of folders, with the match."""
        compiled = re.compile(rf"(?:.*/)?{pattern}")
        return ((name, matched) for name in self.names if (matched := compiled.fullmatch(name)))

    def read(self, name: str) -> bytes:
        """Content of one file. Raises `DataError` if the archive is damaged."""
        try:
            if self.archive is not None:
                return self.archive.read(name)
            return (self.path / name if self.path.is_dir() else self.path).read_bytes()
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, KeyError) as error:
            raise DataError(
                f"{self.where(name)} cannot be read ({error}). Fetch or unpack the data set again"
            ) from None

    def where(self, name: str) -> str:
        """Name of a file of this tree for messages."""
        return str(self.path) if name == self.path.name else f"{self.path}: {name}"

    def sha256(self, pattern: str) -> str:
        """SHA-256 of the archive or file; for a folder, of names and contents of the files that match `pattern`."""
        if not self.path.is_dir():
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for name, _ in self.match(pattern):
            digest.update(name.encode() + b"\0" + hashlib.sha256(self.read(name)).digest())
        return digest.hexdigest()


def is_tar(path: Path) -> bool:
    """Whether `path` is a tar archive, judged by its name."""
    return path.name.lower().endswith(TAR) and path.is_file()


def unpacked(archive: Path) -> Path:
    """Folder in the cache with the files of a tar archive, which is unpacked at the first call.

    A compressed tar has no index: each file would have to be read from the start. Raises `DataError` for a damaged
    archive. Several processes may unpack it at once; the first to finish wins.
    """
    status = archive.stat()
    key = f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}".encode()
    folder = cache_folder() / "unpacked" / f"{archive.name.split('.')[0]}-{hashlib.sha256(key).hexdigest()[:20]}"
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        temporary.rename(folder)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is not a complete tar archive ({error}). Fetch it again") from None
    except OSError as error:
        if not folder.is_dir():
            raise DataError(
                f"{archive} cannot be unpacked into {folder.parent} ({error}). Free space there, or set MUJO_CACHE"
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def holds(path: Path, marker: str) -> bool:
    """Whether `path` has files whose names match `marker`. Raises `DataError` for a damaged archive."""
    if not is_tar(path):
        with Tree.open(path) as tree:
            return any(True for _ in tree.match(marker))
    return any(True for _ in Tree(path, first_members(path, path.stat().st_mtime_ns)).match(marker))


@lru_cache
def first_members(archive: Path, mtime_ns: int) -> tuple[str, ...]:
    """Names of the first `PEEK` members of a tar archive; cached by `mtime_ns`. Raises `DataError` if damaged."""
    try:
        with tarfile.open(archive) as tar:
            return tuple(member.name for member in islice(tar, PEEK))
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{archive} is not a complete tar archive ({error}). Fetch it again") from None


def locate(root: Path, marker: str) -> Path | None:
    """The archive or folder with files that match `marker`: in `root`, up to two levels deep, or `root` itself.

    Raises `DataError` if none is found but there is a damaged archive, which may be the one.
    """
    if not root.is_dir():
        return root if root.is_file() and holds(root, marker) else None
    damaged: DataError | None = None
    for path in (*sorted(root.glob("*")), *sorted(root.glob("*/*")), root):
        try:
            if (path.is_dir() or path.suffix.lower() == ".zip" or is_tar(path)) and holds(path, marker):
                return path
        except DataError as error:
            damaged = error
    if damaged:
        raise damaged
    return None


def read_csv(
    tree: Tree,
    name: str,
    columns: Mapping[str, type],
    header: Sequence[str] | None = None,
    delimiter: str = ",",
    ended: bool = False,
) -> dict[str, np.ndarray]:
    """Read the named columns (float or str) of one text table; `header` names the columns of a file without header.

    `ended` is for publishers whose files end in a line break: a last row without one is an error (cut off).

    Raises `DataError` naming the file for missing columns, malformed rows, and missing or non-finite numbers.
    """
    where, content = tree.where(name), tree.read(name)
    if ended and not content.endswith(b"\n"):
        raise DataError(f"{where} is cut off or malformed (its last row has no end). Fetch the file again")
    types = {column: pa.float64() if kind is float else pa.string() for column, kind in columns.items()}
    try:
        table = csv.read_csv(
            BytesIO(content),
            read_options=csv.ReadOptions(column_names=header, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=delimiter),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=list(columns)),
        )
    except KeyError:
        wanted = ", ".join(columns)
        raise DataError(f"{where} lacks one of the columns {wanted}. Is it another data set's file?") from None
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where} is cut off or malformed ({reason}). Fetch the file again") from None
    values = {column: table[column].to_numpy(zero_copy_only=False) for column in columns}
    if not len(table):
        raise DataError(f"{where} has no rows. Fetch the file again")
    for column, kind in columns.items():
        if kind is float and not (good := usable(values[column])).all():
            raise DataError(
                f"{where}: row {int(np.argmin(good)) + 1} of column {column} is empty or not a finite number. "
                "Drop or repair those rows first"
            )
    return values


def stack(values: Mapping[str, np.ndarray], columns: Sequence[str]) -> np.ndarray:
    """Columns of `read_csv` -> (n, C) float64."""
    return np.stack([values[column] for column in columns], 1)


def read_npy(tree: Tree, name: str, columns: int) -> np.ndarray:
    """A numeric (n, columns) array of an .npy file -> float64. Raises `DataError` naming the file."""
    where = tree.where(name)
    try:
        values = np.asarray(np.load(BytesIO(tree.read(name)), allow_pickle=False), np.float64)
    except (ValueError, TypeError, EOFError) as error:
        raise DataError(f"{where} is not a complete .npy file ({error}). Fetch the file again") from None
    if values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise DataError(f"{where} has shape {values.shape}, expected (n, {columns}). Is it another data set's file?")
    if not usable(values).all():
        raise DataError(f"{where} holds values that are not finite numbers. Drop or repair those rows first")
    return values


def mat_variable(tree: Tree, name: str, variable: str) -> np.ndarray:
    """One variable of a MATLAB file, of any type. Raises `DataError` naming the file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    where = tree.where(name)
    try:
        content = loadmat(BytesIO(tree.read(name)), variable_names=[variable])
    except (MatReadError, ValueError, TypeError, IndexError, OSError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{where} is not a complete MATLAB 5 file ({error}). Fetch the file again") from None
    if variable not in content:
        raise DataError(f"{where} has no variable {variable}. Is it another data set's file?")
    return np.asarray(content[variable])


def read_mat(tree: Tree, name: str, variable: str) -> np.ndarray:
    """One numeric variable of a MATLAB file -> float64. Raises `DataError` naming the file."""
    where, value = tree.where(name), mat_variable(tree, name, variable)
    try:
        values = value.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: {variable} is not numeric ({error}). Fetch the file again") from None
    if not usable(values).all():
        raise DataError(f"{where}: {variable} holds values that are not finite numbers. Fetch the file again")
    return values
