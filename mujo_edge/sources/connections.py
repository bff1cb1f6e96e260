"""Connections to devices: the record that a recording keeps of each (the data of its "open" payload), and its decoder.

A live source puts the `record` of a connection before its payloads and decodes them with its `decoder`. A replay reads
the record back with `read_connection`, and so gets the same decoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_bridge import phone
from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Advert, Profile, Request, Script, rehearse
from firmware_bridge.serial import SerialFormat
from firmware_bridge.stream import CodecError, Decoder
from mujo_edge.core import Payload


@dataclass(frozen=True, slots=True)
class BleConnection:
    """A connection to a wearable: `rate_hz` to ask for, UUIDs of its `services` and their characteristics.

    Its decoder depends on how the device answers the start script.
    """

    profile: Profile
    advert: Advert
    rate_hz: float | None
    services: frozenset[str]

    def record(self) -> bytes:
        """JSON that `read_connection` reads."""
        about = {"kind": "ble", "profile": self.profile.name, "name": self.advert.name, "address": self.advert.address}
        return json.dumps({**about, "rate_hz": self.rate_hz, "services": sorted(self.services)}).encode()

    def script(self) -> Script:
        """The start script, to be run on the device; it returns the decoder."""
        return self.profile.start(Request(self.advert, self.rate_hz, self.services))

    def decoder(self, replies: Iterable[bytes] = ()) -> Decoder:
        """The decoder that the start script returned when the device gave `replies`. Raises `CodecError`."""
        return rehearse(self.script(), replies)


@dataclass(frozen=True, slots=True)
class SerialConnection:
    """A connection to a serial port at `baud` bits per second."""

    port: str
    baud: int
    format: SerialFormat

    def record(self) -> bytes:
        """JSON that `read_connection` reads."""
        return json.dumps({"kind": "serial", "port": self.port, "baud": self.baud, **self.format.dump()}).encode()

    def decoder(self, replies: Iterable[bytes] = ()) -> Decoder:
        """A new decoder; boards do not reply."""
        return self.format.decoder()


@dataclass(frozen=True, slots=True)
class PhoneConnection:
    """A connection of a phone app or page. `about` is what `firmware_bridge.phone.decoder` takes."""

    about: Mapping[str, object]

    def record(self) -> bytes:
        """JSON that `read_connection` reads."""
        return json.dumps({"kind": "phone", **self.about}, separators=(",", ":")).encode()

    def decoder(self, replies: Iterable[bytes] = ()) -> Decoder:
        """A new decoder; phones do not reply. Raises `CodecError` if `about` does not describe a known app."""
        return phone.decoder(self.about)


Connection = BleConnection | SerialConnection | PhoneConnection


def read_connection(record: bytes) -> Connection:
    """The connection of a `record`, which may come from a file. Raises `CodecError` if it does not describe one."""
    try:
        about = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"the record of the connection is not JSON: {error}") from None
    if not isinstance(about, dict):
        raise CodecError("the record of the connection does not name a device")
    match about.get("kind"):
        case "ble":
            return _wearable(about)
        case "serial":
            return SerialConnection(str(about.get("port")), about.get("baud", 0), SerialFormat.load(about))
        case "phone":
            return PhoneConnection({key: value for key, value in about.items() if key != "kind"})
        case kind:
            raise CodecError(f"unknown kind of connection: {kind!r}")


def _wearable(about: Mapping[str, Any]) -> BleConnection:
    profile = PROFILES.get(str(about.get("profile")))
    if profile is None:
        raise CodecError(f"no profile is called {about.get('profile')!r}; known are {', '.join(PROFILES)}")
    rate_hz, services = about.get("rate_hz"), about.get("services")
    if not (rate_hz is None or isinstance(rate_hz, float | int)) or not isinstance(services, list):
        raise CodecError("rate_hz or services of a wearable are not valid")
    advert = Advert(str(about.get("address")), str(about.get("name")))
    return BleConnection(profile, advert, rate_hz, frozenset(map(str, services)))


def split_connections(payloads: Sequence[Payload]) -> list[list[Payload]]:
    """`payloads` cut before every "open"; the first part may continue the connection before."""
    parts: list[list[Payload]] = []
    for payload in payloads:
        if payload.kind == "open" or not parts:
            parts.append([])
        parts[-1].append(payload)
    return parts
