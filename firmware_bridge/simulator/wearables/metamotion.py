"""A MetaMotionR: BMI160, and the data processors that `firmware_bridge.profiles.metamotion` uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_bridge.profiles import metamotion
from firmware_bridge.profiles.metamotion import ACCELEROMETER, BMI160, GYROSCOPE, PACKED, PROCESSOR, RATES, TICK_HZ
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Motion, Service, Wearable
from firmware_bridge.stream import F32, F64

BUFFER, FUSER, ACCOUNTER = 0x0F, 0x1B, 0x11
SOURCE = slice(0, 3)


@dataclass(frozen=True, slots=True)
class Processor:
    """A data processor: module, register and number of its source, its type, and the rest of the command."""

    source: bytes
    type: int
    config: bytes


class MetaMotion(Wearable):
    """See the module. `chip`, `gyroscope` and `revision` (of the data processor) define the board."""

    profile = "metamotion"
    name = "MetaWear"
    advertised = (metamotion.SERVICE,)
    services = (
        Service(
            metamotion.SERVICE,
            (Characteristic(metamotion.COMMAND, write=True), Characteristic(metamotion.NOTIFY, notify=True)),
        ),
    )
    chip = BMI160
    gyroscope = True
    revision = 3

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self.processors: dict[int, Processor] = {}
        self.config: dict[int, bytes] = {ACCELEROMETER: b"", GYROSCOPE: b""}
        self._on: set[tuple[int, int]] = set()
        self._notifies: set[tuple[int, int]] = set()

    def disconnect(self, now_s: float) -> None:
        """Notifications end, but sensors and processors keep their state."""
        super().disconnect(now_s)
        self._notifies.clear()

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """A command."""
        if uuid != metamotion.COMMAND or len(data) < 2:
            raise AttributeRefusedError(0x0D)
        answer = self._obey(data, now_s)
        sends = self._accounter() is not None or self._packs
        if sends and self._measures(ACCELEROMETER) and not self.streaming:
            self.batch = 3 if self._packs else 1
            self.begin(now_s)
        self.streaming &= sends and self._measures(ACCELEROMETER)
        return [(metamotion.NOTIFY, answer)] if answer else []

    def _obey(self, data: bytes, now_s: float) -> bytes:
        match (*data,):
            case module, 0x80:
                there = {
                    ACCELEROMETER: bytes([self.chip, 1]),
                    GYROSCOPE: bytes([int(self.chip != BMI160), 1]) if self.gyroscope else b"",
                    PROCESSOR: bytes([0, self.revision, 0x1C]),
                }
                return data + there.get(module, b"")
            case (0x03 | 0x13) as sensor, 0x03, *config if len(config) == 2:
                self.config[sensor] = bytes(config)
                if sensor == ACCELEROMETER:
                    rates = {code: rate_hz for rate_hz, code in RATES.items()}
                    self.set_rate(rates.get(config[0] & 0x0F, self.rate_hz), now_s)
            case (0x03 | 0x13) as sensor, 0x01, on:
                self._switch((sensor, 0x01), bool(on))
            case (0x03 | 0x13) as sensor, 0x02, on, off if on or off:
                self._switch((sensor, 0x02), bool(on))
            case 0x09, 0x02, *added if len(added) > 4:
                number = len(self.processors)
                self.processors[number] = Processor(bytes(added[SOURCE]), added[4], bytes(added[5:]))
                return bytes([PROCESSOR, 0x02, number])
            case 0x09, 0x08:
                self.processors.clear()
                self._notifies.clear()
            case 0x09, 0x07, number, on:
                (self._notifies.add if on else self._notifies.discard)((PROCESSOR, number))
            case 0x03, register, on if register == PACKED[self.chip]:
                (self._notifies.add if on else self._notifies.discard)((ACCELEROMETER, register))
            case _:
                pass  # a board has many more commands, and does not reply to unknown ones
        return b""

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One fused sample with its time, or three packed accelerations."""
        counts = np.clip(np.rint(x / metamotion.UNIT), -32768, 32767).astype("<i2")
        if self._packs:
            return [(metamotion.NOTIFY, bytes([ACCELEROMETER, PACKED[self.chip]]) + counts[:, :3].tobytes())]
        number = self._accounter()
        assert number is not None
        tick = round(float(t_s[0]) * TICK_HZ) % 2**32
        rotation = counts[0, 3:] if self._measures(GYROSCOPE) else np.zeros(3, "<i2")
        sample = tick.to_bytes(4, "little") + counts[0, :3].tobytes() + rotation.tobytes()
        return [(metamotion.NOTIFY, bytes([PROCESSOR, 0x03, number]) + sample)]

    @property
    def _packs(self) -> bool:
        return (ACCELEROMETER, PACKED[self.chip]) in self._notifies

    def _accounter(self) -> int | None:
        """Number of a notified accounter whose source fuses accelerations and buffered rotations, None without one."""
        for number, accounter in self.processors.items():
            if (PROCESSOR, number) not in self._notifies or accounter.type != ACCOUNTER:
                continue
            fuser = self.processors.get(accounter.source[2])
            buffer = self.processors.get(fuser.config[1]) if fuser and fuser.type == FUSER else None
            rotation = bytes([GYROSCOPE, metamotion.ROTATION[self.chip], 0xFF])
            if buffer and buffer.type == BUFFER and buffer.source == rotation:
                return number
        return None

    def _measures(self, sensor: int) -> bool:
        return {(sensor, 0x01), (sensor, 0x02)} <= self._on

    def _switch(self, what: tuple[int, int], on: bool) -> None:
        (self._on.add if on else self._on.discard)(what)
