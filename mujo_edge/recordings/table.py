"""Tables of numbers in files, read block by block: CSV (also gzipped) and Parquet.

The meaning of the columns is found by `mujo_edge.recordings.columns`. Memory is bounded for any file, and any
error in it becomes a `DataError` that names file and line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from mujo_edge.core import F64, DataError, UsageError, require_extra
from mujo_edge.recordings.cells import to_number, to_seconds

MAX_LINE_BYTES = 1 << 20
"""Limit of a line; a longer one is an error."""

MAX_BLANK_LINES = 1 << 20
"""Limit of blank lines in a file that holds little else."""

CONTAINERS = {
    b"PK\x03\x04": ("an Excel workbook or a zip archive", "save the sheet as CSV, or unpack the archive"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV"),
    b"SQLi": ("an SQLite database", "export its table of samples as CSV"),
    b"\x89HDF": ("an HDF5 file", "export its table of samples as CSV"),
    b"[": ("JSON", "write a CSV with a line per sample, for example with pandas: read_json(FILE).to_csv(...)"),
    b"{": ("JSON", "write a CSV with a line per sample, for example with pandas: read_json(FILE).to_csv(...)"),
}
"""What files that are no tables begin with, what they are, and the way to a table."""

UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
"""Byte order marks of UTF-16, in which spreadsheets save "Unicode text"."""

NUMBERS = re.compile(r"[\s,;\t\d.eE+\-\"]*")
"""A line of numbers and separators only."""

PREAMBLE = 64
"""Limit of the lines above the header, such as a logger's serial number and settings."""

Kind = Literal["number", "datetime", "text"]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows: `numbers` (n, k) float64, one column per requested one; `text` (n,) or None.

    `rows` (n,) are their lines in the file, for messages.
    """

    numbers: F64
    text: list[str] | None
    rows: Sequence[int]


class Table(Protocol):
    """A file of named columns. `kinds` are those of the first row; dates and times become seconds.

    A line is added to `notes` when an incomplete end was dropped. `rate_hz` is a rate that the file states, if any.
    """

    path: Path
    rate_hz: float | None
    names: list[str]
    kinds: list[Kind]
    notes: list[str]

    def blocks(self, numbers: Sequence[int], text: int | None, size: int) -> Generator[Block, None, None]:
        """All rows of the columns with the indices `numbers` and `text`, in blocks of about `size` bytes."""
        ...


def open_table(path: Path) -> Table:
    """Open a CSV or Parquet file, recognized by content, then by suffix.

    Raises:
        UsageError: there is no such file.
        DataError: not a readable table; the message says why.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    try:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
        if not path.is_file():
            raise DataError(f"{path} is not a regular file")
        with path.open("rb") as file:
            magic = file.read(4)
        for start, (what, way) in CONTAINERS.items():
            if magic.startswith(start):
                raise DataError(f"this is {what}: {way}")
        if magic == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
            return ParquetTable(path)
        return CsvTable(path, gzipped=magic[:2] == b"\x1f\x8b")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


class CsvTable:
    """A CSV file; comma, semicolon, tab or spaces; decimal point, or comma where it cannot separate or is quoted.

    `headless` says that there is no header line, `rate_hz` is the rate that a logger wrote above it.

    With `whole_lines` a last line without a newline is dropped even if it looks complete.
    """

    def __init__(self, path: Path, *, gzipped: bool = False, whole_lines: bool = False) -> None:
        self.path = path
        self.notes: list[str] = []
        self._gzipped = gzipped
        self._whole_lines = whole_lines
        self._delimiter = ","
        self._decimal_comma = False
        self._skip = 0
        self._blank = 0
        self.headless = False
        self.rate_hz: float | None = None
        self._read_head()

    def blocks(self, numbers: Sequence[int], text: int | None, size: int) -> Generator[Block, None, None]:
        """See `Table.blocks`. Raises `DataError` at a row with too few or too many cells, or a non-numeric cell."""
        self.notes.clear()
        self._blank = 0
        empty = True
        with closing(self._lines(size)) as blocks:
            for first, lines, complete in blocks:
                skip = max(0, self._skip + 1 - first)
                at, rows = self._rows(first + skip, lines[skip:], complete)
                seen = first + len(lines)
                if self._blank > max(MAX_BLANK_LINES, 0.9 * seen):
                    raise DataError(f"{self.path}: {self._blank:,} of {seen:,} lines are blank: not a table of samples")
                if rows:
                    empty = False
                    words = None if text is None else [row[text] for row in rows]
                    yield Block(self._numbers(at, rows, numbers), words, at)
        if empty:
            raise DataError(f"{self.path} has a header line but no samples below it")

    def _read_head(self) -> None:
        """Find the header (below comments, blank lines, a logger's preamble and Excel's `sep=`), the delimiter and
        the kinds; the names are "column 1", "column 2", ... if there is no header."""
        with closing(self._lines(1 << 16)) as blocks:
            lines = next(blocks, (1, [""], True))[1]
        header = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(("#", "sep="))), None)
        if header is None:
            raise DataError(f"{self.path} is empty: it has no header line")
        if "\0" in lines[header] or "\0" in "".join(lines[:8]):
            raise DataError(f"{self.path} is not a CSV file: it holds binary data (an archive must be unpacked first)")
        header = self._below_preamble(lines, header)
        self._delimiter = _delimiter(lines[header])
        self._decimal_comma = self._delimiter != "," and any(re.search(r"\d,\d", line) for line in lines[header:][:3])
        names = [name.strip() for name in self._cells(header + 1, lines[header])]
        first = [self._kind(cell) for cell in names]
        self.headless = len(names) > 1 and all(kind != "text" for kind in first) and any(names)
        self._skip = header + (not self.headless)
        self.names = [f"column {i}" for i in range(1, len(names) + 1)] if self.headless else names
        if self.headless and self._empatica(lines):
            self.headless = False
        at = next((i for i, line in enumerate(lines) if i >= self._skip and line.strip()), None)
        cells = self._cells(at + 1, lines[at]) if at is not None else []
        if units := self._units_row(cells):
            # "time" above "s" is "time (s)".
            self.names = [f"{name} ({unit})" if unit else name for name, unit in zip(self.names, units, strict=True)]
            self._skip = (at or 0) + 1
            cells = self._cells(self._skip + 1, next((line for line in lines[self._skip :] if line.strip()), ""))
        if self._delimiter == "," and sum(bool(re.fullmatch(r"\s*-?\d+,\d+\s*", cell)) for cell in cells) > 1:
            self._decimal_comma = True  # quoted
        self.kinds = [self._kind(cell) for cell in cells[: len(self.names)]]
        self.kinds += ["number"] * (len(self.names) - len(self.kinds))

    def _below_preamble(self, lines: list[str], first: int) -> int:
        """The line of the header, which is `first` unless a logger wrote its settings above ("Serial Number: ...").

        Then it is the line just above the first two rows of numbers if it has as many cells, else there is none, and
        the first row of numbers is returned. A rate in the settings ("50 Hz") is kept.
        """
        for i in range(first + 1, min(len(lines) - 1, first + PREAMBLE)):
            cut = _delimiter(lines[i])
            width = lines[i].count(cut)
            if width >= 2 and all(line.count(cut) == width and NUMBERS.fullmatch(line) for line in lines[i : i + 2]):
                above = max(k for k in range(first, i) if lines[k].strip())
                if above == first or lines[first].count(cut) == width:
                    return first
                settings = "\n".join(lines[first:above])
                rates = {float(rate) for rate in re.findall(r"(\d+(?:\.\d+)?) ?Hz", settings)}
                self.rate_hz = rates.pop() if len(rates) == 1 else None
                return above if lines[above].count(cut) == width else i
        return first

    def _empatica(self, lines: list[str]) -> bool:
        """Whether this is Empatica's ACC.csv: a line of start times, a line of rates, then 1/64 g."""
        head = [[to_number(cell) for cell in self._cells(i + 1, lines[i])] for i in (0, 1) if i < len(lines)]
        if len(head) < 2 or any(len(row) != 3 or len(set(row)) > 1 or None in row for row in head):
            return False
        start, self.rate_hz = head[0][0] or 0.0, head[1][0]
        self.names = ["x (1/64 g)", "y (1/64 g)", "z (1/64 g)"]
        self._skip = 2
        return start > 1e9 and 1 <= (self.rate_hz or 0) <= 512

    def _units_row(self, cells: list[str]) -> list[str] | None:
        """The units below the names, one a cell, if the first row holds units and not samples."""
        words = [cell.strip().strip("[]()") for cell in cells]
        if len(words) != len(self.names) or not any(words) or any(len(word) > 16 for word in words):
            return None
        units = all(not word or (to_number(word) is None and (word[0].isalpha() or word[0] in "°µ%")) for word in words)
        return words if units else None

    def _kind(self, cell: str) -> Kind:
        if not cell.strip() or to_number(self._point(cell)) is not None:
            return "number"
        return "text" if to_seconds(cell) is None else "datetime"

    def _point(self, cell: str) -> str:
        return cell.replace(",", ".") if self._decimal_comma else cell

    def _cells(self, number: int, line: str, truncated: bool = False) -> list[str]:
        try:
            return next(self._reader([line], strict=not truncated), [])
        except csv.Error as error:
            raise DataError(f"{self.path}, line {number}: {error}") from None

    def _reader(self, lines: Sequence[str], strict: bool = True) -> Iterator[list[str]]:
        padded = self._delimiter == " "
        lines = [line.strip() for line in lines] if padded else lines
        return csv.reader(lines, delimiter=self._delimiter, strict=strict, skipinitialspace=padded)

    def _lines(self, size: int) -> Generator[tuple[int, list[str], bool], None, None]:
        """Yield (number of the first line, lines, whether the last line of the block was ended by a newline)."""
        rest, first = b"", 1
        for data in self._bytes(size):
            rest += data
            # A carriage return at the very end may be the first half of a line end.
            end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1
            lines = _decode(rest[:end]).split("\n")[:-1]
            if len(rest) - end > MAX_LINE_BYTES or any(len(line) > MAX_LINE_BYTES for line in lines):
                raise DataError(
                    f"{self.path}, near line {first + len(lines)}: a line is longer than "
                    f"{MAX_LINE_BYTES >> 20} MB: not a table of samples"
                )
            if lines:
                yield first, lines, True
            rest, first = rest[end:], first + len(lines)
        if rest:
            yield first, [_decode(rest).rstrip("\n")], rest.endswith(b"\r")

    def _bytes(self, size: int) -> Iterator[bytes]:
        """The (uncompressed) content in pieces of at most `size` bytes; a truncated gzip stream adds a note."""
        try:
            with self.path.open("rb") as raw:
                file: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if self._gzipped else raw
                first, decoder = True, None
                while data := file.read1(size) if isinstance(file, gzip.GzipFile) else file.read(size):
                    if first and data[:2] in UTF_16:
                        decoder = codecs.getincrementaldecoder(UTF_16[data[:2]])("replace")
                        data = data[2:]
                    data = decoder.decode(data).encode("utf-8") if decoder else data
                    yield data.removeprefix(b"\xef\xbb\xbf") if first else data
                    first = False
        except EOFError:
            self.notes.append(f"{self.path.name} ends early: the compressed stream is cut off")
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{self.path} is damaged: {error}") from None
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from None

    def _rows(self, first: int, lines: list[str], complete: bool) -> tuple[Sequence[int], list[list[str]]]:
        """Line numbers and cells of the rows of a block, as wide as the header; an incomplete last line is dropped."""
        width = len(self.names)
        try:
            rows = list(self._reader(lines))
        except csv.Error:
            rows = []  # found again below, with its line number
        if len(rows) == len(lines) and complete and all(len(row) == width for row in rows):
            return range(first, first + len(rows)), rows
        at, rows = [], []
        last = first + len(lines) - 1
        for number, line in enumerate(lines, first):
            truncated = number == last and not complete
            row = self._cells(number, line, truncated)
            if len(row) > width and not any(row[width:]):
                row = row[:width]  # some loggers end every row with a delimiter
            if truncated and (self._whole_lines or len(row) < width):
                self.notes.append(f"{self.path.name}, line {number}: the last line is incomplete and was skipped")
            elif len(row) == width:
                at.append(number)
                rows.append(row)
            elif line.strip():
                raise DataError(f"{self.path}, line {number}: {len(row)} cells, but the header has {width}")
            else:
                self._blank += 1
        return at, rows

    def _numbers(self, at: Sequence[int], rows: list[list[str]], columns: Sequence[int]) -> F64:
        if not self._decimal_comma and all(self.kinds[i] == "number" for i in columns):
            with suppress(ValueError):
                return np.array([[row[i] for i in columns] for row in rows], np.float64)
        return np.array([self._row(number, row, columns) for number, row in zip(at, rows, strict=True)], np.float64)

    def _row(self, number: int, row: list[str], columns: Sequence[int]) -> list[float]:
        """One row, cell by cell: an empty cell is NaN, any other must be a number (or a date and time)."""
        values = []
        for i in columns:
            cell = row[i].strip()
            value = to_seconds(cell) if self.kinds[i] == "datetime" else to_number(self._point(cell))
            if value is None and cell:
                kind = "a date and time" if self.kinds[i] == "datetime" else "a number"
                raise DataError(f"{self.path}, line {number}: {cell[:40]!r} in column {self.names[i]!r} is not {kind}")
            values.append(float("nan") if value is None else value)
        return values


class ParquetTable:
    """A Parquet file, read batch by batch with pyarrow (extra `parquet`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rate_hz: float | None = None
        self.notes: list[str] = []
        self._arrow = require_extra("pyarrow", "parquet")
        self._parquet = require_extra("pyarrow.parquet", "parquet")
        with self._parser(), self._open() as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            self.names = [str(name) for name in schema.names]
            self.kinds = [self._kind(kind) for kind in schema.types]
            words = [i for i, kind in enumerate(schema.types) if self._arrow.types.is_string(kind)]
            first = next(file.iter_batches(1, columns=[self.names[i] for i in words]), None) if rows and words else None
        self._dates = {
            i for i in words if first is not None and to_seconds(str(first.column(self.names[i])[0])) is not None
        }
        self.kinds = ["datetime" if i in self._dates else kind for i, kind in enumerate(self.kinds)]
        if not rows:
            raise DataError(f"{path} holds no samples")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"{path} has several columns of one name: {', '.join(self.names)[:200]}")

    def blocks(self, numbers: Sequence[int], text: int | None, size: int) -> Generator[Block, None, None]:
        """See `Table.blocks`. Raises `DataError` where the file is damaged or a column holds no numbers."""
        wanted = [*dict.fromkeys([*numbers, *([] if text is None else [text])])]
        row = 0
        with self._parser():
            file = self._open()
            # By name, as an index would count the leaves of nested columns.
            batches = file.iter_batches(max(1, size // (8 * len(wanted))), columns=[self.names[i] for i in wanted])
        with file:
            while True:
                with self._parser():
                    batch = next(batches, None)
                    if batch is None:
                        return
                    columns = [self._floats(batch.column(self.names[i]), i) for i in numbers]
                    label = None if text is None else batch.column(self.names[text]).to_pylist()
                    words = None if label is None else ["" if cell is None else str(cell) for cell in label]
                yield Block(np.stack(columns, 1), words, range(row + 1, row + 1 + len(columns[0])))
                row += len(columns[0])

    def _open(self) -> Any:
        # Buffered, so that a column of a row group need not fit in memory.
        return self._parquet.ParquetFile(self.path, buffer_size=1 << 20)

    @contextmanager
    def _parser(self) -> Iterator[None]:
        """Turn errors into `DataError`: for damaged files pyarrow raises its own and those of Python's decoding."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.path} is not a readable Parquet file: {reason[:120]}") from None

    def _kind(self, kind: Any) -> Kind:
        if self._arrow.types.is_timestamp(kind):
            return "datetime"
        is_number = self._arrow.types.is_integer(kind) or self._arrow.types.is_floating(kind)
        return "number" if is_number or self._arrow.types.is_decimal(kind) else "text"

    def _floats(self, column: Any, i: int) -> F64:
        """(n,) float64; null is NaN, a timestamp seconds since 1970."""
        if self.kinds[i] == "text":
            raise DataError(f"{self.path}: column {self.names[i]!r} holds {column.type}, not numbers")
        scale = 1.0
        if i in self._dates:
            return np.array([to_seconds(cell or "") or np.nan for cell in column.to_pylist()], np.float64)
        if self.kinds[i] == "datetime":
            scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[column.type.unit]
            column = column.cast(self._arrow.int64())
        column = column.cast(self._arrow.float64(), safe=False)
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64) * scale


def _delimiter(line: str) -> str:
    """Comma, semicolon or tab, whichever there is most of; else spaces."""
    return max(",;\t", key=line.count) if any(mark in line for mark in ",;\t") else " " if " " in line.strip() else ","


def _decode(data: bytes) -> str:
    """Text with newlines as line ends; UTF-8, or else Latin-1 (older loggers' degree sign)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
