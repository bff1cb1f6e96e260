"""Malformed messages: valid JSON with arbitrary values in arbitrary places, and text that is almost JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from fuzz import BOUND, MANY, damaged, sound
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.stream import Decoder

ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**19, 10**400, -(10**400), 1e308, -1e308, 2**63, 1e-320]),
        st.floats(),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
HARDLY_JSON = st.one_of(
    st.builds(
        lambda opening, n: (opening * n).encode(), st.sampled_from(["[", '{"a":', "[[0],"]), st.integers(0, 20_000)
    ),
    st.builds(lambda n: b"[" + b"0," * n + b"0]", st.integers(0, 20_000)),
    st.builds(lambda n: b"9" * n, st.integers(1, 10_000)),
    st.sampled_from([b"", b"null", b"NaN", b"Infinity", b"\xff\xfe{}", b'{"a":1}{"b":2}', b'"\\ud800"']),
)


def survives_json(make: Callable[[], Decoder], messages: Sequence[dict[str, Any]]) -> None:
    """`fuzz.survives` for text: no exception, every packet valid and bounded."""
    decoder = make()
    plain = [json.dumps(message).encode() for message in messages]

    @MANY
    @given(
        st.one_of(st.builds(_changed, st.sampled_from(messages), st.randoms(), ANYTHING), damaged(plain), HARDLY_JSON)
    )
    def feed(data: bytes) -> None:
        packets = decoder.feed(data)
        assert all(sound(packet, len(decoder.format.channels)) for packet in packets)
        assert sum(packet.x.nbytes for packet in packets) <= BOUND * (len(data) + 64)

    feed()


def _changed(message: dict[str, Any], random: Any, value: object) -> bytes:
    """`message` with `value` somewhere in it."""
    changed: Any = deepcopy(message)
    place = changed
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = random.choice(keys)
        if not isinstance(place[key], dict | list) or random.random() < 0.3:
            place[key] = value
            break
        place = place[key]
    return json.dumps(changed).encode("utf-8", "replace")
