"""One Bluetooth connection: connect, run the start script, timestamp notifications, disconnect."""

from __future__ import annotations

import asyncio
import logging
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

logger = logging.getLogger(__name__)

CONNECT_S = 15.0
"""Time limit of connecting and discovering services; some devices advertise only every few seconds."""

START_S = 90.0
"""Time limit of a whole start script; each `Expect` has a limit of its own."""

STOP_S = 1.0
"""Time limit of the stop steps, and of the disconnect after them."""


class LinkError(DeviceError):
    """The connection could not be made, or was lost. Trying again may help."""


class RefusedError(LinkError):
    """The device is connected, but does not do what its profile asks."""


class Link:
    """One connection. It has a queue of its own, so that no notification of an earlier connection can appear in it.

    Args:
        discovered: the device to connect to. profile: its profile. rate_hz: as in `Request`.

    Attributes:
        decoder: of the payloads that `take` returns; set by `open`.
    """

    decoder: Decoder

    def __init__(self, discovered: DiscoveredDevice, profile: Profile, rate_hz: float | None) -> None:
        self._discovered, self._profile, self._rate_hz = discovered, profile, rate_hz
        self._queue = PayloadQueue()
        self._client = BleakClient(discovered.device, lambda _: self._queue.put(b"", kind="close"), timeout=CONNECT_S)
        self._received: list[Payload] = []
        self._closed = False
        self._written_s = monotonic()

    async def open(self) -> Self:
        """Connect and run the start script; `take` returns the payloads received meanwhile first.

        Raises:
            LinkError: no connection. `RefusedError`: the device does not do what its profile asks.
        """
        began_s = monotonic()
        logger.info("connecting to %s with the profile %s", self._discovered, self._profile.name)
        try:
            with _errors(f"cannot connect to {self._discovered}"):
                await self._client.connect()
                services = frozenset(
                    uuid.lower()
                    for service in self._client.services
                    for uuid in (service.uuid, *(one.uuid for one in service.characteristics))
                )
            logger.debug(
                "connected after %.2f s; %d services and characteristics", monotonic() - began_s, len(services)
            )
            connection = BleConnection(self._profile, self._discovered.advert, self._rate_hz, services)
            self._queue.put(connection.record(), kind="open")
            async with asyncio.timeout(START_S):
                self.decoder = await self._run(connection.script())
            logger.debug("started after %.2f s", monotonic() - began_s)
        except TimeoutError:
            await self.close()
            raise LinkError(f"{self._discovered} did not start within {START_S:g} s") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def take(self, timeout_s: float | None) -> list[Payload]:
        """Payloads since the last call. Raises `LinkError` after the end, `RefusedError` if there are none in time."""
        if not self._received:
            try:
                await self._more(timeout_s)
            except TimeoutError:
                raise RefusedError(f"{self._discovered} is connected, but sends no samples") from None
        taken, self._received = self._received, []
        return taken

    async def close(self) -> list[Payload]:
        """Stop the stream and disconnect, ignoring errors -> the payloads not taken yet, and a last "close".

        A client is disconnected even if the device went away by itself: otherwise its notifications would arrive twice
        after the next connect (hbldh/bleak#2002).
        """
        with suppress(Exception):  # the connection is given up, so its errors do not matter any more
            async with asyncio.timeout(STOP_S):
                for step in self._profile.stop if self._client.is_connected else ():
                    await self._client.write_gatt_char(step.uuid, step.data, step.response)
        with suppress(Exception):
            async with asyncio.timeout(STOP_S):
                await self._client.disconnect()
        if not self._closed:
            self._closed = True
            self._queue.put(b"", kind="close")
            rest = await self._queue.take()
            ended = next((index for index, payload in enumerate(rest) if payload.kind == "close"), len(rest))
            self._received += [*rest[:ended], Payload(monotonic(), "close", "", b"")]
        taken, self._received = self._received, []
        return taken

    async def _more(self, timeout_s: float | None) -> None:
        """Wait for more payloads. Raises `LinkError` after the end, `TimeoutError` if there are none in time."""
        if self._closed:
            raise LinkError("the connection was lost")
        async with asyncio.timeout(timeout_s):
            received = await self._queue.take()
        self._received += received
        self._closed = any(payload.kind == "close" for payload in received)

    async def _run(self, script: Script) -> Decoder:
        try:
            step = next(script)
            while True:
                began_s = monotonic()
                try:
                    answer = await self._do(step)
                except TimeoutError as error:
                    logger.debug("%s: no reply", step)
                    step = script.throw(error)
                else:
                    logger.debug("%s: %s after %.3f s", step, answer.hex(" ") or "done", monotonic() - began_s)
                    step = script.send(answer)
        except StopIteration as end:
            decoder: Decoder = end.value
            return decoder
        except CodecError as error:
            raise RefusedError(f"{self._discovered} does not stream: {error}") from None
        except TimeoutError:
            raise RefusedError(f"{self._discovered} is connected, but does not answer") from None

    async def _do(self, step: Step) -> bytes:
        """The reply of a step. Raises `TimeoutError` where an `Expect` gets no reply, else `LinkError`."""
        match step:
            case Subscribe(uuid):
                # AcquireNotify, BlueZ's other way, silently loses notifications that do not fit its socket.
                with _errors(f"{self._discovered} refuses notifications"):
                    await self._client.start_notify(
                        uuid, lambda _, data: self._queue.put(bytes(data), uuid), bluez={"use_start_notify": True}
                    )
            case Write(uuid, data, response):
                self._written_s = monotonic()
                with _errors(f"{self._discovered} refuses a command"):
                    await self._client.write_gatt_char(uuid, data, response)
            case Read(uuid):
                with _errors(f"{self._discovered} refuses to be read"):
                    value = bytes(await self._client.read_gatt_char(uuid))
                self._queue.put(value, uuid, kind="reply")
                return value
            case Expect():
                return await self._expect(step)
            case Pause(seconds):
                await asyncio.sleep(seconds)
        return b""

    async def _expect(self, step: Expect) -> bytes:
        """The reply to a write may arrive before the write is done, but not before it was begun."""
        until_s = monotonic() + step.timeout_s
        index = 0
        while True:
            for payload in self._received[index:]:
                fits = payload.kind == "data" and payload.origin == step.uuid and payload.received_s >= self._written_s
                if fits and step.matches(payload.data):
                    self._received[index] = replace(payload, kind="reply")
                    return payload.data
                index += 1
            await self._more(max(0.0, until_s - monotonic()))


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn every error into a `LinkError`: bleak's backends pass on those of the system."""
    try:
        yield
    except BleakCharacteristicNotFoundError as error:
        raise RefusedError(f"{what}: it has no characteristic {error.char_specifier}. Is --profile right?") from error
    except Exception as error:
        text = reason(error)
        if re.search("insufficient (auth|encrypt)|NotAuthorized", text, re.IGNORECASE):
            raise RefusedError(f"{what}: it must be paired first. Pair it in the system's settings") from error
        raise LinkError(f"{what}: {text}") from error
