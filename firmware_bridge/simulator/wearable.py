"""The device's end of a Bluetooth protocol without a radio: services, replies, and notifications when they are due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor

import numpy as np

from firmware_bridge.stream import F32, F64

Motion = Callable[[F64], F32]
"""Times (n,) in seconds -> (n, 6): m/s2 with gravity and rad/s in the axes of a watch."""

MAX_LATENESS_S = 0.5
"""Samples that are later than this are shifted in time: the process was suspended, not the sensor."""


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A characteristic with its properties."""

    uuid: str
    read: bool = False
    write: bool = False
    notify: bool = False
    indicate: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service and its characteristics."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


class AttributeRefusedError(Exception):
    """The ATT error `code` to reply to a read or write with (Core specification, Vol 3, Part F, 3.4.1.1)."""

    def __init__(self, code: int = 0x80) -> None:
        super().__init__(f"ATT error 0x{code:02x}")
        self.code = code


class Wearable:
    """A virtual wearable. Subclasses set the class attributes and implement `write`, `read` and `encode`.

    The sensor samples `motion` from the first `connect` on, at `rate_hz` by a clock that runs `drift_ppm` fast, and
    continues without a connection. While it streams, `due` returns the notifications of complete batches of `batch`
    samples.

    Attributes:
        name, advertised, manufacturer: content of the advertisement. services: its GATT services.
        streams_on: the characteristic that streams while subscribed, "" if a command starts the stream.
        mtu: largest supported ATT packet; a notification holds 3 bytes less.
        taken: number of the next sample. notified: number of samples in notifications so far.
        begun: number of the first notified sample, None before that.
    """

    profile: str
    name: str
    advertised: tuple[str, ...] = ()
    manufacturer: Mapping[int, bytes] = {}
    services: tuple[Service, ...]
    rate_hz: float = 50.0
    batch: int = 1
    streams_on: str = ""
    mtu: int = 247

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        self.taken = first
        self.notified = 0
        self.begun: int | None = None
        self.streaming = False
        self.subscribed: set[str] = set()
        self._motion, self._drift = motion, 1 + drift_ppm * 1e-6
        self._began_s: float | None = None
        self._first = first

    def connect(self, now_s: float) -> None:
        """A central connected; the sensor's clock starts with the first connection."""
        if self._began_s is None:
            self._restart(now_s)
        self._skip(now_s)

    def disconnect(self, now_s: float) -> None:
        """The central disconnected: subscriptions and the stream end."""
        self.subscribed.clear()
        self.streaming = False

    def subscribe(self, uuid: str, on: bool, now_s: float) -> None:
        """Notifications of a characteristic were turned on or off."""
        (self.subscribed.add if on else self.subscribed.discard)(uuid)
        if uuid == self.streams_on and on:
            self.begin(now_s)
        elif uuid == self.streams_on:
            self.streaming = False

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Handle a write -> notifications in reply. Raises `AttributeRefusedError`."""
        raise AttributeRefusedError(0x03)

    def read(self, uuid: str) -> bytes:
        """The value of a characteristic. Raises `AttributeRefusedError`."""
        raise AttributeRefusedError(0x02)

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """Notifications of a batch `x` (batch, 6), numbered from `first`, taken at `t_s` (batch,) of the device's
        clock."""
        raise AssertionError(f"{type(self).__name__} does not encode")

    def set_rate(self, rate_hz: float, now_s: float) -> None:
        """Sample at another rate from now on."""
        if rate_hz != self.rate_hz:
            self.rate_hz = rate_hz
            self._restart(now_s)

    def begin(self, now_s: float) -> None:
        """Start to stream."""
        self._skip(now_s)
        self.streaming = True

    def next_s(self) -> float | None:
        """Time at which the next batch is due, None while it does not stream."""
        if not self.streaming or self._began_s is None:
            return None
        return self._time(self.taken + self.batch - 1)

    def due(self, now_s: float) -> list[tuple[str, bytes]]:
        """Notifications of the batches that are complete by `now_s`, as (uuid, payload) in order."""
        notifications: list[tuple[str, bytes]] = []
        while (next_s := self.next_s()) is not None and next_s <= now_s:
            assert self._began_s is not None
            if now_s - next_s > MAX_LATENESS_S:
                self._began_s += now_s - next_s
            numbers = np.arange(self.taken, self.taken + self.batch)
            device_s = numbers / self.rate_hz
            self.begun = self.taken if self.begun is None else self.begun
            notifications += self.encode(self._motion(device_s), self.taken, device_s)
            self.taken += self.batch
            self.notified += self.batch
        return notifications

    def _time(self, number: int) -> float:
        """Host time at which a sample is taken."""
        assert self._began_s is not None
        return self._began_s + (number - self._first) / (self.rate_hz * self._drift)

    def _restart(self, now_s: float) -> None:
        self._began_s, self._first = now_s, self.taken

    def _skip(self, now_s: float) -> None:
        """Skip the samples that were taken while it did not stream."""
        assert self._began_s is not None
        elapsed = floor((now_s - self._began_s) * self.rate_hz * self._drift)
        self.taken = max(self.taken, self._first + elapsed)
