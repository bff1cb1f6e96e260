"""How a family of devices is found, started and stopped, without doing any of it.

A profile's `start` is a generator, so that one driver (bleak), one stand-in and a recorded transcript can all run it:
it yields steps and is sent the reply of each.

    def start(request):
        yield Subscribe(DATA)
        rate = yield Read(PERIOD)              # bytes
        yield Write(CONTROL, b"...")
        answer = yield Expect(CONTROL, lambda reply: reply[:1] == b"\\xf0")
        return PayloadDecoder(Format(...), {DATA: decode})
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from firmware_bridge.stream import CodecError, Decoder

SIG_BASE = "-0000-1000-8000-00805f9b34fb"
"""End of a 16-bit UUID of the Bluetooth SIG in its 128-bit form (Core specification, Vol 3, Part B, 2.5.1)."""


@dataclass(frozen=True, slots=True)
class Advert:
    """What a device says while it advertises. `services` are lower-case 128-bit UUIDs; `manufacturer` by company id."""

    address: str
    name: str = ""
    services: frozenset[str] = frozenset()
    manufacturer: Mapping[int, bytes] = field(default_factory=dict)
    rssi: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask for notifications (or indications) of a characteristic. The reply is b""."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Write:
    """Write a characteristic, with or without response. The reply is b""."""

    uuid: str
    data: bytes
    response: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """Read a characteristic. The reply is its value."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait for a notification of a characteristic that `matches`. The reply is it; others go to the decoder later.

    When none comes within `timeout_s`, `TimeoutError` is thrown into the generator.
    """

    uuid: str
    matches: Callable[[bytes], bool] = lambda _: True
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Give the device time. The reply is b""."""

    seconds: float


Step = Subscribe | Write | Read | Expect | Pause
Script = Generator[Step, bytes, Decoder]
"""Steps until the device streams, then what decodes it. Raises `CodecError` where the device refuses."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a device: `rate_hz` None leaves the choice to the profile (nearest to 50 Hz from above).

    `advert` is what it advertised, `services` the UUIDs of the services and characteristics that it was found to have.
    """

    advert: Advert
    rate_hz: float | None = None
    services: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """A family of devices that speak one protocol.

    Attributes:
        name: for `--profile`. title: for people. source: where the byte layout is published (URL).
        channels: the most it gives. rates_hz: what can be asked for; empty if it cannot be chosen.
        clock: what time its packets carry, for people ("none", "64-bit ns", ...).
        recognize: whether an advertisement is of this family.
        start: steps until it streams. stop: steps that end the stream, tried before an orderly disconnect.
    """

    name: str
    title: str
    source: str
    channels: tuple[str, ...]
    rates_hz: tuple[float, ...]
    clock: str
    recognize: Callable[[Advert], bool]
    start: Callable[[Request], Script]
    stop: tuple[Write, ...] = ()


def nearest_rate(rates_hz: tuple[float, ...], wanted_hz: float | None) -> float:
    """The offered rate nearest to what was wanted; else 50 Hz or the next above, or the fastest."""
    if wanted_hz is not None:
        return min(rates_hz, key=lambda rate: (abs(rate - wanted_hz), rate))
    return min((rate for rate in rates_hz if rate >= 50), default=max(rates_hz))


def rehearse(script: Script, replies: Iterable[bytes]) -> Decoder:
    """The decoder at the end of a script whose `Read` and `Expect` steps are answered by `replies`, in order.

    Raises `CodecError` where the replies run out, are not what is expected, or are refused.
    """
    waiting = iter(replies)
    answer = b""
    step: Step = next(script)
    while True:
        if isinstance(step, Read | Expect):
            try:
                answer = next(waiting)
            except StopIteration:
                raise CodecError(f"no reply is left for {step}") from None
            if isinstance(step, Expect) and not step.matches(answer):
                raise CodecError(f"not the reply that was expected: {answer[:16].hex(' ')}")
        else:
            answer = b""
        try:
            step = script.send(answer)
        except StopIteration as end:
            decoder: Decoder = end.value
            return decoder
