"""One Bluetooth connection: made, its start script run, its notifications stamped, and closed for good."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Self

from bleak import BleakClient
from bleak.exc import BleakCharacteristicNotFoundError

from firmware_bridge.profiles.base import Expect, Pause, Profile, Read, Script, Step, Subscribe, Write
from firmware_bridge.stream import CodecError, Decoder
from mujo_edge.core import DeviceError, Payload
from mujo_edge.sources.ble.scan import DiscoveredDevice, reason
from mujo_edge.sources.connections import BleConnection
from mujo_edge.sources.live import PayloadQueue

CONNECT_S = 15.0
"""Time for a connection with its services; some devices advertise, and so can be connected to, every few seconds."""

START_S = 90.0
"""Time for the steps of a start script; each `Expect` has a limit of its own."""

STOP_S = 1.0
"""Time for the stop steps, and for the disconnect after them."""


class LinkError(DeviceError):
    """The connection could not be made, or was lost. Another time it may be better."""


class RefusedError(LinkError):
    """The device is there, but does not do what its profile asks."""


class Link:
    """One connection. Its notifications wait in an inlet of its own, so nothing of an earlier one can come again.

    Args:
        found: what to connect to, with its profile. rate_hz: as in `Request`.

    Attributes:
        decoder: of what `take` gives; there after `open`.
    """

    decoder: Decoder

    def __init__(self, found: DiscoveredDevice, profile: Profile, rate_hz: float | None) -> None:
        self._found, self._profile, self._rate_hz = found, profile, rate_hz
        self._inlet = PayloadQueue()
        self._client = BleakClient(found.device, lambda _: self._inlet.put(b"", kind="close"), timeout=CONNECT_S)
        self._kept: list[Payload] = []
        self._over = False
        self._asked_s = monotonic()

    async def open(self) -> Self:
        """Connect and run the start script; what came meanwhile is the first that `take` gives.

        Raises:
            LinkError: it could not be done. `RefusedError`: the device does not do what it should.
        """
        try:
            with _errors(f"cannot connect to {self._found}"):
                await self._client.connect()
                services = frozenset(
                    uuid.lower()
                    for service in self._client.services
                    for uuid in (service.uuid, *(one.uuid for one in service.characteristics))
                )
            connection = BleConnection(self._profile, self._found.advert, self._rate_hz, services)
            self._inlet.put(connection.record(), kind="open")
            async with asyncio.timeout(START_S):
                self.decoder = await self._run(connection.script())
        except TimeoutError:
            await self.close()
            raise LinkError(f"{self._found} did not start within {START_S:g} s") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def take(self, timeout_s: float | None) -> list[Payload]:
        """What came since the last call. Raises `LinkError` after the end, `RefusedError` if nothing comes."""
        if not self._kept:
            try:
                await self._more(timeout_s)
            except TimeoutError:
                raise RefusedError(f"{self._found} is connected, but sends no samples") from None
        taken, self._kept = self._kept, []
        return taken

    async def close(self) -> list[Payload]:
        """Stop the stream and disconnect, however that goes -> what was not taken, and that it is closed.

        A client is disconnected even if the device went away by itself: else its notifications would come twice
        after the next connect (hbldh/bleak#2002).
        """
        with suppress(Exception):  # the link is given up: there is nobody left to whom an error would matter
            async with asyncio.timeout(STOP_S):
                for step in self._profile.stop if self._client.is_connected else ():
                    await self._client.write_gatt_char(step.uuid, step.data, step.response)
        with suppress(Exception):
            async with asyncio.timeout(STOP_S):
                await self._client.disconnect()
        if not self._over:
            self._over = True
            self._inlet.put(b"", kind="close")
            rest = await self._inlet.take()
            ended = next((place for place, raw in enumerate(rest) if raw.kind == "close"), len(rest))
            self._kept += [*rest[:ended], Payload(monotonic(), "close", "", b"")]
        taken, self._kept = self._kept, []
        return taken

    async def _more(self, timeout_s: float | None) -> None:
        """Wait until more came, and keep it. Raises `LinkError` after the end, else `TimeoutError`."""
        if self._over:
            raise LinkError("the connection was lost")
        async with asyncio.timeout(timeout_s):
            news = await self._inlet.take()
        self._kept += news
        self._over = any(raw.kind == "close" for raw in news)

    async def _run(self, script: Script) -> Decoder:
        try:
            step = next(script)
            while True:
                try:
                    answer = await self._do(step)
                except TimeoutError as error:
                    step = script.throw(error)
                else:
                    step = script.send(answer)
        except StopIteration as end:
            decoder: Decoder = end.value
            return decoder
        except CodecError as error:
            raise RefusedError(f"{self._found} does not stream: {error}") from None
        except TimeoutError:
            raise RefusedError(f"{self._found} is connected, but does not answer") from None

    async def _do(self, step: Step) -> bytes:
        """The reply of a step. Raises `TimeoutError` if what an `Expect` waits for does not come, else `LinkError`."""
        match step:
            case Subscribe(uuid):
                # AcquireNotify, BlueZ's other way, loses what its socket cannot take, and nobody is told.
                with _errors(f"{self._found} does not let itself be subscribed to"):
                    await self._client.start_notify(
                        uuid, lambda _, data: self._inlet.put(bytes(data), uuid), bluez={"use_start_notify": True}
                    )
            case Write(uuid, data, response):
                self._asked_s = monotonic()
                with _errors(f"{self._found} does not take a command"):
                    await self._client.write_gatt_char(uuid, data, response)
            case Read(uuid):
                with _errors(f"{self._found} does not let itself be read"):
                    value = bytes(await self._client.read_gatt_char(uuid))
                self._inlet.put(value, uuid, kind="reply")
                return value
            case Expect():
                return await self._expect(step)
            case Pause(seconds):
                await asyncio.sleep(seconds)
        return b""

    async def _expect(self, step: Expect) -> bytes:
        """The answer to a write may be here before the write is done, but not before it was begun."""
        until_s = monotonic() + step.timeout_s
        place = 0
        while True:
            for raw in self._kept[place:]:
                fits = raw.kind == "data" and raw.origin == step.uuid and raw.received_s >= self._asked_s
                if fits and step.matches(raw.data):
                    self._kept[place] = replace(raw, kind="reply")
                    return raw.data
                place += 1
            await self._more(max(0.0, until_s - monotonic()))


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """bleak's backends let any error of the system through: each becomes a `LinkError`."""
    try:
        yield
    except BleakCharacteristicNotFoundError as error:
        raise RefusedError(f"{what}: it has no characteristic {error.char_specifier}. Is --profile right?") from error
    except Exception as error:
        text = reason(error)
        if re.search("insufficient (auth|encrypt)|NotAuthorized", text, re.IGNORECASE):
            raise RefusedError(f"{what}: it wants to be paired. Pair it in the system's Bluetooth settings") from error
        raise LinkError(f"{what}: {text}") from error
