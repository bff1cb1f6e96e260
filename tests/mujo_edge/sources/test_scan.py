"""Discovery and choice of devices, with synthetic advertisements and a fake scanner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import ClassVar, Self

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakDBusError
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.profiles import PROFILES, mujo, witmotion
from mujo_edge.core import DeviceError, UsageError
from mujo_edge.printable import printable
from mujo_edge.sources.ble import scan
from mujo_edge.sources.ble.scan import DiscoveredDevice, adverts, choose, discovered, find, matching, unavailable

Advertisement = tuple[BLEDevice, AdvertisementData]


def advertisement(
    address: str,
    name: str | None = None,
    services: Sequence[str] = (),
    rssi: int = -60,
) -> Advertisement:
    return BLEDevice(address, name, {}), AdvertisementData(name, {}, {}, list(services), None, rssi, ())


def device(number: int, name: str = "", services: Sequence[str] = (), rssi: int = -60) -> DiscoveredDevice:
    return discovered(*advertisement(f"E0:00:00:00:00:{number:02X}", name, services, rssi))


WATCH = device(1, "WT901BLE67", rssi=-70)
BAND = device(2, "Band", [mujo.SERVICE], rssi=-50)
KETTLE = device(3, "Kettle", rssi=-30)


def test_advertisement_is_recognized_and_sanitized() -> None:
    one = discovered(*advertisement("e0:00:00:00:00:09", "\x1b[31mRed\nDog", [witmotion.SERVICE.upper()], rssi=127))
    assert (one.profile, one.name, one.advert.rssi) == (witmotion.PROFILE, "?[31mRed?Dog", None)
    assert one.label == "?[31mRed?Dog (e0:00:00:00:00:09), WitMotion WT901BLE"
    assert device(4).name == "E0:00:00:00:00:04"
    assert one == discovered(*advertisement("e0:00:00:00:00:09", "other name"))
    assert one != device(4)


@pytest.mark.parametrize("wanted", ["wt901ble67", "WT901BLE67", "901", "e0:00:00:00:00:01"])
def test_device_is_chosen_by_name_part_or_address(wanted: str) -> None:
    assert choose([KETTLE, BAND, WATCH], wanted, None) is WATCH


def test_full_name_match_precedes_partial_match() -> None:
    assert choose([device(5, "Band 2", [mujo.SERVICE]), BAND], "band", None) is BAND


def test_ambiguous_name_lists_the_matches() -> None:
    with pytest.raises(UsageError, match=r"several devices match 'band': Band \(E0:.*:02\), Band \(E0:.*:06\)\."):
        choose([BAND, device(6, "Band", [mujo.SERVICE])], "band", None)


def test_without_a_name_the_first_device_is_taken_or_the_user_asked() -> None:
    assert choose([BAND, WATCH, KETTLE], None, None) is BAND
    assert choose([BAND, WATCH, KETTLE], None, None, lambda known: known[1]) is WATCH
    assert choose([WATCH, KETTLE], None, None, lambda known: pytest.fail("nothing to ask")) is WATCH
    assert choose([BAND, WATCH, KETTLE], None, "witmotion") is WATCH


def test_profile_option_overrides_recognition_for_a_named_device() -> None:
    assert choose([BAND, KETTLE], "kettle", "witmotion").profile is witmotion.PROFILE
    assert choose([BAND, KETTLE], "band", "witmotion").profile is witmotion.PROFILE
    with pytest.raises(UsageError, match=r"no profile recognizes Kettle .*Choose one with --profile: "):
        choose([BAND, KETTLE], "kettle", None)
    with pytest.raises(UsageError, match=r"there is no profile 'nokia'\. There are: "):
        choose([BAND], "band", "nokia")


@pytest.mark.parametrize(
    ("seen", "wanted", "profile", "message"),
    [
        ([], None, None, "no supported device is near; no device advertises at all. Switch it on"),
        ([KETTLE], None, None, "no supported device is near. .*\nFound: Kettle"),
        ([KETTLE, WATCH], None, "mujo", "no mujo device is near"),
        ([KETTLE], "band", None, "no device that matches 'band' is near. .* close the phone app .*\nFound: Kettle"),
        ([device(n, f"D{n}") for n in range(20)], "x", None, r"Found: D0 \(E0:.*\) and 12 more"),
    ],
)
def test_error_without_match_says_what_to_do(
    seen: list[DiscoveredDevice], wanted: str | None, profile: str | None, message: str
) -> None:
    with pytest.raises(DeviceError, match=f"(?s){message}"):
        choose(seen, wanted, profile)


names = st.text(max_size=20)


@given(st.lists(names, max_size=6), names, st.sampled_from([None, *PROFILES]))
def test_choose_never_fails_unexpectedly_for_any_names(all_names: list[str], wanted: str, profile: str | None) -> None:
    near = [device(number, name) for number, name in enumerate(all_names)]
    matches = matching(near, wanted, profile)
    if len(matches) == 1 and matches[0].profile:
        one = choose(near, wanted, profile)
        assert one is matches[0] or (one == matches[0] and profile)
        assert wanted.casefold() in one.name.casefold() or wanted.casefold() == one.advert.address.casefold()
        return
    with pytest.raises(UsageError if matches else DeviceError) as caught:
        choose(near, wanted, profile)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 2
    assert all(line == printable(line) for line in lines)


@given(names.map(lambda name: scan.discovered(*advertisement("E0:00:00:00:00:01", name))))
def test_displayed_name_always_chooses_its_device(one: DiscoveredDevice) -> None:
    for wanted in (one.name, one.name.upper(), one.advert.address):
        assert choose([one], wanted, "witmotion") == one


class Air:
    """A fake of bleak's scanner: times and advertisements on the `air`. It counts total and simultaneous scans."""

    air: ClassVar[list[tuple[float, Advertisement]]] = []
    failures: ClassVar[list[Exception]] = []
    scans: ClassVar[int] = 0
    running: ClassVar[int] = 0

    def __init__(self, callback: Callable[[BLEDevice, AdvertisementData], None]) -> None:
        self._callback = callback
        self._timers: list[asyncio.TimerHandle] = []

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        if Air.failures:
            raise Air.failures.pop(0)
        Air.scans += 1
        Air.running += 1
        assert Air.running == 1, "BlueZ would refuse"
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(after_s, self._callback, *one) for after_s, one in Air.air]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for timer in self._timers:
            timer.cancel()
        await asyncio.sleep(0.01)
        Air.running -= 1


@pytest.fixture
def air(monkeypatch: pytest.MonkeyPatch) -> type[Air]:
    monkeypatch.setattr(scan, "BleakScanner", Air)
    monkeypatch.setattr(scan, "RETRY_S", 0.05)
    monkeypatch.setattr(scan, "SETTLE_S", 0.2)
    Air.air, Air.failures, Air.scans, Air.running = [], [], 0, 0
    return Air


async def test_scan_lists_recognized_and_strong_devices_first(air: type[Air]) -> None:
    air.air = [
        (0.0, advertisement("E0:00:00:00:00:03", "Kettle", rssi=-30)),
        (0.0, advertisement("E0:00:00:00:00:02", None, [mujo.SERVICE], rssi=-80)),
        (0.0, advertisement("E0:00:00:00:00:01", "WT901BLE67", rssi=-70)),
        (0.0, advertisement("E0:00:00:00:00:05", "not on the air", rssi=scan.UNHEARD)),
        (0.1, advertisement("E0:00:00:00:00:02", "Band", [mujo.SERVICE], rssi=-50)),
    ]
    assert [one.name for one in await scan.scan(0.3)] == ["Band", "WT901BLE67", "Kettle"]
    assert (air.scans, air.running) == (1, 0)


@pytest.mark.parametrize(
    ("wanted", "settle_s"), [("e0:00:00:00:00:01", 60.0), ("wt901", 0.1), ("WT901BLE67", 0.1), (None, 0.1)]
)
async def test_find_returns_at_once_for_an_address_and_soon_for_a_name(
    wanted: str | None, settle_s: float, air: type[Air], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SETTLE_S", settle_s)
    air.air = [(0.0, advertisement("E0:00:00:00:00:01", "WT901BLE67"))]
    async with asyncio.timeout(30):
        assert (await find(wanted, None, 60.0)).profile is witmotion.PROFILE


async def test_find_waits_for_a_second_device_of_the_same_name(air: type[Air]) -> None:
    air.air = [
        (0.0, advertisement("E0:00:00:00:00:01", "WT901BLE67")),
        (0.1, advertisement("E0:00:00:00:00:02", "WT901BLE67")),
    ]
    with pytest.raises(UsageError, match="several devices match"):
        await find("WT901BLE67", None, 60.0)


async def test_advertisement_and_scan_response_are_merged(air: type[Air]) -> None:
    air.air = [
        (0.0, advertisement("E0:00:00:00:00:02", None, [mujo.SERVICE], rssi=-40)),
        (0.1, advertisement("E0:00:00:00:00:02", "Band", rssi=-50)),
    ]
    (one,) = await scan.scan(0.3)
    assert (one.name, one.profile, one.advert.rssi) == ("Band", mujo.PROFILE, -50)
    assert (await find("band", None, 60.0)).profile is mujo.PROFILE


async def test_find_waits_until_the_device_is_recognized(air: type[Air]) -> None:
    air.air = [
        (0.0, advertisement("E0:00:00:00:00:02", "Band")),
        (0.5, advertisement("E0:00:00:00:00:02", "Band", [mujo.SERVICE])),
    ]
    assert (await find("e0:00:00:00:00:02", None, 60.0)).profile is mujo.PROFILE


async def test_missing_device_is_an_error_after_the_timeout(air: type[Air]) -> None:
    air.air = [(0.0, advertisement("E0:00:00:00:00:03", "Kettle"))]
    with pytest.raises(DeviceError, match="no device that matches 'band' is near"):
        await find("band", None, 0.3)
    with pytest.raises(UsageError, match="there is no profile"):
        await find("band", "nokia", 60.0)


async def test_listeners_share_one_scan(air: type[Air]) -> None:
    air.air = [
        (0.0, advertisement("E0:00:00:00:00:01", "WT901BLE67")),
        (0.2, advertisement("E0:00:00:00:00:02", "Band")),
    ]
    names = await asyncio.gather(*(find(name, "mujo", 60.0) for name in ("wt901", "band", "E0:00:00:00:00:02")))
    assert [one.name for one in names] == ["WT901BLE67", "Band", "Band"]
    assert air.running == 0


async def test_failed_scan_is_reported_and_retried(air: type[Air]) -> None:
    air.air = [(0.0, advertisement("E0:00:00:00:00:01", "WT901BLE67"))]
    off = BleakBluetoothNotAvailableError("No powered", BleakBluetoothNotAvailableReason.POWERED_OFF)
    air.failures = [off]
    with pytest.raises(DeviceError, match="Bluetooth is switched off"):
        await find(None, None, 60.0)
    air.failures = [off, off]
    news = []
    async with aclosing(adverts()) as stream:
        while len(news) < 3:
            news.append(await anext(stream))
    assert [isinstance(one, DiscoveredDevice) for one in news] == [False, False, True]


REASON = BleakBluetoothNotAvailableReason


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BleakBluetoothNotAvailableError("x", REASON.NO_BLUETOOTH), "no Bluetooth adapter. Plug one in"),
        (BleakBluetoothNotAvailableError("x", REASON.POWERED_OFF), "switched off. Switch it on"),
        (BleakBluetoothNotAvailableError("x", REASON.DENIED_BY_USER), "may not use Bluetooth. "),
        (BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"]), "switched off"),
        (BleakDBusError("org.freedesktop.DBus.Error.ServiceUnknown", ["no name"]), "sudo systemctl start bluetooth"),
        (BleakDBusError("org.freedesktop.DBus.Error.AccessDenied", []), "may not use Bluetooth"),
        (FileNotFoundError(2, "No such file or directory"), "bluetoothd does not run. Start it"),
        (ConnectionRefusedError(111, "Connection refused"), "bluetoothd does not run. Start it"),
        (AssertionError(), "does not answer: AssertionError. Switch it off and on"),
        (BleakDBusError("org.bluez.Error.Failed", ["first\nsecond"]), "answer: org.bluez.Error.Failed: first. Switch"),
    ],
)
def test_bluetooth_errors_say_what_to_do(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "sys", SimpleNamespace(platform="linux"))
    assert message in str(unavailable(error))
    assert "\n" not in str(unavailable(error))


def test_macos_error_names_the_privacy_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "sys", SimpleNamespace(platform="darwin"))
    error = BleakBluetoothNotAvailableError("x", REASON.DENIED_BY_USER)
    assert "System Settings > Privacy & Security > Bluetooth" in str(unavailable(error))
