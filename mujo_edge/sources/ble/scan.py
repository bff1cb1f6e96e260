"""Scanning for Bluetooth devices, and choosing one by address or name."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData

from firmware_bridge.profiles import PROFILES, recognize
from firmware_bridge.profiles.base import Advert, Profile
from mujo_edge.core import DeviceError, UsageError
from mujo_edge.printable import printable

logger = logging.getLogger(__name__)

ROUND_S = 2.0
"""Seconds after which a scan is restarted: one that ran while the adapter was switched off and on finds nothing."""

RETRY_S = 1.0
"""Pause after a scan that could not be started."""

SETTLE_S = 1.5
"""Seconds to wait for other matches after the first; most devices advertise every second or faster."""

UNHEARD = -127
"""bleak's RSSI of a device that BlueZ remembers but has not received in this scan."""

UNMEASURED = 127
"""RSSI that was not measured (Core specification, Vol 4, Part E, 7.7.65.2)."""

LONGEST_NAME = 64
"""Characters of a name that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class DiscoveredDevice:
    """A device that advertises; equal by address. `profile` is None if none recognizes it; `device` is bleak's."""

    advert: Advert
    profile: Profile | None
    device: BLEDevice

    @property
    def name(self) -> str:
        """The device's name, or its address if it has none."""
        return self.advert.name or self.advert.address

    @property
    def label(self) -> str:
        """Text for a list from which the user chooses."""
        signal = "" if self.advert.rssi is None else f", {self.advert.rssi} dBm"
        return f"{self}{signal}, {self.profile.title if self.profile else 'unknown'}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DiscoveredDevice) and self.advert.address == other.advert.address

    def __hash__(self) -> int:
        return hash(self.advert.address)

    def __str__(self) -> str:
        return f"{self.advert.name} ({self.advert.address})" if self.advert.name else self.advert.address


def discovered(device: BLEDevice, data: AdvertisementData) -> DiscoveredDevice:
    """bleak's advertisement, with the profile that recognizes it. Control characters are removed from names."""
    name = data.local_name or device.name or ""
    advert = Advert(
        device.address,
        printable(name[:LONGEST_NAME]).strip(),
        frozenset(uuid.lower() for uuid in data.service_uuids),
        dict(data.manufacturer_data),
        None if data.rssi in (UNHEARD, UNMEASURED) else data.rssi,
    )
    return DiscoveredDevice(advert, recognize(advert), device)


async def scan(timeout_s: float) -> list[DiscoveredDevice]:
    """All devices that advertise within `timeout_s`: recognized ones first, then by signal strength.

    Raises `DeviceError` if Bluetooth cannot be used.
    """
    devices: dict[str, DiscoveredDevice] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), aclosing(adverts()) as stream:
            async for one in stream:
                if isinstance(one, DeviceError):
                    raise one
                devices[one.advert.address] = _merged(devices.get(one.advert.address), one)
    return _best_first(devices.values())


async def find(
    device: str | None = None,
    profile: str | Profile | None = None,
    timeout_s: float = 8.0,
    pick: Callable[[list[DiscoveredDevice]], DiscoveredDevice] | None = None,
) -> DiscoveredDevice:
    """Scan until the device is found, then return it as `choose` does.

    An address ends the scan at once. With a name, or without `device`, the scan goes on for `SETTLE_S`, as others may
    match too.

    Raises:
        UsageError, DeviceError: as `choose` does; `DeviceError` also if Bluetooth cannot be used.
    """
    _check_profile(profile)
    devices: dict[str, DiscoveredDevice] = {}
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s) as limit, aclosing(adverts()) as stream:
            settled = False
            async for one in stream:
                if isinstance(one, DeviceError):
                    raise one
                devices[one.advert.address] = _merged(devices.get(one.advert.address), one)
                matches = matching(list(devices.values()), device, profile)
                if settled or not matches or any(other.profile is None for other in matches):
                    continue
                if device and matches[0].advert.address.casefold() == device.casefold():
                    break
                settled = True
                limit.reschedule(min(limit.when() or loop.time(), loop.time() + SETTLE_S))
    return choose(_best_first(devices.values()), device, profile, pick)


def choose(
    candidates: Sequence[DiscoveredDevice],
    device: str | None,
    profile: str | Profile | None,
    pick: Callable[[list[DiscoveredDevice]], DiscoveredDevice] | None = None,
) -> DiscoveredDevice:
    """The device among `candidates` (ordered as by `scan`) that the user asked for.

    Args:
        device: address, name or a part of the name that only one has, in any case; None for the first recognized one.
        profile: a name in `PROFILES` or a profile of your own; used for the named device, or else restricts the choice.
        pick: chooses if no device is named and several are recognized.

    Raises:
        UsageError: several devices match, there is no such profile, or it must be given for this device.
        DeviceError: no device matches.
    """
    _check_profile(profile)
    matches = matching(candidates, device, profile)
    if not matches:
        raise DeviceError(_nothing(candidates, device, profile))
    if device is None:
        return pick(matches) if pick and len(matches) > 1 else matches[0]
    if len(matches) > 1:
        raise UsageError(
            f"several devices match {device!r}: {_listed(matches)}. Give --device more of it, or the address"
        )
    if matches[0].profile is None:
        names = ", ".join(PROFILES)
        raise UsageError(f"no profile recognizes {matches[0]}. Choose one with --profile: {names}")
    return matches[0]


def matching(
    candidates: Sequence[DiscoveredDevice], device: str | None, profile: str | Profile | None
) -> list[DiscoveredDevice]:
    """The devices that match: by address, else by name, else by part of it; see `choose`."""
    if isinstance(profile, Profile) and device is None:
        return [replace(one, profile=profile) for one in candidates if profile.recognize(one.advert)]
    if device is None:
        return [one for one in candidates if one.profile and profile in (None, one.profile.name)]
    wanted = device.casefold()
    matches = (
        [one for one in candidates if one.advert.address.casefold() == wanted]
        or [one for one in candidates if one.advert.name.casefold() == wanted]
        or [one for one in candidates if wanted in one.advert.name.casefold()]
    )
    chosen = PROFILES[profile] if isinstance(profile, str) else profile
    return [replace(one, profile=chosen) for one in matches] if chosen else matches


async def adverts() -> AsyncGenerator[DiscoveredDevice | DeviceError, None]:
    """Advertisements until the generator is closed, and an error each time that a scan cannot be started or fails."""
    shared = _scans.setdefault(asyncio.get_running_loop(), _Scan())
    queue: asyncio.Queue[DiscoveredDevice | DeviceError] = asyncio.Queue()
    task = shared.join(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        if shared.leave(queue):
            await asyncio.wait({task}, timeout=RETRY_S)


class _Scan:
    """One scan per event loop, shared by all listeners: BlueZ refuses a second one ("operation already in progress").

    It is ended by an event, never by cancellation, which could leave it running in BlueZ.
    """

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[DiscoveredDevice | DeviceError]] = set()
        self._unwanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, queue: asyncio.Queue[DiscoveredDevice | DeviceError]) -> asyncio.Task[None]:
        """Deliver advertisements to `queue` from now on."""
        self._queues.add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return self._task

    def leave(self, queue: asyncio.Queue[DiscoveredDevice | DeviceError]) -> bool:
        """Stop delivering to `queue` -> whether it was the last one, so that the scan ends."""
        self._queues.discard(queue)
        if not self._queues:
            self._unwanted.set()
        return not self._queues

    async def _run(self) -> None:
        while self._queues:
            self._unwanted.clear()
            pause_s = 0.0
            try:
                async with BleakScanner(self._on_advertisement):
                    await self._wait(ROUND_S)
            except Exception as error:  # bleak's backends let errors of the system through
                failure = unavailable(error)
                logger.info("scan failed: %s; next in %g s", failure, RETRY_S)
                self._deliver(failure)
                pause_s = RETRY_S
            await self._wait(pause_s)
        self._task = None

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), seconds)

    def _on_advertisement(self, device: BLEDevice, data: AdvertisementData) -> None:
        if data.rssi != UNHEARD:
            self._deliver(discovered(device, data))

    def _deliver(self, item: DiscoveredDevice | DeviceError) -> None:
        for queue in self._queues:
            queue.put_nowait(item)


_scans: WeakKeyDictionary[asyncio.AbstractEventLoop, _Scan] = WeakKeyDictionary()


def unavailable(error: Exception) -> DeviceError:
    """Why a scan could not be started, and what to do about it."""
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
    """A system error in one line: its text without error numbers."""
    words = [word for word in error.args if isinstance(word, str)]
    text = ": ".join(words) if words and not isinstance(error, OSError) else str(error)
    return text.partition("\n")[0] or type(error).__name__


def _merged(before: DiscoveredDevice | None, one: DiscoveredDevice) -> DiscoveredDevice:
    """All that a device has advertised: some systems report its advertisement and scan response one by one."""
    if before is None:
        return one
    old, new = before.advert, one.advert
    manufacturer = {**old.manufacturer, **new.manufacturer}
    advert = Advert(new.address, new.name or old.name, old.services | new.services, manufacturer, new.rssi)
    return DiscoveredDevice(advert, recognize(advert), one.device)


def _best_first(candidates: Iterable[DiscoveredDevice]) -> list[DiscoveredDevice]:
    """Recognized ones first, then by signal strength."""

    def rank(one: DiscoveredDevice) -> tuple[bool, int, str]:
        return one.profile is None, -(UNHEARD if one.advert.rssi is None else one.advert.rssi), one.name

    return sorted(candidates, key=rank)


def _check_profile(profile: str | Profile | None) -> None:
    if isinstance(profile, str) and profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}. There are: {', '.join(PROFILES)}")


def _nothing(candidates: Sequence[DiscoveredDevice], device: str | None, profile: str | Profile | None) -> str:
    kind = profile.name if isinstance(profile, Profile) else profile or "supported"
    what = f"device that matches {device!r}" if device else f"{kind} device"
    todo = "Switch it on, bring it near, and close the phone app that it may be connected to"
    if candidates:
        return f"no {what} is near. {todo}.\nFound: {_listed(candidates)}"
    return f"no {what} is near; no device advertises at all. {todo}"


def _listed(candidates: Sequence[DiscoveredDevice]) -> str:
    named = sorted(candidates, key=lambda one: not one.advert.name)
    return ", ".join(map(str, named[:8])) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
