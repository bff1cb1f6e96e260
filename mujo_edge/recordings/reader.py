"""Recordings on disk, read back as chunks in SI units: session folders, CSV and Parquet files."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Protocol

import numpy as np

from mujo_edge.core import CHANNELS, F64, Chunk, DataError, StreamInfo, UsageError
from mujo_edge.recordings import session
from mujo_edge.recordings.columns import ColumnData, even_rate_hz, find_units, understand
from mujo_edge.recordings.table import CsvTable, open_table

BLOCK_BYTES = 1 << 16
_PROBE_ROWS = 8192


class Recording(Protocol):
    """A recording on disk.

    `info.rate_hz` is nominal: from session.json, else from the time column, None if it jitters. `notes` lists
    assumptions, omissions and damage; reading to the end may add to it.
    """

    path: Path
    info: StreamInfo
    notes: list[str]

    def chunks(self, block_bytes: int = BLOCK_BYTES) -> Generator[Chunk, None, None]:
        """All samples in order, in chunks as large as the blocks; `received_s` is 0.

        A sample before which others are known to be lost begins a chunk. Numbers that are not finite and
        times that step back are passed on; `mujo_edge.gaps` counts them.
        Raises `DataError` at the first row that cannot be read.
        """
        ...


def open_recording(path: Path, rate_hz: float | None = None) -> Recording:
    """Open a session folder, a CSV (.csv, .csv.gz) or a Parquet file.

    Args:
        path: of the folder or file.
        rate_hz: sample rate of a file that has no time column.

    Raises:
        UsageError: no such file; `rate_hz` is missing, not positive, or superfluous.
        DataError: not a readable recording; the message says why.
    """
    if rate_hz is not None and not (isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"--rate must be a positive number of samples per second, not {rate_hz:g}")
    if not path.is_dir():
        return FileRecording(path, rate_hz)
    if rate_hz is not None:
        raise UsageError(f"{path} is a session folder and has times: leave --rate out")
    return SessionRecording(path)


class SessionRecording:
    """A session folder; `chunks` restores what was written, bit for bit (see `mujo_edge.recordings.session`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = session.load(path)
        self.info = self.session.info
        self.notes: list[str] = []
        if self.session.samples == 0 and (path / session.RAW_FILE).exists():
            raise DataError(f"{path} holds no samples, only bytes of the device. Play it with --decode-again")
        self._table = CsvTable(path / session.SAMPLES_FILE, whole_lines=True)
        expected = session.sample_columns(self.info.channels, annotated=False)
        self._annotated = self._table.names == [*expected, "label"]
        if not self._annotated and self._table.names != expected:
            raise DataError(
                f"{self._table.path} has the columns {', '.join(self._table.names)[:200]}; "
                f"by session.json they are {', '.join(expected)} and perhaps label"
            )
        self._table.kinds = ["number"] * len(self._table.names)

    def chunks(self, block_bytes: int = BLOCK_BYTES) -> Generator[Chunk, None, None]:
        """See `Recording.chunks`. Samples lost after the last one are counted in an empty last chunk."""
        width = len(self.info.channels)
        count = 0
        with closing(
            self._table.blocks(range(width + 2), width + 2 if self._annotated else None, block_bytes)
        ) as blocks:
            for block in blocks:
                t, lost = block.numbers[:, 0], block.numbers[:, -1]
                whole = (lost >= 0) & (lost < 1 << 53) & (lost == np.floor(lost))
                if not whole.all():
                    line = block.rows[int(np.argmin(whole))]
                    raise DataError(f"{self._table.path}, line {line}: lost is not a count")
                yield from _cut(t, block.numbers[:, 1:-1], lost, block.text)
                count += len(t)
        self._note(*self._table.notes)
        if self.session.samples is None:
            self._note("the recording was never closed; all that had been written is here")
        elif count != self.session.samples:
            self._note(f"{self._table.path} holds {count} samples of the {self.session.samples} that were recorded")
        if self.session.lost_at_end:
            truth = () if self._annotated else None
            yield Chunk(np.empty(0), np.empty((0, width), np.float32), 0.0, self.session.lost_at_end, truth)

    def _note(self, *notes: str) -> None:
        self.notes += [note for note in notes if note not in self.notes]


class FileRecording:
    """A CSV or Parquet file of the user; for names and units see `mujo_edge.recordings.columns`.

    Time begins at 0 with the first sample.
    """

    def __init__(self, path: Path, rate_hz: float | None = None) -> None:
        self.path = path
        self._table = open_table(path)
        with _with_file_name(path):
            layout = understand(self._table.names, self._table.kinds)
            if layout.time is None and rate_hz is None:
                raise UsageError("there is no time column; give the sample rate with --rate HZ")
            if layout.time is not None and rate_hz is not None:
                raise UsageError(f"there is a time column, {self._table.names[layout.time]!r}: leave --rate out")
        self._layout = layout
        time = () if layout.time is None else (layout.time,)
        self._columns = [*layout.acc, *layout.gravity, *layout.gyro, *time]
        first = self._first_rows()
        raw = self._raw(first)
        with _with_file_name(path):
            self._layout = find_units(layout, raw, rate_hz)
        self._origin = 0.0 if raw.t is None else float(next(iter(raw.t[np.isfinite(raw.t)]), 0.0))
        self._step_s = None if rate_hz is None else 1 / rate_hz
        self.notes = list(self._layout.notes)
        channels = CHANNELS if layout.gyro else CHANNELS[:3]
        self.info = StreamInfo(path.name, channels, rate_hz or even_rate_hz(self._times(raw.t, len(first), 0)))

    def chunks(self, block_bytes: int = BLOCK_BYTES) -> Generator[Chunk, None, None]:
        """See `Recording.chunks`."""
        count = 0
        layout = self._layout
        with closing(self._table.blocks(self._columns, layout.label, block_bytes)) as blocks:
            for block in blocks:
                n = len(block.numbers)
                raw = self._raw(block.numbers)
                x = raw.acc + raw.gravity if raw.gravity is not None and layout.linear else raw.acc
                x = x * (layout.acc_factor or 1.0)
                if raw.gyro is not None:
                    x = np.concatenate([x, raw.gyro * (layout.gyro_factor or 1.0)], 1)
                yield from _cut(self._times(raw.t, n, count), x, np.zeros(n), block.text)
                count += n
        self.notes += [note for note in self._table.notes if note not in self.notes]

    def _first_rows(self) -> F64:
        """The rows from which units and the nominal rate are inferred."""
        blocks: list[F64] = []
        with closing(self._table.blocks(self._columns, None, BLOCK_BYTES)) as table:
            for block in table:
                blocks.append(block.numbers)
                if sum(map(len, blocks)) >= _PROBE_ROWS:
                    break
        return np.concatenate(blocks)

    def _raw(self, numbers: F64) -> ColumnData:
        """Split rows that were read in the order of `_columns`."""
        layout = self._layout
        at = np.cumsum([3, len(layout.gravity), len(layout.gyro)]).tolist()
        return ColumnData(
            t=None if layout.time is None else numbers[:, -1],
            acc=numbers[:, : at[0]],
            gravity=numbers[:, at[0] : at[1]] if layout.gravity else None,
            gyro=numbers[:, at[1] : at[2]] if layout.gyro else None,
        )

    def _times(self, raw_t: F64 | None, n: int, before: int) -> F64:
        """Seconds since the first sample, for `n` rows after `before` others."""
        if raw_t is not None:
            return (raw_t - self._origin) * (self._layout.time_factor or 1.0)
        assert self._step_s is not None
        return np.arange(before, before + n, dtype=np.float64) * self._step_s


@contextmanager
def _with_file_name(path: Path) -> Iterator[None]:
    """Prefix error messages with the file's name."""
    try:
        yield
    except (DataError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from None


def _cut(t: F64, x: F64, lost: F64, truth: Sequence[str] | None) -> Iterator[Chunk]:
    """One chunk, or several where samples are known to be lost in between."""
    with np.errstate(over="ignore"):
        signal = x.astype(np.float32)
    for a, b in pairwise([0, *(np.flatnonzero(lost[1:]) + 1).tolist(), len(t)]):
        yield Chunk(t[a:b].copy(), signal[a:b], 0.0, int(lost[a]), None if truth is None else tuple(truth[a:b]))
