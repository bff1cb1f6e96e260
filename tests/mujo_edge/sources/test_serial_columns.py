"""Meaning of lines of numbers: by name, by the board's header, or by their count and values."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.serial.lines import Columns, LineDecoder
from firmware_bridge.stream import DEG, F64, G
from mujo_edge.core import DataError
from mujo_edge.recordings.units import Answers
from mujo_edge.sources.serial import USUAL, columns_of

RNG = np.random.default_rng(0)


def turning(seconds: float = 4.0, rate_hz: float = 50.0) -> tuple[F64, F64]:
    """Acceleration in m/s2 and rate in rad/s of a sensor that turns about y by 0.8 rad, to and fro in two seconds."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    angle = 0.8 * np.sin(np.pi * t)
    acc = G * np.stack([-np.sin(angle), np.zeros_like(t), np.cos(angle)], 1)
    gyro = np.stack([np.zeros_like(t), 0.8 * np.pi * np.cos(np.pi * t), np.zeros_like(t)], 1)
    return acc + RNG.normal(0, 0.02, acc.shape), gyro + RNG.normal(0, 0.005, gyro.shape)


@pytest.mark.parametrize("acc_factor", [1.0, G, G / 1000])
@pytest.mark.parametrize("gyro_factor", [1.0, DEG])
@pytest.mark.parametrize("width", [6, 9])
def test_units_are_inferred(acc_factor: float, gyro_factor: float, width: int) -> None:
    acc, gyro = turning()
    table = np.concatenate([acc / acc_factor, gyro / gyro_factor, np.full((len(acc), width - 6), 40.0)], 1)
    columns, notes = columns_of(USUAL[width], table, 50.0)
    assert columns == Columns(
        width, (0, 1, 2), pytest.approx(acc_factor), gyro=(3, 4, 5), gyro_factor=pytest.approx(gyro_factor)
    )
    assert [note.split(" ")[0] for note in notes if "unit found" in note] == ["accelerometer", "gyroscope"]


@pytest.mark.parametrize(("unit", "step"), [(1.0, 0.02), (1e-3, 20.0), (1e-6, 20_000.0), (1e-9, 2e7)])
def test_extra_first_column_is_time(unit: float, step: float) -> None:
    acc, gyro = turning()
    t = 1e5 * step + np.arange(len(acc)) * step
    columns, _ = columns_of(USUAL[7], np.column_stack([t, acc, gyro]), 50.0)
    assert (columns.time, columns.time_factor, columns.acc, columns.gyro) == (0, unit, (1, 2, 3), (4, 5, 6))


def test_first_column_that_does_not_increase_is_rejected_as_time() -> None:
    acc, _ = turning()
    for first in (RNG.normal(25, 1, len(acc)), np.full(len(acc), 25.0), np.arange(len(acc))[::-1]):
        with pytest.raises(DataError, match="column 't' is not a time"):
            columns_of(USUAL[4], np.column_stack([first, acc]), 50.0)


def test_clock_that_wraps_in_the_first_lines_is_accepted_as_time() -> None:
    acc, _ = turning()
    micros = (2**32 - 1_000_000 + np.arange(len(acc)) * 20_000) % 2**32
    columns, _ = columns_of(USUAL[4], np.column_stack([micros, acc]), 50.0)
    assert columns.time_factor == 1e-6


@pytest.mark.parametrize("offset", [0.0, 0.01, 0.1, 1.0, 5.0])
def test_gyroscope_unit_is_not_inferred_at_rest(offset: float) -> None:
    # An offset of 6 deg/s is a hundred times what the noise of an accelerometer seems to turn.
    acc = np.tile([0, 0, G], (200, 1)) + RNG.normal(0, 0.02, (200, 3))
    gyro = offset + RNG.normal(0, 0.005, (200, 3))
    with pytest.raises(DataError, match="the gyroscope's unit cannot be inferred"):
        columns_of(USUAL[6], np.concatenate([acc, gyro], 1), 50.0)


def test_acceleration_without_gravity_is_rejected() -> None:
    acc, _ = turning()
    for factor, message in ((16384 / G, "no usual unit"), (0.01, "no usual unit")):
        with pytest.raises(DataError, match=message):
            columns_of(USUAL[3], acc * factor, 50.0)
    with pytest.raises(DataError, match="gravity is not included"):
        columns_of(("ax_m_s2", "ay_m_s2", "az_m_s2"), RNG.normal(0, 0.3, acc.shape), 50.0)


def test_column_names_have_the_meaning_of_file_columns() -> None:
    acc, gyro = turning()
    names = ("label", "gyrZ (dps)", "gyrY (dps)", "gyrX (dps)", "accZ [g]", "accY [g]", "accX [g]", "millis_ms")
    table = np.column_stack([np.zeros(len(acc)), (gyro / DEG)[:, ::-1], (acc / G)[:, ::-1], np.arange(len(acc)) * 20.0])
    columns, _ = columns_of(names, table, 50.0)
    assert (columns.acc, columns.gyro, columns.time) == ((6, 5, 4), (3, 2, 1), 7)
    decoder = LineDecoder(columns)
    rows = "".join(",".join(f"{value:.5f}" for value in row) + "\n" for row in table)
    got = np.concatenate([packet.x for packet in decoder.feed(rows.encode())])
    np.testing.assert_allclose(got, np.concatenate([acc, gyro], 1)[1:], atol=1e-3)


def test_separate_gravity_is_added() -> None:
    acc, _ = turning()
    gravity = np.tile([0, 0, G], (len(acc), 1))
    names = tuple(f"{kind}_{axis}" for kind in ("linear_acceleration", "gravity") for axis in "xyz")
    columns, notes = columns_of(names, np.concatenate([acc - gravity, gravity], 1), 50.0)
    assert columns.gravity == (3, 4, 5)
    assert "accelerometer = acceleration without gravity + gravity" in notes


def test_counter_of_lines_is_no_clock() -> None:
    acc, _ = turning()
    table = np.column_stack([np.arange(len(acc)) + 7.0, acc])
    columns, notes = columns_of(USUAL[4], table, 50.0)
    assert columns.time is None
    assert any("'t' counts lines and is no clock" in note for note in notes)


def test_counter_at_a_thousand_lines_a_second_is_milliseconds() -> None:
    acc, _ = turning()
    table = np.column_stack([np.arange(len(acc)) + 7.0, acc])
    columns, _ = columns_of(USUAL[4], table, 990.0)
    assert (columns.time, columns.time_factor) == (0, 1e-3)


@pytest.mark.parametrize("names", [USUAL[3], ("ax_m_s2", "ay_m_s2", "az_m_s2")])
def test_board_that_prints_linear_acceleration_is_rejected(names: tuple[str, ...]) -> None:
    t = np.arange(500) / 50
    linear = 2.5 * np.stack([np.sin(12 * t), np.cos(12 * t), np.sin(6 * t)], 1)
    with pytest.raises(DataError, match="gravity"):
        columns_of(names, linear, 50.0)


def test_units_of_a_board_can_be_stated() -> None:
    acc, gyro = turning()
    table = np.concatenate([acc / G * 700, gyro / DEG * 16.4], 1)
    columns, _ = columns_of(USUAL[6], table, 50.0, answers=Answers.parse(units="acc=700/g,gyro=16.4/dps"))
    assert columns.acc_factor == pytest.approx(G / 700)
    assert columns.gyro_factor == pytest.approx(DEG / 16.4)
