"""Which Bluetooth devices are near, and which of them is meant."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from firmware_bridge.profiles import PROFILES, recognise
from firmware_bridge.profiles.base import Advert, Profile
from mujo_edge.core import DeviceError, UsageError
from mujo_edge.printable import printable

ROUND_S = 2.0
"""A scan is begun anew so often: one that ran while the adapter was switched off and on hears nothing more."""

RETRY_S = 1.0
"""Pause after a scan that could not be begun."""

SETTLE_S = 1.5
"""So long after the first device that may be meant are others waited for; most advertise every second or faster."""

UNHEARD = -127
"""bleak's RSSI of a device of which BlueZ has told something, but heard nothing in this scan."""

UNMEASURED = 127
"""RSSI that was not measured (Core specification, Vol 4, Part E, 7.7.65.2)."""

LONGEST_NAME = 64


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A device that advertises; equal if heard again. `profile` is None where none knows it, `device` is bleak's."""

    advert: Advert
    profile: Profile | None
    device: BLEDevice

    @property
    def name(self) -> str:
        """Its name, else its address."""
        return self.advert.name or self.advert.address

    @property
    def label(self) -> str:
        """For a list from which the user picks."""
        signal = "" if self.advert.rssi is None else f", {self.advert.rssi} dBm"
        return f"{self}{signal}, {self.profile.title if self.profile else 'unknown'}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Found) and self.advert.address == other.advert.address

    def __hash__(self) -> int:
        return hash(self.advert.address)

    def __str__(self) -> str:
        return f"{self.advert.name} ({self.advert.address})" if self.advert.name else self.advert.address


def found(device: BLEDevice, data: AdvertisementData) -> Found:
    """What bleak heard, with the profile recognised. Names are a stranger's text: they lose control characters."""
    name = data.local_name or device.name or ""
    advert = Advert(
        device.address,
        printable(name[:LONGEST_NAME]).strip(),
        frozenset(uuid.lower() for uuid in data.service_uuids),
        dict(data.manufacturer_data),
        None if data.rssi in (UNHEARD, UNMEASURED) else data.rssi,
    )
    return Found(advert, recognise(advert), device)


async def scan(timeout_s: float) -> list[Found]:
    """All devices heard within `timeout_s`, best known first. Raises `DeviceError` if Bluetooth cannot be used."""
    heard: dict[str, Found] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), aclosing(adverts()) as stream:
            async for one in stream:
                if isinstance(one, DeviceError):
                    raise one
                heard[one.advert.address] = _merged(heard.get(one.advert.address), one)
    return _best_first(heard.values())


async def find(
    device: str | None,
    profile: str | None,
    timeout_s: float = 8.0,
    pick: Callable[[list[Found]], Found] | None = None,
) -> Found:
    """Scan until the device that is meant is heard; see `choose`.

    An address is sure at once. A name, or no wish at all, leaves `SETTLE_S` for others that may be meant as well.

    Raises:
        UsageError, DeviceError: as `choose`, or Bluetooth cannot be used.
    """
    _known(profile)
    heard: dict[str, Found] = {}
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s) as limit, aclosing(adverts()) as stream:
            settled = False
            async for one in stream:
                if isinstance(one, DeviceError):
                    raise one
                heard[one.advert.address] = _merged(heard.get(one.advert.address), one)
                meant = matching(list(heard.values()), device, profile)
                if settled or not meant or any(other.profile is None for other in meant):
                    continue
                if device and meant[0].advert.address.casefold() == device.casefold():
                    break
                settled = True
                limit.reschedule(min(limit.when() or loop.time(), loop.time() + SETTLE_S))
    return choose(_best_first(heard.values()), device, profile, pick)


def choose(
    found: Sequence[Found],
    device: str | None,
    profile: str | None,
    pick: Callable[[list[Found]], Found] | None = None,
) -> Found:
    """The one of `found` (best known first) that is meant.

    Args:
        device: address, name or a part of the name that only one has, in any case; None: the best that is known.
        profile: of `PROFILES`; forced on the device that is named, else only such devices count.
        pick: asked if no device is named and several are known.

    Raises:
        UsageError: several devices match, the profile is not known, or must be given for this device.
        DeviceError: no device matches.
    """
    _known(profile)
    meant = matching(found, device, profile)
    if not meant:
        raise DeviceError(_nothing(found, device, profile))
    if device is None:
        return pick(meant) if pick and len(meant) > 1 else meant[0]
    if len(meant) > 1:
        raise UsageError(
            f"several devices match {device!r}: {_listed(meant)}. Give --device more of it, or the address"
        )
    if meant[0].profile is None:
        names = ", ".join(PROFILES)
        raise UsageError(f"{meant[0]} does not say what it speaks. Name it with --profile, one of: {names}")
    return meant[0]


def matching(found: Sequence[Found], device: str | None, profile: str | None) -> list[Found]:
    """Those that may be meant: by address, else by name, else by part of it; see `choose`."""
    if device is None:
        return [one for one in found if one.profile and profile in (None, one.profile.name)]
    wanted = device.casefold()
    meant = (
        [one for one in found if one.advert.address.casefold() == wanted]
        or [one for one in found if one.advert.name.casefold() == wanted]
        or [one for one in found if wanted in one.advert.name.casefold()]
    )
    return [replace(one, profile=PROFILES[profile]) for one in meant] if profile else meant


async def adverts() -> AsyncGenerator[Found | DeviceError, None]:
    """What is heard, for as long as one listens; an error each time that a scan could not be begun or broke off."""
    shared = _scans.setdefault(asyncio.get_running_loop(), _Scan())
    queue: asyncio.Queue[Found | DeviceError] = asyncio.Queue()
    task = shared.join(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        if shared.leave(queue):
            await asyncio.wait({task}, timeout=RETRY_S)


class _Scan:
    """The scan of a process, for all who listen: BlueZ refuses a second one ("operation already in progress").

    It ends by being told to, never by being cancelled, which could leave it running in BlueZ.
    """

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Found | DeviceError]] = set()
        self._unwanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, queue: asyncio.Queue[Found | DeviceError]) -> asyncio.Task[None]:
        """Fill `queue` from now on."""
        self._queues.add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return self._task

    def leave(self, queue: asyncio.Queue[Found | DeviceError]) -> bool:
        """Fill `queue` no more. Whether it was the last, so that the scan ends."""
        self._queues.discard(queue)
        if not self._queues:
            self._unwanted.set()
        return not self._queues

    async def _run(self) -> None:
        while self._queues:
            self._unwanted.clear()
            pause_s = 0.0
            try:
                async with BleakScanner(self._heard):
                    await self._wait(ROUND_S)
            except Exception as error:  # bleak's backends let errors of the system through
                self._tell(unavailable(error))
                pause_s = RETRY_S
            await self._wait(pause_s)
        self._task = None

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), seconds)

    def _heard(self, device: BLEDevice, data: AdvertisementData) -> None:
        if data.rssi != UNHEARD:
            self._tell(found(device, data))

    def _tell(self, news: Found | DeviceError) -> None:
        for queue in self._queues:
            queue.put_nowait(news)


_scans: WeakKeyDictionary[asyncio.AbstractEventLoop, _Scan] = WeakKeyDictionary()


def unavailable(error: Exception) -> DeviceError:
    """Why a scan could not be begun, and what to do about it."""
    text = reason(error)
    cause = getattr(getattr(error, "reason", None), "name", "")  # BleakBluetoothNotAvailableError of bleak >= 2
    if cause == "NO_BLUETOOTH" or "No Bluetooth adapters" in text:
        return DeviceError("this computer has no Bluetooth adapter. Plug one in; in a virtual machine, pass it through")
    if cause == "POWERED_OFF" or "NotReady" in text or "No powered" in text:
        return DeviceError("Bluetooth is switched off. Switch it on (on Linux: bluetoothctl power on) and try again")
    if cause.startswith("DENIED") or "AccessDenied" in text:
        where = {
            "darwin": "Allow it for your terminal in System Settings > Privacy & Security > Bluetooth",
            "linux": "Ask for the group that may (often: sudo usermod -aG bluetooth $USER) and log in again",
        }.get(sys.platform, "Allow it in the system's settings")
        return DeviceError(f"this program may not use Bluetooth. {where}")
    if sys.platform == "linux" and ("ServiceUnknown" in text or isinstance(error, FileNotFoundError | ConnectionError)):
        return DeviceError("bluetoothd does not run. Start it: sudo systemctl start bluetooth (package bluez)")
    return DeviceError(f"Bluetooth does not answer: {text}. Switch it off and on")


def reason(error: BaseException) -> str:
    """An error of the system in one line: its words, without the numbers beside them."""
    words = [word for word in error.args if isinstance(word, str)]
    text = ": ".join(words) if words and not isinstance(error, OSError) else str(error)
    return text.partition("\n")[0] or type(error).__name__


def _merged(before: Found | None, one: Found) -> Found:
    """All that a device has said: some systems tell its advertisement and its scan response one by one."""
    if before is None:
        return one
    old, new = before.advert, one.advert
    manufacturer = {**old.manufacturer, **new.manufacturer}
    advert = Advert(new.address, new.name or old.name, old.services | new.services, manufacturer, new.rssi)
    return Found(advert, recognise(advert), one.device)


def _best_first(found: Iterable[Found]) -> list[Found]:
    """Known ones first, then the strongest signal."""

    def rank(one: Found) -> tuple[bool, int, str]:
        return one.profile is None, -(UNHEARD if one.advert.rssi is None else one.advert.rssi), one.name

    return sorted(found, key=rank)


def _known(profile: str | None) -> None:
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}. There are: {', '.join(PROFILES)}")


def _nothing(found: Sequence[Found], device: str | None, profile: str | None) -> str:
    what = f"device that matches {device!r}" if device else f"{profile or 'known'} device"
    todo = "Switch it on, bring it near, and close the phone app that it may be connected to"
    if found:
        return f"no {what} is near. {todo}.\nHeard: {_listed(found)}"
    return f"no {what} is near; nothing at all was heard. {todo}"


def _listed(found: Sequence[Found]) -> str:
    named = sorted(found, key=lambda one: not one.advert.name)
    return ", ".join(map(str, named[:8])) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
