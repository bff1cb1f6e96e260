"""A board at a serial port: what it speaks is found out, and it may be unplugged and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from math import isfinite
from time import monotonic
from typing import Self

import numpy as np

from firmware_bridge.protocol.framing import Splitter
from firmware_bridge.serial import SerialFormat
from firmware_bridge.serial.detect import DetectedFormat, Detector
from firmware_bridge.serial.lines import Columns, LineDecoder, cells, numbers
from firmware_bridge.stream import Decoder
from mujo_edge.core import F64, Chunk, DataError, DeviceError, Payload, StreamInfo, UsageError
from mujo_edge.recordings import columns as names
from mujo_edge.signal import DEFAULT_INPUT
from mujo_edge.sources.connections import SerialConnection, split_connections
from mujo_edge.sources.live import Assembler, PayloadQueue, stream_info
from mujo_edge.sources.serial.port import Port

BAUDS = (9600, 57600, 115200, 230400, 460800, 921600)
"""What boards use, for advice."""

SILENCE_S = 6.0
"""A board that has said nothing for so long after its port was opened is given up; one that resets takes up to 3 s."""

NONSENSE_S = 4.0
"""Bytes of which nothing could be made for so long are an error at the start, and are told later on."""

PROBE_S, PROBE_ROWS = 2.0, 50
"""Lines from which units that nobody names are found."""

NAMED_ROWS = 25
"""Lines by which units that are named are checked."""

PATIENCE_S = 12.0
"""Units that cannot be told from the lines of so long a time are asked for."""

USUAL = {
    3: ("ax", "ay", "az"),
    4: ("t", "ax", "ay", "az"),
    6: ("ax", "ay", "az", "gx", "gy", "gz"),
    7: ("t", "ax", "ay", "az", "gx", "gy", "gz"),
    9: ("ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz"),
    10: ("t", "ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz"),
}
"""What lines of so many numbers hold when nobody says it."""

EXAMPLE = "--columns t_ms,ax_g,ay_g,az_g,gx_deg_s,gy_deg_s,gz_deg_s"


class SerialSource:
    """A `Source` that reads a serial port: lines of numbers, WitMotion's frames or mujo-edge's own packets.

    Args:
        port: its name, a pyserial URL (socket://, rfc2217://, ...), or "auto" for the only USB port there is.
        baud: bits a second.
        rate_hz: nominal rate of a board without a clock; None leaves it to be measured.
        columns: names of the values in a line, as `docs/recordings.md` has them, between commas.

    Entering raises `DeviceError` if the port cannot be had or stays silent, `DataError` if what comes cannot be
    understood, `UsageError` if the call is wrong. Afterwards a port that goes away is waited for.
    """

    def __init__(
        self, port: str, *, baud: int = 115200, rate_hz: float | None = None, columns: str | None = None
    ) -> None:
        if baud <= 0:
            raise UsageError(f"--baud {baud}: give bits a second, such as {BAUDS[2]}")
        if rate_hz is not None and not (isfinite(rate_hz) and rate_hz > 0):
            raise UsageError(f"--rate must be a positive number of samples a second, not {rate_hz:g}")
        self._columns = tuple(name.strip() for name in columns.split(",")) if columns is not None else None
        if self._columns:
            try:
                names.understand(self._columns, ["number"] * len(self._columns))
            except DataError as error:
                raise UsageError(f"--columns: {error}") from None
        self.notes: list[str] = []
        self._asked, self._baud, self._rate_hz = port, baud, rate_hz
        self._inlet = PayloadQueue()
        self._port: Port | None = None
        self._dialect: SerialFormat | None = None
        self._info: StreamInfo | None = None
        self._kept: list[Payload] = []
        self._decoder: Decoder | None = None
        self._decoded_s = 0.0

    @property
    def info(self) -> StreamInfo:
        """Known once the source was entered."""
        assert self._info is not None, "enter the source first"
        return self._info

    @property
    def status(self) -> str:
        """What is waited for: the port, its columns, or bytes that make sense."""
        if self._port is None:
            return ""
        if self._port.status or self._dialect is None:
            return self._port.status or f"finding out what {self._port.name} sends; move the board about"
        now = monotonic()
        if (silent_s := now - self._port.heard_s) > NONSENSE_S / 2:
            return f"nothing has come from {self._port.name} for {silent_s:.0f} s"
        if now - self._decoded_s > NONSENSE_S and self._decoder:
            return f"nothing of what {self._port.name} sends can be decoded: {self._decoder.why}"
        return ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._port = Port(self._asked, self._baud, loop, self._inlet.put)
        try:
            await self._port.open()
            self._dialect = await self._listen()
        except BaseException:
            await self._port.close()
            raise
        self._port.is_lines = self._dialect.protocol == "csv"
        self._decoder = self._connection().decoder()
        self._info = stream_info(self._port.title, self._decoder.format)
        self._decoded_s = monotonic()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._port:
            await self._port.close()

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Samples until canceled. Raises `DeviceError` when the board says that it gives up."""
        assert self._decoder is not None
        assert self._port is not None
        assembler = Assembler(self._decoder)
        raws, self._kept = self._kept, []
        opened = False
        while True:
            for part in split_connections(raws):
                if part[0].kind == "open":
                    connection = self._connection()
                    part[0] = replace(part[0], data=connection.record())
                    if opened:
                        self._decoder = connection.decoder()
                        assembler.reopen(self._decoder)
                    opened = True
                for chunk in assembler.chunks(part):
                    if len(chunk.t_s) or chunk.predictions:
                        self._decoded_s = monotonic()
                    yield chunk
            if isinstance(self._decoder, LineDecoder) and self._decoder.failed:
                raise _gave_up(self._port.name, self._decoder.failed)
            raws = await self._inlet.take()

    def _connection(self) -> SerialConnection:
        """The present connection; its port may have another name than the one before."""
        assert self._dialect is not None
        assert self._port is not None
        return SerialConnection(self._port.name, self._baud, self._dialect)

    async def _listen(self) -> SerialFormat:
        """Wait until it is sure what the port speaks; the bytes up to there are kept for the stream."""
        assert self._port is not None
        name, detector = self._port.name, Detector()
        began_s, first_s = monotonic(), None
        while True:
            try:
                async with asyncio.timeout(0.25):
                    raws = await self._inlet.take()
            except TimeoutError:
                raws = []
            self._kept += raws
            now = monotonic()
            for raw in raws:
                if raw.kind == "close":
                    raise DeviceError(f"{name} went away while it was opened. Plug the board in and start again.")
                if raw.kind == "data":
                    first_s = now if first_s is None else first_s
                    detector.feed(raw.data)
            if detector.failed:
                raise _gave_up(name, detector.failed)
            if found := detector.found:
                if found.protocol == "csv":
                    dialect = self._lines(found, since_s=now - (first_s or now))
                    if dialect:
                        return dialect
                elif self._columns:
                    raise UsageError(f"{name} sends {found.protocol} frames, not lines of numbers: leave --columns out")
                else:
                    return SerialFormat(found.protocol, found.gyroscope, self._rate_hz, names=found.names)
            elif first_s is not None and now - first_s > NONSENSE_S:
                raise self._nonsense(name)
            elif first_s is None and now - began_s > SILENCE_S:
                raise DeviceError(
                    f"nothing comes from {name} at {self._baud} baud. Is the board powered, its sketch running, and "
                    "this the right port? Try another --baud."
                )

    def _nonsense(self, name: str) -> DataError:
        data = b"".join(raw.data for raw in self._kept if raw.kind == "data")
        line = data.splitlines()[-2].decode("ascii", "replace") if data.count(b"\n") > 1 else ""
        if line.isascii() and line.isprintable() and line:
            return DataError(
                f"{name} sends text, but no even lines of numbers: {line[:60]!r}\n"
                "Let the board print nothing but numbers with commas between them, one line a sample."
            )
        others = ", ".join(str(baud) for baud in BAUDS if baud != self._baud)
        return DataError(
            f"{name} sends bytes that make no sense at {self._baud} baud: {data[-24:].hex(' ')}\n"
            f"Try --baud with one of {others}. Known are lines of numbers, WitMotion's frames, and mujo-edge's packets."
        )

    def _lines(self, found: DetectedFormat, since_s: float) -> SerialFormat | None:
        """The columns of lines of numbers, None as long as there are too few of them."""
        assert self._port is not None
        table, rate_hz = _table(self._kept, found.width)
        chosen, notes = self._names(found)
        layout = names.understand(chosen, ["number"] * found.width)
        named = None not in (layout.acc_factor, layout.gyro_factor if layout.gyro else 1.0)
        patient = since_s > PATIENCE_S
        enough = len(table) >= NAMED_ROWS if named else len(table) >= PROBE_ROWS and since_s >= PROBE_S
        if not len(table) or not (enough or patient):
            return None
        try:
            without = [name if i not in layout.gyro else "" for i, name in enumerate(chosen)]
            columns, found_out = columns_of(without, table, rate_hz, found.header)
            if layout.gyro:
                try:
                    columns, found_out = columns_of(chosen, table, rate_hz, found.header)
                except DataError:
                    if not patient:
                        return None  # the accelerometer is right: wait until the board is turned
                    raise
        except DataError as error:
            raise DataError(f"{self._port.name}: {error}\nName the columns of its lines: {EXAMPLE}") from None
        self.notes += [*notes, *found_out]
        return SerialFormat("csv", bool(columns.gyro), self._rate_hz, columns)

    def _names(self, found: DetectedFormat) -> tuple[Sequence[str], list[str]]:
        """Names of the columns, by the user, the board's header or their number; and what to tell the user."""
        assert self._port is not None
        if self._columns:
            if len(self._columns) != found.width:
                raise UsageError(
                    f"{self._port.name} sends lines of {found.width} numbers; --columns names {len(self._columns)}"
                )
            return self._columns, []
        notes = []
        if found.header:
            header = [cell.decode() for cell in cells(found.header.encode())]
            try:
                names.understand(header, ["number"] * found.width)
            except DataError:
                notes.append(f"the line {found.header[:60]!r} before the numbers names no columns that are known")
            else:
                return header, [f"columns by the board's own header: {found.header[:80]}"]
        if found.width not in USUAL:
            raise DataError(
                f"{self._port.name} sends lines of {found.width} numbers, and does not say what they are.\n"
                f"Name them: {EXAMPLE}"
            )
        usual = USUAL[found.width]
        return usual, [*notes, f"lines of {found.width} numbers are taken for {' '.join(usual)}"]


def columns_of(chosen: Sequence[str], table: F64, rate_hz: float, header: str = "") -> tuple[Columns, tuple[str, ...]]:
    """Columns and units of lines of numbers, and what the user should know of how they were found.

    Args:
        chosen: names of the columns, as `sources.columns` understands them.
        table: (n, k) the first lines.
        rate_hz: at which they came.
        header: the line to which the names belong, if the board prints one.

    Raises:
        DataError: no accelerometer, a unit that cannot be told, gravity missing, or a time that does not increase.
    """
    layout = names.understand(chosen, ["number"] * len(chosen))
    t = None if layout.time is None else table[:, layout.time]
    if t is not None and not ((np.diff(t) >= 0).mean() > 0.9 and t[-1] != t[0]):
        raise DataError(f"column {chosen[layout.time or 0]!r} is no time: it does not increase from line to line.")

    def pick(indices: tuple[int, ...]) -> F64 | None:
        return table[:, list(indices)] if indices else None

    acc = table[:, list(layout.acc)]
    layout = names.find_units(layout, names.ColumnData(t, acc, pick(layout.gravity), pick(layout.gyro)), rate_hz)
    columns = Columns(
        count=len(chosen),
        acc=layout.acc,
        acc_factor=layout.acc_factor or 1.0,
        gravity=layout.gravity if layout.linear else (),
        gyro=layout.gyro,
        gyro_factor=layout.gyro_factor or 1.0,
        time=layout.time,
        time_factor=layout.time_factor or 1.0,
        header=header,
    )
    return columns, layout.notes


def _table(raws: Sequence[Payload], width: int) -> tuple[F64, float]:
    """(n, width) the whole lines of `width` numbers, and how many came a second."""
    lines, rows, times = Splitter(b"\n"), [], []
    for raw in raws:
        for line in lines.feed(raw.data) if raw.kind == "data" else ():
            row = numbers(line)
            if row and len(row) == width:
                rows.append(row)
                times.append(raw.received_s)
    rate_hz = (len(rows) - 1) / max(times[-1] - times[0], 0.1) if len(rows) > 1 else 0.0
    return np.array(rows[1:], np.float64).reshape(-1, width), rate_hz or DEFAULT_INPUT.rate_hz


def _gave_up(name: str, message: str) -> DeviceError:
    return DeviceError(f"the board at {name} gives up: {message!r}. Look at its sensor and wiring, and reset it.")
