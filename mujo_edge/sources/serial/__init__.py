"""A board at a serial port: its format is detected, and it may be unplugged and plugged in again."""

from __future__ import annotations

import asyncio
import logging
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
from mujo_edge.recordings.times import counts_rows
from mujo_edge.recordings.units import NOTHING, Answers
from mujo_edge.signal import DEFAULT_INPUT
from mujo_edge.sources.connections import SerialConnection, split_connections
from mujo_edge.sources.live import Assembler, PayloadQueue, stream_info
from mujo_edge.sources.serial.port import Port

logger = logging.getLogger(__name__)

BAUDS = (9600, 57600, 115200, 230400, 460800, 921600)
"""Common bit rates, suggested in error messages."""

SILENCE_S = 6.0
"""Seconds of silence after opening the port that are an error; a board that resets takes up to 3 s."""

NONSENSE_S = 4.0
"""Seconds of undecodable bytes that are an error at the start, and shown as the status later."""

PROBE_S, PROBE_ROWS = 2.0, 50
"""Seconds and lines needed to infer units that are not stated."""

NAMED_ROWS = 25
"""Lines needed to check units that are stated."""

PATIENCE_S = 12.0
"""Seconds of lines after which units that cannot be inferred are an error."""

COUNTER_FACTOR = 1.5
"""Factor by which the measured rate may differ from the one that a column of times means."""

USUAL = {
    3: ("ax", "ay", "az"),
    4: ("t", "ax", "ay", "az"),
    6: ("ax", "ay", "az", "gx", "gy", "gz"),
    7: ("t", "ax", "ay", "az", "gx", "gy", "gz"),
    9: ("ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz"),
    10: ("t", "ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz"),
}
"""Assumed columns by the number of values in a line, if neither the user nor the board names them."""

EXAMPLE = "--columns t_ms,ax_g,ay_g,az_g,gx_deg_s,gy_deg_s,gz_deg_s"
"""Example for error messages."""


class SerialSource:
    """A `Source` that reads a serial port: lines of numbers, WitMotion's frames or mujo-edge's own packets.

    Args:
        port: its name, a pyserial URL (socket://, rfc2217://, ...), or "auto" for the only USB port there is.
        baud: bits per second.
        rate_hz: nominal rate of a board without a clock; None to measure it.
        columns: comma-separated names of the values in a line, as in `docs/recordings.md`.
        answers: what else is known about them.

    Entering raises `DeviceError` if the port cannot be opened or stays silent, `DataError` if its bytes cannot be
    decoded, `UsageError` if the call is wrong. A port that is unplugged afterwards is waited for.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = 115200,
        rate_hz: float | None = None,
        columns: str | None = None,
        answers: Answers = NOTHING,
    ) -> None:
        if baud <= 0:
            raise UsageError(f"--baud {baud}: give bits per second, such as {BAUDS[2]}")
        if rate_hz is not None and not (isfinite(rate_hz) and rate_hz > 0):
            raise UsageError(f"--rate must be a positive number of samples per second, not {rate_hz:g}")
        self._columns = tuple(name.strip() for name in columns.split(",")) if columns is not None else None
        if self._columns:
            try:
                names.understand(self._columns, ["number"] * len(self._columns))
            except DataError as error:
                raise UsageError(f"--columns: {error}") from None
        self._answers = answers
        self.notes: list[str] = []
        self._asked, self._baud, self._rate_hz = port, baud, rate_hz
        self._queue = PayloadQueue()
        self._port: Port | None = None
        self._format: SerialFormat | None = None
        self._info: StreamInfo | None = None
        self._waiting: list[Payload] = []
        self._decoder: Decoder | None = None
        self._decoded_s = 0.0

    @property
    def info(self) -> StreamInfo:
        """Known once the source was entered."""
        assert self._info is not None, "enter the source first"
        return self._info

    @property
    def status(self) -> str:
        """Reason for waiting: the port, its format, or bytes that can be decoded."""
        if self._port is None:
            return ""
        if self._port.status or self._format is None:
            return self._port.status or f"detecting the format of {self._port.name}; move the board around"
        now = monotonic()
        if (silent_s := now - self._port.received_s) > NONSENSE_S / 2:
            return f"nothing from {self._port.name} for {silent_s:.0f} s"
        if now - self._decoded_s > NONSENSE_S and self._decoder:
            return f"the bytes from {self._port.name} cannot be decoded: {self._decoder.why}"
        return ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._port = Port(self._asked, self._baud, loop, self._queue.put)
        try:
            await self._port.open()
            self._format = await self._listen()
        except BaseException:
            await self._port.close()
            raise
        self._port.is_lines = self._format.protocol == "csv"
        logger.info("%s sends %s", self._port.title, self._format)
        self._decoder = self._connection().decoder()
        self._info = stream_info(self._port.title, self._decoder.format)
        self._decoded_s = monotonic()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._port:
            await self._port.close()

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Samples until canceled. Raises `DeviceError` when the board reports a failure."""
        assert self._decoder is not None
        assert self._port is not None
        assembler = Assembler(self._decoder)
        payloads, self._waiting = self._waiting, []
        opened = False
        while True:
            for part in split_connections(payloads):
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
            payloads = await self._queue.take()

    def _connection(self) -> SerialConnection:
        """The current connection; the port may have another name than before."""
        assert self._format is not None
        assert self._port is not None
        return SerialConnection(self._port.name, self._baud, self._format)

    async def _listen(self) -> SerialFormat:
        """Wait until the format is certain; the payloads received meanwhile stay in `_waiting`."""
        assert self._port is not None
        name, detector = self._port.name, Detector()
        began_s, first_s = monotonic(), None
        while True:
            try:
                async with asyncio.timeout(0.25):
                    payloads = await self._queue.take()
            except TimeoutError:
                payloads = []
            self._waiting += payloads
            now = monotonic()
            for payload in payloads:
                if payload.kind == "close":
                    raise DeviceError(f"{name} was unplugged while it was opened. Plug the board in and start again.")
                if payload.kind == "data":
                    first_s = now if first_s is None else first_s
                    detector.feed(payload.data)
            if detector.failed:
                raise _gave_up(name, detector.failed)
            if detected := detector.result:
                if detected.protocol == "csv":
                    lines = self._lines(detected, since_s=now - (first_s or now))
                    if lines:
                        return lines
                elif self._columns:
                    raise UsageError(
                        f"{name} sends {detected.protocol} frames, not lines of numbers: leave --columns out"
                    )
                else:
                    return SerialFormat(
                        detected.protocol, detected.gyroscope, self._rate_hz, device_model=detected.device_model
                    )
            elif first_s is not None and now - first_s > NONSENSE_S:
                raise self._nonsense(name)
            elif first_s is None and now - began_s > SILENCE_S:
                raise DeviceError(
                    f"no bytes from {name} at {self._baud} baud. Is the board powered, its sketch running, and "
                    "this the right port? Try another --baud."
                )

    def _nonsense(self, name: str) -> DataError:
        data = b"".join(payload.data for payload in self._waiting if payload.kind == "data")
        line = data.splitlines()[-2].decode("ascii", "replace") if data.count(b"\n") > 1 else ""
        if line.isascii() and line.isprintable() and line:
            return DataError(
                f"{name} sends text, but not lines of numbers of equal length: {line[:60]!r}\n"
                "Let the board print only numbers, separated by commas, one line per sample."
            )
        others = ", ".join(str(baud) for baud in BAUDS if baud != self._baud)
        return DataError(
            f"{name} sends bytes that cannot be decoded at {self._baud} baud: {data[-24:].hex(' ')}\n"
            f"Try --baud with one of {others}. Supported: lines of numbers, WitMotion's frames, mujo-edge's packets."
        )

    def _lines(self, detected: DetectedFormat, since_s: float) -> SerialFormat | None:
        """The format of lines of numbers; None while there are too few of them."""
        assert self._port is not None
        table, rate_hz = _table(self._waiting, detected.width)
        chosen, notes = self._names(detected)
        layout = names.understand(chosen, ["number"] * detected.width)
        stated = None not in (layout.acc_factor, layout.gyro_factor if layout.gyro else 1.0)
        patient = since_s > PATIENCE_S
        enough = len(table) >= NAMED_ROWS if stated else len(table) >= PROBE_ROWS and since_s >= PROBE_S
        if not len(table) or not (enough or patient):
            return None
        try:
            acc_only = [name if i not in layout.gyro else "" for i, name in enumerate(chosen)]
            columns, inferred = columns_of(acc_only, table, rate_hz, detected.header, self._answers)
            if layout.gyro:
                try:
                    columns, inferred = columns_of(chosen, table, rate_hz, detected.header, self._answers)
                except DataError:
                    if not patient:
                        return None  # the accelerometer is understood: wait until the board is turned
                    raise
        except DataError as error:
            raise DataError(f"{self._port.name}: {error}\nName the columns of its lines: {EXAMPLE}") from None
        self.notes += [*notes, *inferred]
        return SerialFormat("csv", bool(columns.gyro), self._rate_hz, columns)

    def _names(self, detected: DetectedFormat) -> tuple[Sequence[str], list[str]]:
        """Names of the columns, from the user, the board's header or their number; and notes for the user."""
        assert self._port is not None
        if self._columns:
            if len(self._columns) != detected.width:
                raise UsageError(
                    f"{self._port.name} sends lines of {detected.width} numbers; --columns names {len(self._columns)}"
                )
            return self._columns, []
        notes = []
        if detected.header:
            header = [cell.decode() for cell in cells(detected.header.encode())]
            try:
                names.understand(header, ["number"] * detected.width)
            except DataError:
                notes.append(f"the line {detected.header[:60]!r} before the numbers names no known columns")
            else:
                return header, [f"columns from the board's own header: {detected.header[:80]}"]
        if detected.width not in USUAL:
            raise DataError(
                f"{self._port.name} sends lines of {detected.width} numbers without naming them.\nName them: {EXAMPLE}"
            )
        usual = USUAL[detected.width]
        return usual, [*notes, f"lines of {detected.width} numbers are taken as {' '.join(usual)}"]


def columns_of(
    chosen: Sequence[str], table: F64, rate_hz: float, header: str = "", answers: Answers = NOTHING
) -> tuple[Columns, tuple[str, ...]]:
    """Columns and units of lines of numbers, and notes for the user on how they were inferred.

    Args:
        chosen: names of the columns, as `mujo_edge.recordings.columns` understands them.
        table: (n, k) the first lines.
        rate_hz: lines per second.
        header: the line that names the columns, if the board prints one.
        answers: of the user.

    Raises:
        DataError: no accelerometer, a unit that cannot be inferred, no gravity, or a time that does not increase.
    """
    layout = names.understand(chosen, ["number"] * len(chosen))
    t = None if layout.time is None else table[:, layout.time]
    if t is not None and not ((np.diff(t) >= 0).mean() > 0.9 and t[-1] != t[0]):
        raise DataError(f"column {chosen[layout.time or 0]!r} is not a time: it does not increase from line to line.")

    if t is not None and layout.time_factor is None and answers.time is None and counts_rows(t):
        # The lines arrive when they are measured: a counter of milliseconds would count to 1,000 in a second.
        if 1000 / COUNTER_FACTOR < rate_hz < 1000 * COUNTER_FACTOR:
            answers = replace(answers, time=1e-3)
        else:
            note = f"column {chosen[layout.time or 0]!r} counts lines and is no clock: times are those of arrival"
            t, layout = None, replace(layout, time=None, notes=(*layout.notes, note))

    def pick(indices: tuple[int, ...]) -> F64 | None:
        return table[:, list(indices)] if indices else None

    acc = table[:, list(layout.acc)]
    layout = names.find_units(
        layout, names.ColumnData(t, acc, pick(layout.gravity), pick(layout.gyro)), rate_hz, answers
    )
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


def _table(payloads: Sequence[Payload], width: int) -> tuple[F64, float]:
    """(n, width) the complete lines of `width` numbers, and their rate in Hz."""
    lines, rows, times = Splitter(b"\n"), [], []
    for payload in payloads:
        for line in lines.feed(payload.data) if payload.kind == "data" else ():
            row = numbers(line)
            if row and len(row) == width:
                rows.append(row)
                times.append(payload.received_s)
    rate_hz = (len(rows) - 1) / max(times[-1] - times[0], 0.1) if len(rows) > 1 else 0.0
    return np.array(rows[1:], np.float64).reshape(-1, width), rate_hz or DEFAULT_INPUT.rate_hz


def _gave_up(name: str, message: str) -> DeviceError:
    return DeviceError(
        f"the board at {name} reports a failure: {message!r}. Check its sensor and wiring, and reset it."
    )
