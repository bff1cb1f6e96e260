"""Arrays of a bundle, .npy and .npz: sizes are read from headers and checked before memory is taken."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mujo_edge.files import read_file

Array = npt.NDArray[Any]

MAX_ARRAY_BYTES = 64 << 20
"""Size limit of the arrays of one file, uncompressed; the shipped reference windows have 0.2 MB."""

MAX_DIRECTORY_BYTES = 4096
"""Size limit of the list of members at the end of a .npz; each takes about 60 bytes."""

MAX_HEADER = 4096
"""Most characters of the header of a .npy; usual ones have 118."""

END = struct.Struct("<4s4H2LH")
"""End of central directory of a ZIP file (APPNOTE 4.3.16); the sixth value is the size of the central directory."""


def read_npy(path: Path) -> Array:
    """The array of a .npy file: numbers or texts, never pickled. Raises `OSError`, `DataError` or `ValueError`."""
    content = read_file(path, MAX_ARRAY_BYTES)
    with _explained(path):
        return _array(io.BytesIO(content), len(content))


def read_npz(path: Path, *names: str) -> list[Array]:
    """The arrays `names` of a .npz file, as `read_npy`."""
    content = read_file(path, MAX_ARRAY_BYTES)
    with _explained(path), zipfile.ZipFile(io.BytesIO(_with_short_directory(content))) as archive:
        members = [archive.getinfo(f"{name}.npy") for name in names]
        if sum(member.file_size for member in members) > MAX_ARRAY_BYTES:
            raise ValueError(f"its arrays have more than {MAX_ARRAY_BYTES >> 20} MB")
        arrays = []
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename} is compressed by a method that np.savez does not use")
            with archive.open(member) as file:
                arrays.append(_array(io.BytesIO(file.read(member.file_size)), member.file_size))
        return arrays


def _array(file: BinaryIO, size: int) -> Array:
    """The array in `size` bytes of a .npy file."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file, max_header_size=MAX_HEADER)
    if dtype.kind not in "biufU" or not dtype.itemsize or dtype.hasobject:
        raise ValueError(f"it holds {dtype}, which is neither a number nor a text; allow_pickle stays off")
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != size - file.tell():
        raise ValueError(f"its header says {claimed} bytes, and {size - file.tell()} follow")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER)
    return array


def _with_short_directory(content: bytes) -> bytes:
    """The content of a ZIP file if it ends as those that np.savez writes: no comment, no ZIP64, a few members."""
    end = content[-END.size :]
    if len(end) < END.size or not end.startswith(b"PK\5\6"):
        raise ValueError("it is not a file that np.savez wrote")
    *_, directory, _, _ = END.unpack(end)
    if directory > MAX_DIRECTORY_BYTES or content[-END.size - 20 :].startswith(b"PK\6\7"):
        raise ValueError("it has too many members")
    return content


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors into `ValueError`: for damaged content numpy, zipfile and zlib raise many kinds."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path.name} holds no arrays of a bundle: {str(error) or type(error).__name__}") from error
