"""Errors of the serial source: wrong calls, ports, boards and bytes."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.rfc2217
from serial.tools import list_ports
from serial_boards import NAMED, collect, joined, usb

from firmware_bridge.simulator import motion
from firmware_bridge.simulator.board import Board, Line
from mujo_edge.core import DataError, DeviceError, UsageError
from mujo_edge.sources import serial as source_module
from mujo_edge.sources.serial import SerialSource
from mujo_edge.sources.serial import port as port_module


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "board"


async def test_unit_of_a_resting_gyroscope_must_be_stated(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "PATIENCE_S", 2.5)
    async with Line(Board(motion.rest, "csv"), link) as line:
        with pytest.raises(
            DataError, match=r"unit cannot be inferred.*\nName the columns of its lines: --columns t_ms,ax_g"
        ):
            await SerialSource(line.port).__aenter__()
        async with SerialSource(line.port, columns=NAMED) as source:
            assert len(source.info.channels) == 6


async def test_silence_is_an_error_with_a_next_step(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "ASK_S", float("inf"))  # on a busy machine the board would be asked to start
    monkeypatch.setattr(source_module, "SILENCE_S", 0.5)
    board = Board(motion.sine, asked=True)
    async with Line(board, link) as line:
        with pytest.raises(DeviceError, match=r"no bytes from .* at 115200 baud. Is the board powered"):
            await SerialSource(line.port).__aenter__()


async def test_wrong_baud_error_suggests_others(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "NONSENSE_S", 1.0)
    async with Line(Board(motion.sine, "csv"), link, baud=9600) as line:
        with pytest.raises(
            DataError, match=r"cannot be decoded at 115200 baud: [0-9a-f ]{71}\nTry --baud with one of 9600, 57600"
        ):
            await SerialSource(line.port).__aenter__()
        async with SerialSource(line.port, baud=9600, columns=NAMED) as source:
            assert len(joined(await collect(source, 0.3))[0])


async def test_text_without_numbers_is_quoted_in_the_error(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "ASK_S", float("inf"))  # on a busy machine the board would be asked to start
    monkeypatch.setattr(source_module, "NONSENSE_S", 0.5)
    async with Line(Board(motion.rest, asked=True), link, boot=b"accel x: 0.1 y: 0.2 z: 9.8\r\n" * 9) as line:
        with pytest.raises(
            DataError, match=r"not lines of numbers of equal length: 'accel x: 0\.1 y: 0\.2 z: 9\.8'\nLet the board"
        ):
            await SerialSource(line.port).__aenter__()


async def test_later_silence_and_garbage_show_in_the_status(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "NONSENSE_S", 0.6)
    async with Line(Board(motion.sine, "packet"), link) as line, SerialSource(line.port) as source:
        reading = asyncio.create_task(collect(source, 3.0))
        await asyncio.sleep(0.3)
        assert source.status == ""
        line.befall("corrupt", 1.0)
        await asyncio.sleep(1.0)
        assert source.status.startswith(f"the bytes from {line.port} cannot be decoded: ")
        line.befall("corrupt", 0.0)
        await asyncio.sleep(0.3)
        assert source.status == ""
        line.board.streaming = False
        await asyncio.sleep(0.5)
        assert source.status.startswith(f"nothing from {line.port} for ")
        reading.cancel()


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_failure_reported_by_the_board_is_an_error(link: Path, when: str) -> None:
    board = Board(motion.sine, "csv", columns="ax_g,ay_g,az_g")
    async with Line(board, link, boot=b"Started\r\nERR: no IMU\r\n" if when == "at once" else b"") as line:

        async def listen() -> None:
            async with asyncio.timeout(5), SerialSource(line.port, columns="ax_g,ay_g,az_g") as source:
                line.say(b"\r\nERR: lost it\r\n")
                await collect(source, 5)

        with pytest.raises(
            DeviceError, match=r"the board at .* reports a failure: 'ERR: (no IMU|lost it)'. Check its sensor"
        ):
            await listen()


async def test_busy_port_is_a_device_error(link: Path) -> None:
    async with Line(Board(motion.sine), link) as line, SerialSource(line.port):
        with pytest.raises(DeviceError, match="in use by another program"):
            await SerialSource(line.port).__aenter__()


async def test_missing_port_is_a_device_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"there is no port .*/nothing. Plug the board in"):
        await SerialSource(str(tmp_path / "nothing")).__aenter__()
    (tmp_path / "file").write_text("1,2,3")
    with pytest.raises(DeviceError, match=r"cannot open .*/file"):
        await SerialSource(str(tmp_path / "file")).__aenter__()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
async def test_port_without_permission_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(number, "could not open port")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    (tmp_path / "ttyACM0").touch()
    group = (tmp_path / "ttyACM0").group()
    with pytest.raises(DeviceError, match=rf"no permission.* group {group}.\nRun: sudo usermod -aG {group} \$USER"):
        await SerialSource(str(tmp_path / "ttyACM0")).__aenter__()
    with pytest.raises(DeviceError, match="sudo usermod -aG dialout"):
        await SerialSource(str(tmp_path / "ttyACM1")).__aenter__()


@pytest.mark.parametrize(
    ("port", "error", "message"),
    [
        ("socket://127.0.0.1:1", DeviceError, "refused.* Is the other side running"),
        ("carrier-pigeon://coop", UsageError, "protocol 'carrier-pigeon' not known"),
    ],
)
async def test_unreachable_urls_are_errors(port: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await SerialSource(port).__aenter__()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baud": 0}, "--baud 0"),
        ({"rate_hz": -1.0}, "--rate"),
        ({"rate_hz": float("nan")}, "--rate"),
        ({"columns": "ax,ay"}, "--columns: no accelerometer columns"),
        ({"columns": ""}, "--columns: no accelerometer columns"),
        ({"columns": "user_acceleration_x,user_acceleration_y,user_acceleration_z"}, "--columns: .* without gravity"),
    ],
)
def test_invalid_arguments_are_usage_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SerialSource("/dev/ttyACM0", **options)


async def test_columns_must_fit_the_lines(link: Path) -> None:
    async with Line(Board(motion.sine, "csv"), link) as line:
        with pytest.raises(UsageError, match="lines of 6 numbers; --columns names 3"):
            await SerialSource(line.port, columns="ax_g,ay_g,az_g").__aenter__()
    async with Line(Board(motion.sine, "wit"), link) as line:
        with pytest.raises(UsageError, match="leave --columns out"):
            await SerialSource(line.port, columns=NAMED).__aenter__()
    async with Line(Board(motion.sine, "csv", columns="ax_g,ay_g,az_g,temp,hum"), link) as line:
        with pytest.raises(DataError, match=r"lines of 5 numbers without naming them.\nName them: --columns"):
            await SerialSource(line.port).__aenter__()
    async with Line(Board(motion.sine, "csv", columns="ax_mg,ay_mg,az_mg"), link) as line:
        with pytest.raises(DataError, match=r"is 1.06e.03 g by the unit of columns"):
            await SerialSource(line.port, columns="ax_g,ay_g,az_g").__aenter__()


async def test_auto_chooses_the_only_board(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uart = usb("/dev/ttyS0", None, vid=None, product=None)
    there: list[Any] = [uart]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    with pytest.raises(DeviceError, match=r"no board at a USB port.*\nThere are:\n  /dev/ttyS0"):
        await SerialSource("auto").__aenter__()
    there += [usb("/dev/ttyACM1", "B2"), usb(str(link))]
    with pytest.raises(
        UsageError, match=r"several USB ports.*\nThere.*\n  /dev/ttyACM1  Nano 33 BLE\n  .*board  Nano 33"
    ):
        await SerialSource("auto").__aenter__()
    del there[1]
    async with Line(Board(motion.sine), link), SerialSource("auto") as source:
        assert source.info.name == f"Nano 33 BLE at {link}"
