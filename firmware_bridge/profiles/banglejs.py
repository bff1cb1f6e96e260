"""Bangle.js 1 and 2 (Espruino), by two methods.

1. A script (`firmware/banglejs/mujo.js`) is uploaded over the Nordic UART service, which is the watch's console, and
   runs until the link ends. It stores nothing on the watch and needs no app. It sends lines of text; other console
   output is ignored. Such a line is `~`, base64 of the bytes below, newline:

       offset  0     u32 LE   CRC-32 (zlib) of the following bytes
               4     u32 LE   number of the first sample
               8     u32 LE   ms since the script started, at the last sample
               12    int16 LE x y z of 1 to 8 samples; 4096 = 1 g, +-8 g

   The number counts samples that the watch's interpreter saw. Samples that the chip overwrote while the watch was busy
   (drawing takes tens of ms) are not numbered, but show in the time.

2. The app `btadv` offers the characteristic of the micro:bit, once a second and without the console (BangleApps,
   apps/btadv/app.ts: 1/1000 g as int16 LE since version 0.04; earlier ones sent whole g). That is too slow for most
   activities, so it is used only where there is no console.

Console: Espruino, README_Protocol.md and espruino.com/Interfacing: Ctrl-C (3) interrupts the running code or clears the
line, DLE (16) at the start of a line turns off its echo. Registers of the KX023 and the effect of a range of 8 g:
libs/banglejs/jswrap_bangle.c; BangleApps, apps/accelrec/app.js. Axes: (0, 0, -1) with the display up, (0, -1, 0) with
12 o'clock up, (-1, 0, 0) with 9 o'clock up (forum.espruino.com/conversations/371973), so x, -y, -z.
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Generator
from importlib.resources import files
from zlib import crc32

import numpy as np

from firmware_bridge.profiles import microbit
from firmware_bridge.profiles.base import (
    Advert,
    Expect,
    Pause,
    Profile,
    Request,
    Script,
    Step,
    Subscribe,
    Write,
    nearest_rate,
)
from firmware_bridge.protocol.framing import Splitter
from firmware_bridge.stream import ACC, CodecError, Format, G, Packet, PayloadDecoder, axes

BASE = "-b5a3-f393-e0a9-e50e24dcca9e"
SERVICE, RX, TX = (f"6e40000{n}{BASE}" for n in (1, 2, 3))

RATES = {12.5: 1, 25.0: 2, 50.0: 4, 100.0: 8}
"""Rate in Hz -> samples per line: one line every 80 ms."""

COUNTS_PER_G = 4096
AXES = axes("x -y -z")

WRITE_BYTES = 20
"""Bytes per write, which fit the smallest ATT MTU."""

CHUNK = 96
"""Characters of the script per command: a whole command fits the watch's buffer, so that no flow control is needed."""

TRIES = 3
ANSWER_S = 3.0
BTADV_HZ = 1.0


def script() -> str:
    """The script for upload: without comments and indentation, on one line."""
    text = files("firmware_bridge").joinpath("firmware/banglejs/mujo.js").read_text("ascii")
    lines = (line.strip() for line in text.splitlines())
    return "".join(line for line in lines if not line.startswith("//"))


def decode_line(text: bytes) -> Packet:
    """The packet in the text between `~` and the end of the line. Raises `CodecError`."""
    try:
        payload = b64decode(text, validate=True)
    except Base64Error:
        raise CodecError(f"not base64: {text[:16]!r}") from None
    n, rest = divmod(len(payload) - 12, 6)
    if rest or not 1 <= n <= max(RATES.values()):
        raise CodecError(f"a line of {len(payload)} bytes, not 12 and 6 a sample")
    if crc32(payload[4:]) != int.from_bytes(payload[:4], "little"):
        raise CodecError("the checksum of a line is wrong")
    seq, tick = np.frombuffer(payload, "<u4", 2, 4)
    g = np.frombuffer(payload, "<i2", 3 * n, 12).reshape(n, 3) / COUNTS_PER_G
    return Packet((g * G).astype(np.float32) @ AXES.T, int(seq), int(tick))


class ConsoleDecoder:
    """A `Decoder` of the script's lines, among any other console output."""

    def __init__(self, rate_hz: float) -> None:
        self.format = Format(ACC, rate_hz, tick_hz=1000, tick_bits=32, seq_bits=32, placement="wrist")
        self.bad, self.why = 0, ""
        self._lines = Splitter(b"\n", limit=1024)

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """See `Decoder`. A line whose end was lost is followed directly by the next one's `~`."""
        packets: list[Packet] = []
        if origin != TX:
            return packets
        for line in self._lines.feed(data):
            for text in line.split(b"~")[1:]:
                try:
                    packets.append(decode_line(text.rstrip(b"\r")))
                except CodecError as error:
                    self.bad, self.why = self.bad + 1, str(error)
        return packets

    def finish(self) -> list[Packet]:
        """Nothing: an incomplete line is of no use."""
        return []


def recognize(advert: Advert) -> bool:
    """By its name, which ends with part of its address; many other devices have the Nordic UART service too."""
    return advert.name.startswith("Bangle.js")


def start(request: Request) -> Script:
    """Upload the script and call it; or subscribe to the characteristic of `btadv`."""
    if request.services and RX not in request.services:
        if microbit.DATA not in request.services:
            raise CodecError("it has no console: close the running app, or set Settings > Bluetooth > Programmable")
        yield Subscribe(microbit.DATA)
        format = Format(ACC, BTADV_HZ, placement="wrist")
        return PayloadDecoder(format, {microbit.DATA: lambda value: microbit.read_values(value, 1000, AXES)})
    rate_hz = nearest_rate(tuple(RATES), request.rate_hz)
    text = script()
    yield Subscribe(TX)
    yield Write(RX, b"\x03", response=False)
    yield Pause(0.1)
    yield from _run('global.mujo&&mujo.stop();global.M=""', "M.length", 0)
    for at in range(0, len(text), CHUNK):
        piece = text[at : at + CHUNK]
        yield from _run(f"M=M.substr(0,{at})+{json.dumps(piece)}", "M.length", at + len(piece))
    yield from _run("", "E.CRC32(M)&65535", crc32(text.encode()) & 65535)
    call = f'mujo=global.mujo||eval("("+M+")")({rate_hz:g},{RATES[rate_hz]});M=undefined'
    yield from _run(call, "mujo.hz", f"{rate_hz:g}")
    return ConsoleDecoder(rate_hz)


def _run(command: str, question: str, answer: object) -> Generator[Step, bytes, None]:
    """Execute a command, repeatedly if needed, until evaluating `question` gives `answer`; commands are idempotent.

    Raises `CodecError` if it never does.
    """
    line = f'\x10{command}{";" if command else ""}print("mujo "+({question})+";")\n'.encode()
    for _ in range(TRIES):
        for at in range(0, len(line), WRITE_BYTES):
            yield Write(RX, line[at : at + WRITE_BYTES], response=False)
        output = bytearray()

        def answers(data: bytes, output: bytearray = output) -> bool:
            output.extend(data)
            return f"mujo {answer};".encode() in output

        try:
            yield Expect(TX, answers, ANSWER_S)
        except TimeoutError:
            yield Write(RX, b"\x03", response=False)
            yield Pause(0.1)
        else:
            return
    tail = bytes(output[-60:]).decode("ascii", "replace").strip()
    raise CodecError(
        f"its console does not answer {question}; its output was {tail!r}. "
        "Turn on Settings > Bluetooth > Programmable on the watch, or restart it"
    )


PROFILE = Profile(
    name="banglejs",
    title="Bangle.js",
    source="https://www.espruino.com/Bangle.js",
    channels=ACC,
    rates_hz=tuple(RATES),
    clock="32-bit ms, and a 32-bit sample number",
    recognize=recognize,
    start=start,
    stop=(Write(RX, b"\x10mujo.stop()\n", response=False),),
)
