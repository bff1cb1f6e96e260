"""A simulated Bluetooth environment: wearables on a virtual radio in a separate process, for unmodified bleak.

    async def test_something(bluetooth):
        world = bluetooth("witmotion", "mujo")
        ...                                   # bleak finds them
        world.fault("0 loss 0.1")
        assert world.stats()["witmotion"]["lost"] > 0

Import the fixture into the test module or its conftest: `from bluetooth import bluetooth`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from firmware_bridge.simulator.remote import RemoteWorld

StartWorld = Callable[..., RemoteWorld]


@pytest.fixture
def bluetooth(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartWorld]:
    """A function that starts a world of wearables (and options of `python -m firmware_bridge.simulator ble`), which
    is this machine's Bluetooth until the test ends."""
    with ExitStack() as stack:

        def start(*wearables: str, options: tuple[str, ...] = ()) -> RemoteWorld:
            world = stack.enter_context(RemoteWorld(*wearables, options=options))
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
            return world

        yield start
