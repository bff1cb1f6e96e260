"""Valid combinations of source options, without a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mujo_edge.cli.source import SourceOptions
from mujo_edge.core import UsageError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ble": True, "serial": "auto"}, "--ble and --serial: give one source"),
        ({"replay": Path("x"), "device": ["a"]}, "--replay and --ble"),
        ({"profile": "polar", "phone": "browser"}, "--ble and --phone"),
        ({"ble": True, "speed": "max"}, "--speed has no meaning with --ble"),
        ({"serial": "auto", "host": "0.0.0.0"}, "--host has no meaning with --serial"),
        ({"url": "ws://phone"}, "--url has no meaning with the recording"),
        ({"columns": "ax_g"}, "--columns has no meaning"),
        ({"decode_again": True}, "--decode-again has no meaning"),
        ({"ble": True, "rate": -1.0}, "--rate -1: give a positive"),
        ({"ble": True, "rate": float("nan")}, "--rate nan: give a positive"),
    ],
)
def test_contradictory_options_are_usage_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SourceOptions(**options).check()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"speed": "max"},
        {"replay": Path("x"), "decode_again": True, "speed": "8"},
        {"device": ["a", "b"], "profile": "polar", "rate": 52.0},
        {"serial": "auto", "columns": "ax_g,ay_g,az_g"},
        {"phone": "browser", "host": "192.168.1.5", "port": 8443},
    ],
)
def test_compatible_options_are_accepted(options: dict[str, Any]) -> None:
    SourceOptions(**options).check()


def test_device_or_profile_option_implies_bluetooth() -> None:
    assert SourceOptions(device=["a"]).bluetooth
    assert SourceOptions(profile="polar").bluetooth
    assert not SourceOptions().bluetooth
    assert SourceOptions(device=["a", "b"]).several
