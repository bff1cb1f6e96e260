"""Runs a profile against a virtual wearable without a radio, as a driver would, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from firmware_bridge.profiles.base import Advert, Expect, Pause, Profile, Read, Request, Step, Subscribe, Write
from firmware_bridge.simulator.wearable import Wearable
from firmware_bridge.stream import F32, Decoder, Packet

ADDRESS = "00:00:00:00:00:01"


@dataclass(slots=True)
class Conversation:
    """A finished start script with its steps and replies. `waiting` are notifications that no step expected."""

    decoder: Decoder
    now_s: float
    steps: list[Step]
    replies: list[bytes]
    waiting: list[tuple[str, bytes]] = field(default_factory=list)


def advert(wearable: Wearable) -> Advert:
    """The wearable's advertisement."""
    return Advert(ADDRESS, wearable.name, frozenset(wearable.advertised), wearable.manufacturer)


def converse(profile: Profile, wearable: Wearable, rate_hz: float | None = None, now_s: float = 0.0) -> Conversation:
    """Connect and run the profile's start against the wearable."""
    services = {service.uuid for service in wearable.services}
    services |= {characteristic.uuid for service in wearable.services for characteristic in service.characteristics}
    script = profile.start(Request(advert(wearable), rate_hz, frozenset(services)))
    steps: list[Step] = []
    replies: list[bytes] = []
    waiting: list[tuple[str, bytes]] = []
    wearable.connect(now_s)
    answer: bytes | None = None
    timed_out = False
    while True:
        try:
            if answer is None and not steps:
                step = next(script)
            else:
                step = script.throw(TimeoutError()) if timed_out else script.send(answer or b"")
        except StopIteration as end:
            return Conversation(end.value, now_s, steps, replies, waiting)
        steps.append(step)
        answer, timed_out = b"", False
        match step:
            case Subscribe(uuid):
                wearable.subscribe(uuid, True, now_s)
            case Write(uuid, data):
                waiting += wearable.write(uuid, data, now_s)
            case Read(uuid):
                answer = wearable.read(uuid)
                replies.append(answer)
            case Pause(seconds):
                now_s += seconds
                waiting += wearable.due(now_s)
            case Expect(uuid, matches, timeout_s):
                reply = _take(waiting, uuid, matches)
                if reply is None:
                    now_s += timeout_s
                    waiting += wearable.due(now_s)
                    reply = _take(waiting, uuid, matches)
                if reply is None:
                    timed_out = True
                else:
                    answer = reply
                    replies.append(reply)


def _take(waiting: list[tuple[str, bytes]], uuid: str, matches: Callable[[bytes], bool]) -> bytes | None:
    for i, (origin, payload) in enumerate(waiting):
        if origin == uuid and matches(payload):
            del waiting[i]
            return payload
    return None


def listen(talk: Conversation, wearable: Wearable, seconds: float) -> list[Packet]:
    """Packets that are decoded in `seconds` more of the stream, in steps of 20 ms."""
    packets = [packet for uuid, payload in talk.waiting for packet in talk.decoder.feed(payload, uuid)]
    talk.waiting.clear()
    for now_s in talk.now_s + np.arange(1, round(seconds * 50) + 1) / 50:
        for uuid, payload in wearable.due(float(now_s)):
            packets += talk.decoder.feed(payload, uuid)
    talk.now_s += seconds
    return packets


def samples(packets: list[Packet]) -> F32:
    """All samples of packets (n, C)."""
    return np.concatenate([packet.x for packet in packets])


def stop(profile: Profile, wearable: Wearable, now_s: float) -> list[tuple[str, bytes]]:
    """Run the steps that end the stream -> the notifications in reply."""
    return [answer for step in profile.stop for answer in wearable.write(step.uuid, step.data, now_s)]
