"""Tables in which several sensors share the rows, each with times of its own, as tables with a row per acceleration.

Loggers write them in two forms: one below the other with a column that names the sensor ("type"), or side by side with
the cells of the other sensor empty (an outer join). A row of the result is one of the accelerometer, with the last
values of the gyroscope before it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np

from mujo_edge.core import F64, DataError
from mujo_edge.recordings.table import Block, Table

SENSOR_COLUMNS = ("type", "sensor", "sensortype", "sensorname", "sensorid", "source", "stream", "kind", "measurement")
"""Names, without punctuation, of columns that say which sensor a row is of."""

SENSORS = (
    ("other", re.compile(r"linear|gravity|user|uncal", re.I)),
    ("acc", re.compile(r"acc|^a$", re.I)),
    ("gyro", re.compile(r"gyr|rotation|^g$|^w$", re.I)),
)
"""What a cell of such a column says; anything else is another sensor."""

PROBE_BYTES = 1 << 16


def sensor_of(cell: str) -> str:
    """acc, gyro or other."""
    return next((name for name, pattern in SENSORS if pattern.search(cell)), "other")


def separated(table: Table, acc: Sequence[int], gyro: Sequence[int]) -> Table:
    """`table`, or the rows of its accelerometer if other sensors have rows of their own.

    `acc` and `gyro` are the columns as their names say; () if there is no gyroscope.
    Raises `DataError` if a column names several sensors, none of which is an accelerometer.
    """
    names = [re.sub(r"[\W_]+", "", name.lower()) for name in table.names]
    column = next((i for i, name in enumerate(names) if name in SENSOR_COLUMNS and table.kinds[i] == "text"), None)
    with closing(table.blocks([*acc, *gyro], column, PROBE_BYTES)) as blocks:
        first = next(blocks, None)
    if first is None:
        return table
    if column is not None and first.text is not None:
        sensor = np.array([sensor_of(cell) for cell in first.text])
        if (sensor == sensor[0]).all():
            return table
        if "acc" not in sensor:
            listed = ", ".join(repr(cell[:20]) for cell in sorted(set(first.text))[:6])
            raise DataError(
                f"column {table.names[column]!r} names several sensors ({listed}), none of which is an accelerometer"
            )
        is_gyro = sensor == "gyro"
        start = first.numbers[is_gyro, :3][:1]
        return SensorRows(table, column, tuple(acc), tuple(acc) if len(start) else (), start)
    empty = np.isnan(first.numbers[:, :3]).all(1)
    if not gyro or not 0.2 < empty.mean() < 1 or np.isnan(first.numbers[~empty, 3:6]).all(1).mean() < 0.8:
        return table
    return SensorRows(table, None, tuple(acc), tuple(gyro), first.numbers[empty, 3:6][:1])


class SensorRows:
    """The accelerometer's rows of a table, see `separated`.

    With a column `by` that names the sensor, all have the columns `acc`, and three more are added for the gyroscope:
    "gyro_x", "gyro_y" and "gyro_z". Without, its columns are `gyro`. `start` (1, 3) are its first values.
    """

    def __init__(self, table: Table, by: int | None, acc: tuple[int, ...], gyro: tuple[int, ...], start: F64) -> None:
        self.path, self.rate_hz, self.notes = table.path, table.rate_hz, table.notes
        self._table, self._by, self._acc, self._gyro, self._start = table, by, acc, gyro, start
        self.names, self.kinds = [*table.names], [*table.kinds]
        self._held = gyro
        if by is not None and gyro:
            self._held = tuple(range(len(self.names), len(self.names) + 3))
            self.names += ["gyro_x", "gyro_y", "gyro_z"]
            self.kinds += ["number"] * 3
        how = "have rows of their own" if by is None else f"are told apart by column {table.names[by]!r}"
        beside = "; each has the gyroscope's last values" if gyro else ""
        self.note = f"sensors {how}: the accelerometer's rows were taken{beside}"

    def blocks(self, numbers: Sequence[int], text: int | None, size: int) -> Generator[Block, None, None]:
        """See `Table.blocks`. Labels are read only where no column names the sensor."""
        own = [i for i in numbers if i not in self._held]
        last = self._start
        source = self._table.blocks([*self._acc, *self._gyro, *own], text if self._by is None else self._by, size)
        with closing(source) as blocks:
            for block in blocks:
                words = block.text or []
                acc, gyro = block.numbers[:, :3], block.numbers[:, 3 : 3 + len(self._gyro)]
                if self._by is None:
                    is_acc, is_gyro = ~np.isnan(acc).all(1), ~np.isnan(gyro).all(1)
                else:
                    sensor = np.array([sensor_of(cell) for cell in words])
                    is_acc, is_gyro = sensor == "acc", sensor == "gyro"
                rows = np.flatnonzero(is_acc)
                columns = dict(zip(own, block.numbers[rows, 3 + len(self._gyro) :].T, strict=True))
                if self._gyro:
                    values = np.concatenate([last, gyro[is_gyro]])
                    columns |= dict(zip(self._held, values[np.cumsum(is_gyro)[rows]].T, strict=True))
                    last = values[-1:]
                if len(rows):
                    labels = [words[i] for i in rows.tolist()] if text is not None and self._by is None else None
                    at = [block.rows[i] for i in rows.tolist()]
                    yield Block(np.stack([columns[i] for i in numbers], 1), labels, at)
