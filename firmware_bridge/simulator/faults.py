"""Fault scripts: scheduled faults, one per line.

# seconds  kind        amount     wearable (all if omitted)
10         loss        0.1
20         disconnect  3          polar
30/15      stall       0.5        # again every 15 s
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import isfinite
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `amount` is the meaning of its number; `whole` ones affect the adapter or the bus."""

    amount: Literal["fraction", "s", "count"]
    help: str
    whole: bool = False


KINDS = {
    "loss": Kind("fraction", "fraction of notifications that never arrive, from then on"),
    "corrupt": Kind("fraction", "fraction of notifications that arrive with a byte changed, from then on"),
    "burst": Kind("s", "seconds in which every notification is lost"),
    "stall": Kind("s", "seconds in which nothing arrives; then all of it does"),
    "delay": Kind("s", "seconds by which every notification is late, from then on"),
    "interval": Kind("s", "seconds between connection events, at which packets arrive, from then on"),
    "slow": Kind("s", "seconds that the device takes to reply, from then on"),
    "skip": Kind("count", "notifications that the device omits"),
    "disconnect": Kind("s", "the device ends the connection and is out of range for so many seconds"),
    "refuse": Kind("count", "connects that fail", whole=True),
    "adapter-off": Kind("s", "seconds that the Bluetooth adapter is off", whole=True),
    "bus-death": Kind("s", "seconds that D-Bus and the Bluetooth service are down", whole=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of `kind` and `amount` at `at_s`, and again every `every_s`, on `target` or on all wearables."""

    at_s: float
    kind: str
    amount: float
    target: str | None = None
    every_s: float | None = None


def parse(line: str) -> Fault:
    """Parse a fault "AT[/EVERY] KIND AMOUNT [WEARABLE]". Raises `ValueError` with the reason."""
    words = line.split()
    if len(words) not in (3, 4):
        raise ValueError(f'{line!r} is not a fault; write "SECONDS KIND AMOUNT [WEARABLE]", for example "10 loss 0.1"')
    at, _, every = words[0].partition("/")
    kind = KINDS.get(words[1])
    if kind is None:
        raise ValueError(f"{line!r}: no fault is called {words[1]!r}; choose from {', '.join(KINDS)}")
    if kind.whole and len(words) == 4:
        raise ValueError(f"{line!r}: {words[1]} affects all wearables; leave {words[3]!r} out")
    amount = _number(line, words[2])
    if kind.amount == "fraction" and amount > 1:
        raise ValueError(f"{line!r}: {words[1]} takes a fraction from 0 to 1")
    if kind.amount == "count" and not amount.is_integer():
        raise ValueError(f"{line!r}: {words[1]} takes a whole number")
    every_s = _number(line, every) if every else None
    if every_s == 0:
        raise ValueError(f"{line!r}: every 0 seconds is too often")
    return Fault(_number(line, at), words[1], amount, words[3] if len(words) == 4 else None, every_s)


def script(text: str) -> tuple[Fault, ...]:
    """Parse faults, one per line; # begins a comment. Raises `ValueError`."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(parse(line) for line in lines if line)


def in_time(faults: Iterable[Fault]) -> Iterator[Fault]:
    """The faults in order of time, with repeated ones expanded endlessly."""
    return heapq.merge(*map(_occurrences, faults), key=lambda fault: fault.at_s)


def _occurrences(fault: Fault) -> Iterator[Fault]:
    if fault.every_s is None:
        return iter((fault,))
    every_s = fault.every_s
    return (replace(fault, at_s=fault.at_s + number * every_s) for number in count())


def _number(line: str, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0:
        raise ValueError(f"{line!r}: {word!r} is not a number of at least 0")
    return number
