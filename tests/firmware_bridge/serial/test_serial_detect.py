"""The format of a serial stream is detected from its first bytes, for any split."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fuzz import MANY, damaged
from hypothesis import given
from hypothesis import strategies as st
from test_serial_frames import ANGLE, FRAMES, REST, TURN

from firmware_bridge.serial.detect import LIMIT, DetectedFormat, Detector

ROWS = [b"-0.12,-6.20,7.90\r\n", b"1.0\t2.0\t3.0\r\n", b"0 0 1\n"]
BOOT = b"\x00\xf8\x80ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13\r\nStarted\r\n"
"""Boot message of an ESP32 that opening its port resets, with noise before it."""


def detected(data: bytes) -> DetectedFormat | None:
    detector = Detector()
    detector.feed(data)
    return detector.result


@pytest.mark.parametrize("before", [b"", b"\x80\x00\xff", BOOT, b"12,", bytes(range(256))])
def test_protocols_are_distinguished(before: bytes) -> None:
    assert detected(before + ROWS[0] * 7) == DetectedFormat("csv", width=3)
    assert detected(before + (REST + TURN + ANGLE) * 5) == DetectedFormat("wit", gyroscope=True)
    assert detected(before + (REST + ANGLE) * 5) == DetectedFormat("wit")
    assert detected(before + FRAMES[0] * 4) == DetectedFormat("packet", gyroscope=True)
    assert detected(before + FRAMES[1] * 4) == DetectedFormat("packet")


def test_header_must_have_the_width_of_the_lines() -> None:
    assert detected(b"ax,ay,az\r\n" + ROWS[0] * 6) == DetectedFormat("csv", width=3, header="ax,ay,az")
    assert detected(b"Started\r\n" + ROWS[0] * 6) == DetectedFormat("csv", width=3)
    assert detected(b"9,7.90\r\nax ay az\n" + ROWS[0] * 6) == DetectedFormat("csv", width=3, header="ax ay az")


def test_lines_must_have_equal_length() -> None:
    assert detected(b"\n" + (ROWS[0] * 4 + b"1,2\n") * 50) is None
    assert detected(b"\n" + (ROWS[0] * 4 + b"Temp 31\n") * 50) is None


def test_random_bytes_are_not_detected_and_detection_gives_up() -> None:
    noise = np.random.default_rng(0).integers(0, 256, LIMIT + 1000, np.uint8).tobytes()
    detector = Detector()
    detector.feed(noise)
    assert (detector.result, detector.seen) == (None, LIMIT)
    detector.feed(ROWS[0] * 9)
    assert detector.result is None


def test_failure_message_of_a_board_is_reported() -> None:
    detector = Detector()
    detector.feed(b"Started\r\nERR: no sensor\r\n")
    assert (detector.failed, detector.result) == ("ERR: no sensor", None)


PIECES = st.one_of(st.sampled_from([*ROWS, REST, TURN, ANGLE, *FRAMES, BOOT]), damaged(ROWS + FRAMES, 64))


@MANY
@given(
    st.lists(PIECES, min_size=1, max_size=8).map(b"".join), st.integers(1, 5), st.lists(st.integers(0, 900), max_size=9)
)
def test_any_split_gives_the_same_result(data: bytes, times: int, cuts: list[int]) -> None:
    data = data[:300] * times
    whole, pieces = Detector(), Detector()
    whole.feed(data)
    for a, b in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        pieces.feed(data[a:b])
    assert (pieces.result, pieces.seen, pieces.failed) == (whole.result, whole.seen, whole.failed)
