"""The bytes that a live source recorded, decoded again: what a better decoder makes of them, or the same once more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any, Self

from firmware_bridge import phone
from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Advert, Request, rehearse
from firmware_bridge.serial import SerialFormat
from firmware_bridge.stream import CodecError, Decoder
from mujo_edge.core import Chunk, DataError, DeviceError, Payload, StreamInfo, UsageError
from mujo_edge.recordings import session
from mujo_edge.sources.live import LIMIT, Assembler, stream_info
from mujo_edge.sources.replay import LONGEST_WAIT_S

BATCH = 256
"""Payloads that are decoded at a time where no speed is kept."""


class RawReplay:
    """A `Source` that plays the raw.ndjson of a session folder through the decoders of its connections.

    Times, samples and losses are those of the live run, bit for bit, if the decoders are the same.

    Args:
        path: the session folder.
        speed: 1 is real time, 8 eight times as fast, None as fast as possible.

    Raises:
        UsageError: no such folder, no bytes were recorded there, or a speed that is not positive.
        DataError: it is no session, or its bytes cannot be decoded; also while it plays.
    """

    def __init__(self, path: str | Path, *, speed: float | None = 1.0) -> None:
        if speed is not None and not (isfinite(speed) and speed > 0):
            raise UsageError(f"the speed must be a positive number or max, not {speed:g}")
        folder = Path(path)
        if not folder.is_dir():
            raise UsageError(f"{folder} is no session folder: only there are bytes that can be decoded again")
        about = session.load(folder)
        self._path = folder / session.RAW_FILE
        if not self._path.exists():
            raise UsageError(
                f"{folder} holds samples but no bytes to decode (source: {about.source[:60]}). Leave --decode-again out"
            )
        self.speed = speed
        self.status = ""
        self.notes: list[str] = []
        first = next((decoder for decoder, _ in self._connections() if decoder), None)
        if first is None:
            raise DataError(f"{self._path} holds no connection that streamed")
        self._info = stream_info(about.info.name, first.format)

    @property
    def info(self) -> StreamInfo:
        """As the live source had it; known before the first sample."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The recording from its start; ends with it."""
        assembler: Assembler | None = None
        start_s, played_s = monotonic(), 0.0
        last_s: float | None = None
        self.notes.clear()
        for decoder, raws in self._connections():
            if decoder and assembler:
                try:
                    assembler.reopen(decoder)
                except DeviceError as error:
                    raise DataError(f"{self._path}: {error}") from None
            elif decoder:
                assembler = Assembler(decoder)
            if assembler is None:
                continue
            if self.speed is not None:
                played_s += min(max(raws[-1].received_s - (last_s or raws[-1].received_s), 0.0), LONGEST_WAIT_S)
                last_s = raws[-1].received_s
                await asyncio.sleep(max(0.0, start_s + played_s / self.speed - monotonic()))
            else:
                await asyncio.sleep(0)
            for chunk in assembler.chunks(raws):
                yield replace(chunk, received_s=monotonic())

    def _connections(self) -> Iterator[tuple[Decoder | None, list[Payload]]]:
        """Records in order, some at a time; with a decoder where a connection begins with the first of them."""
        batch = BATCH if self.speed is None else 1
        ready: list[Payload] = []
        fresh: Decoder | None = None
        opening: _Opening | None = None
        streams = False
        for line, raw in session.load_raw(self._path, self.notes):
            if raw.kind == "open":
                self._give_up(opening)
                if ready:
                    yield fresh, ready
                ready, fresh = [], None
                opening = _Opening(line)
            if opening:
                if decoder := opening.add(raw):
                    ready, fresh, opening, streams = opening.raws, decoder, None, True
                elif len(opening.raws) > LIMIT:
                    self._give_up(opening)
            elif streams:
                ready.append(raw)
            else:
                raise DataError(f"{self._path}, line {line}: bytes before any connection was opened")
            if len(ready) >= batch:
                yield fresh, ready
                ready, fresh = [], None
        self._give_up(opening)
        if ready:
            yield fresh, ready

    def _give_up(self, opening: _Opening | None) -> None:
        """A connection that had no decoder is an error if it had bytes, else it came to nothing in the live run too."""
        if opening and any(raw.kind == "data" for raw in opening.raws):
            raise DataError(
                f"{self._path}, line {opening.line}: this connection cannot be decoded: {opening.why[:120]}"
            )


class _Opening:
    """The records of a connection from its first, at `line`, until there are enough for its decoder."""

    def __init__(self, line: int) -> None:
        self.line, self.why = line, ""
        self.raws: list[Payload] = []

    def add(self, raw: Payload) -> Decoder | None:
        """The decoder, once `raw` was the last that it takes."""
        self.raws.append(raw)
        if raw.kind in ("open", "reply"):
            try:
                about = json.loads(self.raws[0].data)
                return decoder_of(about, [raw.data for raw in self.raws if raw.kind == "reply"])
            except (CodecError, ValueError) as error:
                self.why = str(error)
        return None


def decoder_of(about: object, replies: list[bytes]) -> Decoder:
    """The decoder of a connection.

    Args:
        about: what the `data` of its `open` record says: `kind`, and what that kind needs.
        replies: the `data` of its `reply` records.

    Raises:
        CodecError: it says something else, or the device would have refused to stream.
    """
    if not isinstance(about, dict):
        raise CodecError("what a connection was opened to is not said")
    if about.get("kind") == "ble":
        return _wearable(about, replies)
    if about.get("kind") == "serial":
        return SerialFormat.load(about).decoder()
    if about.get("kind") == "phone":
        return phone.decoder(about)
    raise CodecError(f"a connection to {about.get('kind')!r}, which is not known")


def _wearable(about: Mapping[str, Any], replies: list[bytes]) -> Decoder:
    profile = PROFILES.get(str(about.get("profile")))
    if profile is None:
        raise CodecError(f"no profile is called {about.get('profile')!r}; known are {', '.join(PROFILES)}")
    rate_hz, services = about.get("rate_hz"), about.get("services")
    if not (rate_hz is None or isinstance(rate_hz, float | int)) or not isinstance(services, list):
        raise CodecError("rate_hz or services of a wearable are not what they should be")
    advert = Advert(str(about.get("address")), str(about.get("name")))
    return rehearse(profile.start(Request(advert, rate_hz, frozenset(map(str, services)))), replies)
