"""A PineTime with InfiniTime: it samples ten times a second and sends only changes."""

from __future__ import annotations

from firmware_bridge.profiles import infinitime
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Service, Wearable
from firmware_bridge.simulator.wearables.microbit import counts
from firmware_bridge.stream import F32, F64


class InfiniTime(Wearable):
    """See the module. `withheld` counts samples that equal the one before, which are not sent."""

    profile = "infinitime"
    name = "InfiniTime"
    rate_hz = infinitime.RATE_HZ
    services = (
        Service(
            infinitime.SERVICE,
            (
                Characteristic(infinitime.STEPS, read=True, notify=True),
                Characteristic(infinitime.MOTION, read=True, notify=True),
            ),
        ),
    )
    withheld = 0
    _last = bytes(6)
    streams_on = infinitime.MOTION

    def read(self, uuid: str) -> bytes:
        """The last values."""
        if uuid == infinitime.STEPS:
            return bytes(4)
        if uuid == infinitime.MOTION:
            return self._last
        raise AttributeRefusedError(0x02)

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """The sample, clipped at 2 g, if it differs from the last one."""
        now = counts(x[0, :3], infinitime.AXES, 1024, 2048)
        if now == self._last:
            self.withheld += 1
            self.notified -= 1
            return []
        self._last = now
        return [(infinitime.MOTION, now)]
