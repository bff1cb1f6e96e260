from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from fuzz import splits_alike, survives

from firmware_bridge.profiles import banglejs, microbit, recognize
from firmware_bridge.profiles.base import Request, Subscribe, Write, rehearse
from firmware_bridge.simulator.conversation import advert, converse, listen, samples, stop
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearable import Motion
from firmware_bridge.simulator.wearables.banglejs import BangleBtadv, BangleJs
from firmware_bridge.stream import ACC, F32, F64, CodecError, G

WATCH = Path(__file__).with_name("bangle.js")


def line(seq: int, tick: int, *counts: tuple[int, int, int]) -> bytes:
    body = np.array([seq, tick], "<u4").tobytes() + np.array(counts, "<i2").tobytes()
    return b"~" + b64encode(crc32(body).to_bytes(4, "little") + body) + b"\n"


VALID = [
    line(0, 80, (0, 0, -4096)),
    line(0xFFFFFFFF, 0xFFFFFFFF, (1, 2, 3), (4, 5, 6)),
    b"mujo 50;\r\n>",
    line(7, 9, *[(-32768, 32767, 0)] * 8),
]


def test_line_has_the_documented_bytes() -> None:
    # Computed independently: printf of the bytes, gzip's CRC-32, base64.
    decoder = banglejs.ConsoleDecoder(50)
    (packet,) = decoder.feed(b"~5ewdSAEAAABQAAAAAAAAAADw\n", banglejs.TX)
    assert (packet.seq, packet.tick) == (1, 80)
    np.testing.assert_allclose(packet.x, [[0, 0, G]], rtol=1e-6)
    assert (decoder.bad, decoder.feed(b"~AAAA\n", "another")) == (0, [])


@pytest.mark.parametrize(
    ("reading", "up"),
    [  # forum.espruino.com/conversations/371973
        ((0, 0, -4096), (0, 0, G)),  # flat with the display up
        ((0, -4096, 0), (0, G, 0)),  # stands on its bottom side
        ((-4096, 0, 0), (-G, 0, 0)),  # lies on its right side
    ],
)
def test_gravity_is_on_the_axis_that_points_up(reading: tuple[int, int, int], up: tuple[float, ...]) -> None:
    (packet,) = banglejs.ConsoleDecoder(50).feed(line(0, 0, reading), banglejs.TX)
    np.testing.assert_allclose(packet.x, [up], rtol=1e-6)


def test_other_output_is_ignored_and_damaged_lines_are_counted() -> None:
    decoder = banglejs.ConsoleDecoder(50)
    good = line(4, 0, (1, 2, 3))
    output = (
        b'{"t":"ver"}\r\n>' + good[:-1] + b"\r\n" + good[:9] + good + b"Uncaught ReferenceError\n" + b"~" + good[5:]
    )
    packets = decoder.feed(output, banglejs.TX)
    assert [packet.seq for packet in packets] == [4, 4]
    assert decoder.bad == 2


@pytest.mark.parametrize("text", [b"", b"=", b"AAAA", b"A" * 24, b64encode(bytes(12 + 9 * 6))])
def test_invalid_lines_are_rejected(text: bytes) -> None:
    with pytest.raises(CodecError):
        banglejs.decode_line(text)


def test_hostile_bytes_are_decoded_or_rejected() -> None:
    survives(lambda: banglejs.ConsoleDecoder(50), banglejs.TX, VALID)


def test_any_split_gives_the_same_packets() -> None:
    splits_alike(lambda: banglejs.ConsoleDecoder(50), VALID, banglejs.TX)


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 50.0, 100.0])
def test_simulated_watch_streams_its_motion(rate_hz: float) -> None:
    wearable = BangleJs(sine)
    assert recognize(advert(wearable)) is banglejs.PROFILE
    talk = converse(banglejs.PROFILE, wearable, rate_hz)
    assert talk.decoder.format.channels == ACC
    assert talk.decoder.format.rate_hz == rate_hz
    begun = wearable.taken
    packets = listen(talk, wearable, 2.0)
    x = samples(packets)
    assert abs(len(x) - 2 * rate_hz) <= banglejs.RATES[rate_hz]
    assert len(x) == wearable.notified
    assert [packet.seq for packet in packets] == list(range(0, len(x), banglejs.RATES[rate_hz]))
    np.testing.assert_allclose(np.diff([packet.tick or 0 for packet in packets]), 80, atol=1)
    np.testing.assert_allclose(x, sine(np.arange(begun, begun + len(x)) / rate_hz)[:, :3], atol=0.002)
    stop(banglejs.PROFILE, wearable, talk.now_s)
    assert wearable.next_s() is None
    assert wearable.rate_hz == 12.5


def test_watch_restarts_after_a_disconnect() -> None:
    wearable = BangleJs(rest)
    talk = converse(banglejs.PROFILE, wearable)
    listen(talk, wearable, 1.0)
    wearable.disconnect(2.0)
    again = converse(banglejs.PROFILE, wearable, now_s=3.0)
    assert listen(again, wearable, 1.0)[0].seq == 0
    assert again.decoder.bad == 0


def test_number_and_clock_wrap() -> None:
    wearable = BangleJs(rest)
    talk = converse(banglejs.PROFILE, wearable)
    wearable._began -= 2**32 - 8  # as if the script had run for years
    packets = listen(talk, wearable, 1.0)
    assert [packet.seq for packet in packets[:4]] == [2**32 - 8, 2**32 - 4, 0, 4]
    assert talk.decoder.format.seq_bits == talk.decoder.format.tick_bits == 32


def test_lost_notifications_lose_only_their_lines() -> None:
    wearable = BangleJs(sine)
    talk = converse(banglejs.PROFILE, wearable)
    begun, random, packets = wearable.taken, np.random.default_rng(0), []
    whole, intact = True, 0
    for n in range(50 * 60):
        for _, piece in wearable.due(talk.now_s + n / 50):
            arrives = random.random() > 0.1
            whole &= arrives
            if arrives:
                packets += talk.decoder.feed(piece, banglejs.TX)
            if piece.endswith(b"\n"):
                intact, whole = intact + whole, True
    assert 0.6 * wearable.notified < 4 * len(packets) < 0.8 * wearable.notified
    assert len(packets) == intact
    assert talk.decoder.bad > 0
    for packet in packets:
        number = begun + (packet.seq or 0)
        np.testing.assert_allclose(packet.x, sine(np.arange(number, number + 4) / 50)[:, :3], atol=0.002)


class Busy(BangleJs):
    """Half a line was typed before, and for a while it neither listens nor keeps every byte."""

    def __init__(self, motion: Motion) -> None:
        super().__init__(motion)
        self.deaf, self.loses = 10, 40
        self._line = "setInterval(function() {"

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        self.deaf -= 1
        if self.deaf > 0:
            return self._print("busy\r\n")
        self.loses -= 1
        return super().write(uuid, data[1:] if self.loses == 0 else data, now_s)


def test_upload_survives_a_busy_console_and_lost_bytes() -> None:
    wearable = Busy(rest)
    talk = converse(banglejs.PROFILE, wearable)
    assert wearable.deaf < 0
    assert wearable.loses < 0
    assert len(samples(listen(talk, wearable, 1.0))) == wearable.notified >= 48


class Forgetful(BangleJs):
    """The answer to the last command is lost once."""

    lost = False

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        output = super().write(uuid, data, now_s)
        if self.streaming and not self.lost:
            self.lost = True
            return []
        return output


def test_script_is_called_once_even_if_the_reply_is_lost() -> None:
    wearable = Forgetful(rest)
    talk = converse(banglejs.PROFILE, wearable)
    assert wearable.lost
    packets = listen(talk, wearable, 1.0)
    assert len(samples(packets)) == wearable.notified
    assert packets[0].seq == 0


def test_missing_console_is_an_error_with_a_next_step() -> None:
    class Mute(BangleJs):
        def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
            return self._print("~no~\r\n")

    with pytest.raises(CodecError, match="Programmable"):
        converse(banglejs.PROFILE, Mute(rest))
    with pytest.raises(CodecError, match="no console"):
        next(banglejs.start(Request(advert(BangleJs(rest)), services=frozenset({microbit.PERIOD}))))


def test_recorded_start_gives_the_same_decoder() -> None:
    talk = converse(banglejs.PROFILE, BangleJs(rest), 25)
    again = rehearse(banglejs.start(Request(advert(BangleJs(rest)), 25)), talk.replies)
    assert again.format == talk.decoder.format


def test_btadv_app_is_decoded() -> None:
    wearable = BangleBtadv(sine)
    assert recognize(advert(wearable)) is banglejs.PROFILE
    talk = converse(banglejs.PROFILE, wearable)
    assert talk.steps == [Subscribe(microbit.DATA)]
    assert talk.decoder.format.rate_hz == 1
    x = samples(listen(talk, wearable, 5.5))
    np.testing.assert_allclose(x, sine(np.arange(6.0))[:, :3], atol=0.006)


class Watch(BangleJs):
    """A Bangle.js whose console and script are real JavaScript, run by node."""

    def __init__(self, motion: Motion, node: subprocess.Popen[str]) -> None:
        super().__init__(motion)
        self.node = node
        self.state: dict[str, Any] = {}

    def ask(self, **message: Any) -> str:
        assert self.node.stdin is not None
        assert self.node.stdout is not None
        self.node.stdin.write(json.dumps(message) + "\n")
        self.node.stdin.flush()
        self.state = json.loads(self.node.stdout.readline())
        return str(self.state["out"])

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        output = self.ask(typed=data.decode("latin1"), at_s=0.0)
        if self.state["listening"] and not self.streaming:
            self.set_rate([12.5, 25.0, 50.0, 100.0][self.state["registers"]["27"] & 7], now_s)
            self.begin(now_s)
            self._began = self.taken
        return self._print(output)

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        g = (x[0, :3] @ banglejs.AXES).astype(float) / G
        return self._print(self.ask(g=g.tolist(), at_s=float(t_s[0]) - self._began / self.rate_hz))


@pytest.fixture
def node() -> Iterator[subprocess.Popen[str]]:
    path = shutil.which("node", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if path is None:
        pytest.skip("node is not installed: the script for the Bangle.js is not run (pip install 'mujo-edge[web]')")
    with subprocess.Popen([path, str(WATCH)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


RESTORED = {
    "registers": {"24": 0xEC, "27": 0x00},
    "poll": 80,
    "powerSave": True,
    "listening": False,
    "loaded": False,
    "handlers": 0,
}


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 50.0, 100.0])
def test_real_script_sends_the_same_as_the_simulated_watch(node: subprocess.Popen[str], rate_hz: float) -> None:
    watch, stand_in = Watch(sine, node), BangleJs(sine)
    talk = converse(banglejs.PROFILE, watch, rate_hz)
    assert watch.state["registers"] == {"24": 0xF4, "27": 0x40 | list(banglejs.RATES).index(rate_hz)}
    assert watch.state["poll"] == 10
    assert watch.state["loaded"]
    other = converse(banglejs.PROFILE, stand_in, rate_hz)
    pieces = [piece for n in range(100) for _, piece in watch.due(talk.now_s + n / 50)]
    expected = [piece for n in range(100) for _, piece in stand_in.due(other.now_s + n / 50)]
    assert b"".join(pieces) == b"".join(expected)
    assert b"".join(pieces).count(b"\n") >= 24
    packets = [packet for piece in pieces for packet in talk.decoder.feed(piece, banglejs.TX)]
    assert talk.decoder.bad == 0
    begun = watch.taken - watch.notified
    x = samples(packets)
    np.testing.assert_allclose(x, sine(np.arange(begun, begun + len(x)) / rate_hz)[:, :3], atol=0.002)


@pytest.mark.parametrize("event", ["stop", "disconnect", "kill"])
def test_script_restores_the_watch_settings(node: subprocess.Popen[str], event: str) -> None:
    watch = Watch(rest, node)
    talk = converse(banglejs.PROFILE, watch)
    assert watch.state["handlers"] == 2
    if event == "stop":
        stop(banglejs.PROFILE, watch, talk.now_s)
    else:
        watch.ask(event=event)
    assert {name: watch.state[name] for name in RESTORED} == RESTORED
    assert watch.ask(g=[0, 0, -1]) == ""


def test_script_can_be_uploaded_over_a_running_one(node: subprocess.Popen[str]) -> None:
    watch = Watch(rest, node)
    converse(banglejs.PROFILE, watch, 100)
    talk = converse(banglejs.PROFILE, watch, 25)
    assert watch.state["handlers"] == 2
    assert watch.state["registers"]["27"] == 0x41
    assert listen(talk, watch, 1.0)[0].seq == 0


def test_commands_fit_the_watch_buffer() -> None:
    talk = converse(banglejs.PROFILE, BangleJs(rest))
    typed = b"".join(step.data for step in talk.steps if isinstance(step, Write))
    assert max(map(len, typed.split(b"\n"))) < 200
    assert all(len(step.data) <= 20 for step in talk.steps if isinstance(step, Write))
    assert b"~" not in typed
