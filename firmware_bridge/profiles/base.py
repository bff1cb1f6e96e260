"""Sans-IO description of a family of devices: how to recognize, start and stop them.

A profile's `start` is a generator that yields steps and receives the reply to each, so that bleak, a simulated device
and a recorded transcript can all drive it:

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
    """An advertisement. `services` are lower-case 128-bit UUIDs; `manufacturer` is data by company id."""

    address: str
    name: str = ""
    services: frozenset[str] = frozenset()
    manufacturer: Mapping[int, bytes] = field(default_factory=dict)
    rssi: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to notifications (or indications) of a characteristic. The reply is b""."""

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
    """Wait for a notification of a characteristic that `matches`; it is the reply. Others go to the decoder later.

    If there is none within `timeout_s`, `TimeoutError` is thrown into the generator.
    """

    uuid: str
    matches: Callable[[bytes], bool] = lambda _: True
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for the device. The reply is b""."""

    seconds: float


Step = Subscribe | Write | Read | Expect | Pause
Script = Generator[Step, bytes, Decoder]
"""Steps until the device streams; returns its decoder. Raises `CodecError` if the device refuses."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to stream: `rate_hz` None leaves the choice to the profile (50 Hz or the next higher rate).

    `advert` is the device's advertisement, `services` are the UUIDs of its services and characteristics.
    """

    advert: Advert
    rate_hz: float | None = None
    services: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """A family of devices that speak one protocol.

    Attributes:
        name: value of `--profile`. title: name for display. source: URL of the published byte layout.
        channels: all channels that it can provide. rates_hz: supported rates; empty if the rate cannot be chosen.
        clock: description of its packets' time stamps ("none", "64-bit ns", ...).
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
    """The offered rate nearest to the requested one; without a request 50 Hz or the next higher, else the highest."""
    if wanted_hz is not None:
        return min(rates_hz, key=lambda rate: (abs(rate - wanted_hz), rate))
    return min((rate for rate in rates_hz if rate >= 50), default=max(rates_hz))


def rehearse(script: Script, replies: Iterable[bytes]) -> Decoder:
    """Run a script with recorded `replies` to its `Read` and `Expect` steps, in order -> its decoder.

    Raises `CodecError` if replies are missing, do not match, or the script rejects one.
    """
    remaining = iter(replies)
    answer = b""
    step: Step = next(script)
    while True:
        if isinstance(step, Read | Expect):
            try:
                answer = next(remaining)
            except StopIteration:
                raise CodecError(f"no reply is left for {step}") from None
            if isinstance(step, Expect) and not step.matches(answer):
                raise CodecError(f"an unexpected reply: {answer[:16].hex(' ')}")
        else:
            answer = b""
        try:
            step = script.send(answer)
        except StopIteration as end:
            decoder: Decoder = end.value
            return decoder
