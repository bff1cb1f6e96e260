"""A Bangle.js: a console that accepts the uploaded script in pieces, and then sends the script's output.

It understands only the commands of the profile, not JavaScript. The script itself is tested with node.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from zlib import crc32

import numpy as np

from firmware_bridge.profiles import banglejs, microbit
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Motion, Service, Wearable
from firmware_bridge.simulator.wearables.microbit import counts
from firmware_bridge.stream import F32, F64

APPEND = re.compile(r'M=M\.substr\(0,(\d+)\)\+(".*");print\("mujo "\+\(M\.length\)\+";"\)')
CALL = re.compile(
    r'mujo=global\.mujo\|\|eval\("\("\+M\+"\)"\)\(([\d.]+),(\d+)\);M=undefined;print\("mujo "\+\(mujo\.hz\)\+";"\)'
)
BEGIN = 'global.mujo&&mujo.stop();global.M="";print("mujo "+(M.length)+";")'
CHECK = 'print("mujo "+(E.CRC32(M)&65535)+";")'
STOP = "mujo.stop()"


class BangleJs(Wearable):
    """See the module. A notification has `piece` bytes of console output; `text` is the part uploaded so far."""

    profile = "banglejs"
    name = "Bangle.js 1a2b"
    rate_hz = 12.5
    piece = 20
    services = (
        Service(
            banglejs.SERVICE,
            (Characteristic(banglejs.RX, write=True), Characteristic(banglejs.TX, notify=True)),
        ),
    )

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self.text: str | None = None
        self._line, self._echo = "", True
        self._began = 0

    def disconnect(self, now_s: float) -> None:
        """The script stops, and the current line is discarded."""
        super().disconnect(now_s)
        self._stop(now_s)
        self._line = ""

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Console input, echoed unless that is off."""
        if uuid != banglejs.RX:
            raise AttributeRefusedError(0x03)
        output = ""
        for character in data.decode("latin1"):
            if character == "\x03":
                self._line, self._echo = "", True
                output += "\r\n>"
            elif character == "\x10" and not self._line:
                self._echo = False
            elif character == "\n":
                output += self._execute(self._line, now_s) + ("\r\n>" if self._echo else "")
                self._line, self._echo = "", True
            else:
                self._line += character
                output += character if self._echo else ""
        return self._print(output)

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One line, with number and time since the script's start."""
        head = np.array([first - self._began, round((t_s[-1] - self._began / self.rate_hz) * 1000)]) % 2**32
        body = head.astype("<u4").tobytes()
        body += b"".join(counts(row, banglejs.AXES, banglejs.COUNTS_PER_G, 32768) for row in x[:, :3])
        text = b64encode(crc32(body).to_bytes(4, "little") + body).decode()
        return self._print(f"~{text}\n")

    def _print(self, text: str) -> list[tuple[str, bytes]]:
        if banglejs.TX not in self.subscribed:
            return []
        data = text.encode("latin1")
        return [(banglejs.TX, data[at : at + self.piece]) for at in range(0, len(data), self.piece)]

    def _execute(self, line: str, now_s: float) -> str:
        """Execute a line -> its output."""
        if line == BEGIN:
            self._stop(now_s)
            self.text = ""
            return "mujo 0;\r\n"
        if (append := APPEND.fullmatch(line)) and self.text is not None:
            self.text = self.text[: int(append[1])] + json.loads(append[2])
            return f"mujo {len(self.text)};\r\n"
        if line == CHECK and self.text is not None:
            return f"mujo {crc32(self.text.encode()) & 65535};\r\n"
        if (call := CALL.fullmatch(line)) and (self.streaming or self.text == banglejs.script()):
            if not self.streaming:
                self._call(float(call[1]), int(call[2]), now_s)
            return f"mujo {self.rate_hz:g};\r\n"
        if line == STOP and self.streaming:
            self._stop(now_s)
            return ""
        return f"Uncaught Error: {line[:20]}\r\n"

    def _call(self, rate_hz: float, batch: int, now_s: float) -> None:
        """Run the script."""
        self.text = None
        self.batch = batch
        self.set_rate(rate_hz, now_s)
        self.begin(now_s)
        self._began = self.taken

    def _stop(self, now_s: float) -> None:
        """Stop the script, and restore the watch's default rate."""
        self.streaming = False
        self.batch = 1
        self.set_rate(12.5, now_s)


class BangleBtadv(Wearable):
    """A Bangle.js that runs the app `btadv`: the micro:bit's characteristic once a second, and no console."""

    profile = "banglejs"
    name = "Bangle.js 1a2b"
    rate_hz = banglejs.BTADV_HZ
    services = (Service(microbit.SERVICE, (Characteristic(microbit.DATA, read=True, notify=True),)),)
    _last = bytes(6)
    streams_on = microbit.DATA

    def read(self, uuid: str) -> bytes:
        """The last sample."""
        return self._last

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One sample."""
        self._last = counts(x[0, :3], banglejs.AXES, 1000, 32768)
        return [(microbit.DATA, self._last)]
