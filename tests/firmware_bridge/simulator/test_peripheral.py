"""Advertisements and notifications of a simulated wearable, without a radio."""

from __future__ import annotations

import pytest
from bumble.core import UUID, AdvertisingData

from firmware_bridge.profiles import PROFILES
from firmware_bridge.simulator.conversation import converse
from firmware_bridge.simulator.motion import sine
from firmware_bridge.simulator.peripheral import advertisement
from firmware_bridge.simulator.wearable import Wearable
from firmware_bridge.simulator.wearables import WEARABLES

LONG = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
SHORT = "0000feee-0000-1000-8000-00805f9b34fb"


def encoded(name: str, *advertised: str, manufacturer: dict[int, bytes] | None = None) -> tuple[bytes, bytes]:
    wearable = Wearable(sine)
    wearable.name, wearable.advertised, wearable.manufacturer = name, advertised, manufacturer or {}
    return advertisement(wearable)


def test_fields_that_fit_are_in_the_advertisement() -> None:
    advert, response = encoded("Watch", SHORT)
    assert advert == bytes.fromhex("020106 0303eefe 0609") + b"Watch"
    assert response == b""


def test_remaining_fields_are_in_the_scan_response() -> None:
    advert, response = encoded("A watch with a long name", LONG, manufacturer={0x0059: b"\x01\x02\x03"})
    assert max(len(advert), len(response)) <= 31
    first, second = AdvertisingData.from_bytes(advert), AdvertisingData.from_bytes(response)
    assert first.get(AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS) == [UUID(LONG)]
    assert first.get(AdvertisingData.MANUFACTURER_SPECIFIC_DATA) == (0x0059, b"\x01\x02\x03")
    assert second.get(AdvertisingData.COMPLETE_LOCAL_NAME) == "A watch with a long name"


def test_too_long_advertisements_are_rejected() -> None:
    with pytest.raises(ValueError, match="31 and a scan response of 31 fit"):
        encoded("A watch with a name that is longer than it may be", LONG)


@pytest.mark.parametrize("name", WEARABLES)
def test_notifications_fit_the_mtu(name: str) -> None:
    wearable = WEARABLES[name](sine)
    talk = converse(PROFILES[wearable.profile], wearable)
    payloads = [payload for tenth in range(1, 21) for _, payload in wearable.due(talk.now_s + tenth / 10)]
    assert payloads or talk.waiting
    assert max(len(payload) for payload in payloads) <= wearable.mtu - 3
