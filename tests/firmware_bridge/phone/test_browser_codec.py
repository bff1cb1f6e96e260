from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from fuzz import survives
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.phone import decoder
from firmware_bridge.phone.browser import MAX_HELLO, Browser, Hello, encode, hello
from firmware_bridge.stream import CodecError, G

ANDROID, IPHONE = Hello("Google Inc.", True), Hello("Apple Computer, Inc.", True)
ROW = [1500.0, 1.0, 2.0, G, 90.0, 0.0, -180.0]


def test_golden_batch_is_reproduced() -> None:
    data = bytes.fromhex("03 01 0000 2a00000000000000007097400000803f 00000040 0000803f0000b442 00000000 000034c3")
    (packet,) = Browser(ANDROID).feed(data)
    np.testing.assert_allclose(packet.x, [[1, 2, 1, np.pi / 2, 0, -np.pi]], rtol=1e-6)
    assert packet.seq == 42
    assert packet.t_s is not None
    assert packet.t_s.tolist() == [1.5]
    assert encode(np.array([[1500.0, 1, 2, 1, 90, 0, -180]]), 42) == data


def test_sign_of_webkit_is_inverted() -> None:
    data = encode(np.array([[0, 0, 0, -G, 10, 20, 30]]), 0)
    (packet,) = Browser(IPHONE).feed(data)
    np.testing.assert_allclose(packet.x, [[0, 0, G, *np.radians([10, 20, 30])]], atol=1e-6)


def test_batch_without_gyroscope() -> None:
    made = Browser(Hello("", False))
    (packet,) = made.feed(encode(np.array([[20.0, 1, 2, 3], [40.0, 4, 5, 6]]), 2**32 - 1))
    assert (packet.x.tolist(), packet.seq) == ([[1, 2, 3], [4, 5, 6]], 2**32 - 1)
    assert made.feed(encode(np.array([ROW]), 0)) == []
    assert made.bad == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x03\x01\0\0\0\0\0\0",
        encode(np.array([ROW]), 0)[:-1],
        encode(np.array([ROW]), 0) + b"\0",
        encode(np.array([[np.nan, *ROW[1:]]]), 0),
        encode(np.array([[1e300, *ROW[1:]]]), 0),
        encode(np.array([ROW] * 65), 0),
    ],
)
def test_invalid_batches_are_rejected(data: bytes) -> None:
    made = Browser(ANDROID)
    assert made.feed(data) == []
    assert made.bad == 1


def test_hello_is_parsed() -> None:
    assert hello(b'{"vendor": "Google Inc.", "gyroscope": true, "agent": "x"}') == Hello("Google Inc.", True, "x")
    for data in (
        b"{}",
        b'{"vendor": 1, "gyroscope": true}',
        b'{"vendor": "", "gyroscope": 1}',
        b"[]",
        b" " * MAX_HELLO * 2,
    ):
        with pytest.raises(CodecError):
            hello(data)
    made = decoder({"app": "browser", "vendor": "Apple Computer, Inc.", "gyroscope": True, "agent": ""})
    assert made.format == IPHONE.format


@given(st.binary(max_size=300))
def test_hostile_hellos_raise_codec_errors(data: bytes) -> None:
    with suppress(CodecError):
        hello(data)


def test_hostile_batches_are_decoded_or_rejected() -> None:
    survives(lambda: Browser(ANDROID), "", [encode(np.array([ROW] * n), n) for n in (1, 2, 5)])
