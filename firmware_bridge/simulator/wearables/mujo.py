"""A board with mujo-edge's own firmware: it streams while subscribed, and its rate is set by a write."""

from __future__ import annotations

from firmware_bridge.profiles import mujo
from firmware_bridge.protocol import packet
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Service, Wearable
from firmware_bridge.stream import F32, F64


class Mujo(Wearable):
    """See the module. With `channels` 3 it has no gyroscope; `batch` samples make a packet."""

    profile = "mujo"
    name = "mujo-edge"
    advertised = (mujo.SERVICE,)
    services = (
        Service(
            mujo.SERVICE,
            (Characteristic(mujo.DATA, notify=True), Characteristic(mujo.CONFIG, read=True, write=True)),
        ),
    )
    rate_hz = 52.0
    rates_hz: tuple[float, ...] = (26.0, 52.0, 104.0)
    channels = 6
    placement: str | None = "wrist"
    streams_on = mujo.DATA

    def read(self, uuid: str) -> bytes:
        """Config, the only readable value."""
        if uuid != mujo.CONFIG:
            raise AttributeRefusedError(0x02)
        return mujo.Config(self.channels, self.placement, self.rate_hz, self.rates_hz).encode()

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Set the rate; an unsupported one changes nothing."""
        if uuid != mujo.CONFIG or len(data) != 2:
            raise AttributeRefusedError(0x0D)
        rate_hz = int.from_bytes(data, "little") / 10
        if rate_hz in self.rates_hz:
            self.set_rate(rate_hz, now_s)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One packet."""
        tick = round(float(t_s[-1]) * packet.TICK_HZ)
        return [(mujo.DATA, packet.encode(x[:, : self.channels], first, tick))]
