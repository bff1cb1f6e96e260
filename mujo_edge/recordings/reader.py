"""Recordings on disk, read back as chunks in SI units: session folders, CSV and Parquet files."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Protocol

import numpy as np

from mujo_edge.core import CHANNELS, F64, Chunk, DataError, StreamInfo, UsageError
from mujo_edge.recordings import session
from mujo_edge.recordings.columns import ColumnData, even_rate_hz, find_units, understand
from mujo_edge.recordings.evidence import other_sensor
from mujo_edge.recordings.interleaved import SensorRows, separated
from mujo_edge.recordings.table import CsvTable, Table, open_table
from mujo_edge.recordings.times import Spread, counts_rows, is_coarse, spread
from mujo_edge.recordings.units import NOTHING, Answers

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


def open_recording(path: Path, rate_hz: float | None = None, answers: Answers = NOTHING) -> Recording:
    """Open a session folder, a CSV (.csv, .csv.gz) or a Parquet file.

    Args:
        path: of the folder or file.
        rate_hz: sample rate of a file that has no times, or only coarse ones.
        answers: what is known about the columns of a file.

    Raises:
        UsageError: no such file; `rate_hz` is missing, not positive, or superfluous.
        DataError: not a readable recording; the message says why.
    """
    if rate_hz is not None and not (isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"--rate must be a positive number of samples per second, not {rate_hz:g}")
    if not path.is_dir():
        return FileRecording(path, rate_hz, answers)
    if rate_hz is not None:
        raise UsageError(f"{path} is a session folder and has times: leave --rate out")
    if answers != NOTHING:
        raise UsageError(
            f"{path} is a session folder and has names and units: leave --columns, --units, --time-unit and --sign out"
        )
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

    def __init__(self, path: Path, rate_hz: float | None = None, answers: Answers = NOTHING) -> None:
        self.path = path
        with _with_file_name(path):
            self._table = named(open_table(path), answers.columns)
            layout = understand(self._table.names, self._table.kinds)
            if layout.bare and not answers.columns and (what := other_sensor(path.name.split(".")[0])):
                raise DataError(
                    f"the file's name says that it holds {what}, and its columns are only x, y and z.\n"
                    "If it is an accelerometer with gravity, name the columns: --columns t_s,ax_g,ay_g,az_g"
                )
            self._table = separated(self._table, layout.acc, layout.gyro)
            if isinstance(self._table, SensorRows):
                layout = understand(self._table.names, self._table.kinds)
            if layout.time is None:
                rate_hz = rate_hz or self._table.rate_hz
                if rate_hz is None:
                    raise UsageError(_without_time(self._table))
        self._layout, self._coarse = layout, False
        time = () if layout.time is None else (layout.time,)
        self._columns = [*layout.acc, *layout.gravity, *layout.gyro, *time]
        first = self._first_rows()
        raw = self._raw(first)
        with _with_file_name(path):
            if layout.time is not None and raw.t is not None:
                raw, rate_hz, answers = self._judge_times(raw, rate_hz, answers, layout.time_factor)
            self._layout = find_units(layout, raw, rate_hz, answers)
        self._origin = 0.0 if raw.t is None else float(next(iter(raw.t[np.isfinite(raw.t)]), 0.0))
        self._step_s = None if rate_hz is None else 1 / rate_hz
        self.notes = [*self._layout.notes]
        if isinstance(self._table, SensorRows):
            self.notes.append(self._table.note)
        self._spread: Spread | None = None
        if self._coarse:
            factor = self._layout.time_factor or 1.0
            self._spread = spread(
                ((block - self._origin) * factor for block in self._stamps()), self._step_s if rate_hz else None
            )
            rate_hz = rate_hz or float(f"{1 / self._spread.period_s:.4g}")
            self.notes.append(
                f"{self._spread.pack:g} samples share a stamp: they were spread back evenly, at {rate_hz:g} Hz "
                "(--rate HZ overrules it)"
            )
        elif layout.time is None and self._table.rate_hz == rate_hz:
            self.notes.append(f"{rate_hz:g} Hz, as the file states above its samples")
        channels = CHANNELS if layout.gyro else CHANNELS[:3]
        self.info = StreamInfo(path.name, channels, rate_hz or even_rate_hz(self._times(raw.t, len(first), 0)))

    def _judge_times(
        self, raw: ColumnData, rate_hz: float | None, answers: Answers, factor: float | None
    ) -> tuple[ColumnData, float | None, Answers]:
        """Columns that only count, and stamps that several samples share; sets `_coarse`.

        The result has the times from which the unit is inferred: with coarse stamps those of the first rows, spread.
        """
        assert raw.t is not None
        assert self._layout.time is not None
        name = self._table.names[self._layout.time]
        self._coarse = is_coarse(raw.t, raw.acc)
        if not self._coarse and counts_rows(raw.t) and (factor or answers.time) is None and self._is_number:
            rate_hz = rate_hz or self._table.rate_hz
            if rate_hz is None:
                raise DataError(
                    f"column {name!r} only counts rows (0, 1, 2, ...), which is no clock. Give the sample rate with "
                    "--rate HZ, or the unit with --time-unit ms"
                )
            return raw, None, replace(answers, time=1 / rate_hz)
        if self._coarse:
            even = spread([raw.t])
            raw = replace(raw, t=even.at(0, len(raw.t)))
            return raw, rate_hz, answers
        if rate_hz is not None:
            raise UsageError(f"there is a time column, {name!r}: leave --rate out")
        return raw, None, answers

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

    @property
    def _is_number(self) -> bool:
        return self._layout.time is not None and self._table.kinds[self._layout.time] == "number"

    def _stamps(self) -> Iterator[F64]:
        """The time column of the whole file, block by block."""
        assert self._layout.time is not None
        with closing(self._table.blocks([self._layout.time], None, 1 << 18)) as blocks:
            for block in blocks:
                yield block.numbers[:, 0]

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
        if self._spread is not None:
            return self._spread.at(before, n)
        if raw_t is not None:
            return (raw_t - self._origin) * (self._layout.time_factor or 1.0)
        assert self._step_s is not None
        return np.arange(before, before + n, dtype=np.float64) * self._step_s


def named(table: Table, columns: tuple[str, ...] | None) -> Table:
    """`table` with the user's names. Raises `UsageError` if there are not as many, `DataError` if names are needed."""
    if columns is not None:
        if len(columns) != len(table.names):
            raise UsageError(f"it has {len(table.names)} columns, and --columns names {len(columns)}")
        table.names = [*columns]
    elif getattr(table, "headless", False):
        raise DataError(
            f"there is no header line. Name the {len(table.names)} columns with --columns, for example "
            f"{','.join(EXAMPLES.get(len(table.names), EXAMPLES[4]))}"
        )
    return table


EXAMPLES = {
    3: ("ax_g", "ay_g", "az_g"),
    4: ("t_s", "ax_g", "ay_g", "az_g"),
    6: ("ax_g", "ay_g", "az_g", "gx_deg_s", "gy_deg_s", "gz_deg_s"),
    7: ("t_s", "ax_g", "ay_g", "az_g", "gx_deg_s", "gy_deg_s", "gz_deg_s"),
}
"""Examples of names, by the number of columns."""


def _without_time(table: Table) -> str:
    """What to do about a table without a column of times."""
    known = re.compile(r"time|date|stamp|clock|epoch|zeit|temps|tiempo|hora|sec|时间", re.I)
    for name, kind in zip(table.names, table.kinds, strict=True):
        if known.search(name):
            what = "text that is no date and time" if kind == "text" else f"{kind}s"
            return (
                f"column {name[:40]!r} was not understood as time: it holds {what}. Rename it to timestamp, with "
                "--columns or in the file; without times, give the sample rate with --rate HZ"
            )
    return "there is no time column; give the sample rate with --rate HZ"


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
