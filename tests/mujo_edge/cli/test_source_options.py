"""Which options go together, without any device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mujo_edge.cli.source import Choice
from mujo_edge.core import UsageError

NONE: dict[str, Any] = {
    "replay": None, "speed": "1", "again": False, "ble": False, "device": None, "profile": None, "serial": None,
    "baud": 115200, "columns": None, "phone": None, "url": None, "host": None, "port": None, "rate_hz": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ble": True, "serial": "auto"}, "--ble and --serial: give one source"),
        ({"replay": Path("x"), "device": ["a"]}, "--replay and --ble"),
        ({"profile": "polar", "phone": "browser"}, "--ble and --phone"),
        ({"ble": True, "speed": "max"}, "--speed has no meaning with --ble"),
        ({"serial": "auto", "host": "0.0.0.0"}, "--host has no meaning with --serial"),
        ({"url": "ws://phone"}, "--url has no meaning with the recording"),
        ({"columns": "ax_g"}, "--columns has no meaning"),
        ({"again": True}, "--decode-again has no meaning"),
        ({"ble": True, "rate_hz": -1.0}, "--rate -1: give a positive"),
        ({"ble": True, "rate_hz": float("nan")}, "--rate nan: give a positive"),
    ],
)
def test_contradictions_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Choice(**(NONE | options)).check()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"speed": "max"},
        {"replay": Path("x"), "again": True, "speed": "8"},
        {"device": ["a", "b"], "profile": "polar", "rate_hz": 52.0},
        {"serial": "auto", "columns": "ax_g,ay_g,az_g"},
        {"phone": "browser", "host": "192.168.1.5", "port": 8443},
    ],
)
def test_what_goes_together_passes(options: dict[str, Any]) -> None:
    Choice(**(NONE | options)).check()


def test_a_device_or_profile_means_bluetooth() -> None:
    assert Choice(**(NONE | {"device": ["a"]})).bluetooth
    assert Choice(**(NONE | {"profile": "polar"})).bluetooth
    assert not Choice(**NONE).bluetooth
    assert Choice(**(NONE | {"device": ["a", "b"]})).several
