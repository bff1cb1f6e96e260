"""`mujo-edge devices` as a user runs it, with virtual wearables in range, and without Bluetooth."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bleak.backends.device import BLEDevice
from bluetooth import StartWorld, bluetooth
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from firmware_bridge.profiles import witmotion
from firmware_bridge.profiles.base import Advert
from mujo_edge.cli.devices import _tables
from mujo_edge.sources.ble.scan import DiscoveredDevice

__all__ = ["bluetooth"]

ROOT = Path(__file__).parents[3]


def devices(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mujo_edge", "devices", "--timeout", "1", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "PYTHONWARNINGS": "error::ResourceWarning"},
        timeout=60,
        check=False,
    )


def test_help(snapshot: SnapshotAssertion) -> None:
    done = devices("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot


def test_wearables_are_listed_best_known_first(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", "witmotion")
    done = devices()
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["name", "address", "dBm", "profile", "channels", "Hz", "clock"]
    rows = [line for line in lines if "E0:" in line]
    name, address, signal, *rest = rows[0].split()
    assert (name, address, rest[:3]) == ("mujo-edge", world.stats()["mujo"]["address"], ["mujo", "acc", "gyro"])
    assert -80 < int(signal) < -20
    assert "10-200" in rows[1]
    assert lines[-1].startswith("Serial ports: ")


def test_json(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    done = devices("--json")
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert content.pop("serial_ports") is not None
    assert -80 < content["devices"][0].pop("rssi_dbm") < -20
    assert content == {
        "schema_version": 1,
        "bluetooth_error": None,
        "devices": [
            {
                "name": "WT901BLE67",
                "address": world.stats()["witmotion"]["address"],
                "profile": "witmotion",
                "title": witmotion.PROFILE.title,
                "channels": ["ax", "ay", "az", "gx", "gy", "gz"],
                "rates_hz": list(witmotion.PROFILE.rates_hz),
                "clock": "none",
            }
        ],
    }


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_serial_ports_are_listed_without_bluetooth(args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
    done = devices(*args)
    assert done.returncode == 3
    assert done.stderr.startswith("mujo-edge: bluetoothd does not run. Start it: ")
    if args:
        content = json.loads(done.stdout)
        assert content["devices"] == []
        assert content["bluetooth_error"].startswith("bluetoothd does not run")
    else:
        assert done.stdout.startswith("Serial ports: ")


def test_device_name_is_not_rendered_as_markup() -> None:
    advert = Advert("E0:00:00:00:00:01", "[red]x[/red]")
    screen = io.StringIO()
    Console(file=screen, width=80).print(
        *_tables([DiscoveredDevice(advert, None, BLEDevice(advert.address, None, {}))], [], ready=True), sep="\n"
    )
    assert screen.getvalue().splitlines()[1].split() == ["[red]x[/red]", advert.address, "-"]
    assert screen.getvalue().splitlines()[-1] == "Serial ports: none"


def test_empty_scan_says_what_to_do() -> None:
    screen = io.StringIO()
    Console(file=screen, width=200).print(
        *_tables([], [{"port": "COM3", "description": "board"}], ready=True), sep="\n"
    )
    assert screen.getvalue().splitlines() == [
        "No Bluetooth device was heard. Switch it on, and close the phone app it is connected to.",
        "Serial ports: COM3 (board)",
    ]
