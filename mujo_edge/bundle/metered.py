"""Limits on what a model hub sends: bytes, time and speed, for every response of huggingface_hub's HTTP client.

Needs the extra `hub`; imported on use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

import httpx2
from huggingface_hub import get_session

from mujo_edge.bundle.store import MAX_MB_VARIABLE
from mujo_edge.core import DataError, DeviceError

T = TypeVar("T")

GRACE_S = 10.0
"""Seconds of a response before its speed counts."""


class Meter:
    """Counts what one thread receives, and raises `DataError` or `DeviceError` once that is beyond the limits.

    Args:
        minutes: for everything. slowest_kb_s: of a response. most_bytes: of all responses together.
    """

    def __init__(self, minutes: float, slowest_kb_s: float, most_bytes: int) -> None:
        self._minutes, self._slowest_kb_s, self._most, self._got = minutes, slowest_kb_s, most_bytes, 0
        self._end_s = monotonic() + 60 * minutes
        self._thread = 0
        self._what, self._file_most, self._file_left = "the answer", 0, 0

    def begin(self, what: str, most_bytes: int) -> None:
        """Set the purpose of the next responses, for error messages, and their total size limit."""
        self._what, self._file_most, self._file_left = what, most_bytes, most_bytes

    def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in a thread of its own: a server that trickles headers cannot be interrupted."""
        results: list[T] = []
        errors: list[BaseException] = []

        def working() -> None:
            self._thread = threading.get_ident()
            try:
                with self._hooks():
                    results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=working, name="model hub", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
                if thread.is_alive() and monotonic() > self._end_s + 1.0:
                    raise self._too_long()
        finally:
            self._end_s = 0.0  # ends the thread at its next step, if it is still there
        if errors:
            raise errors[0]
        return results[0]

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        hooks = get_session().event_hooks
        hooks["request"].append(self._asked)
        hooks["response"].append(self._answered)
        try:
            yield
        finally:
            hooks["request"].remove(self._asked)
            hooks["response"].remove(self._answered)

    def _asked(self, request: httpx2.Request) -> None:
        if threading.get_ident() == self._thread:
            self._check_time()
            request.headers["Accept-Encoding"] = "identity"  # so that sizes are known before they are taken

    def _answered(self, response: httpx2.Response) -> None:
        if threading.get_ident() != self._thread:
            return
        self._check_time()
        if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
            raise DeviceError(
                f"{response.url.host} compresses its answers ({coding[:40]}) although it was asked not to"
            )
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Counted(response.stream, self)

    def _check_time(self) -> None:
        if monotonic() > self._end_s:
            raise self._too_long()

    def _too_long(self) -> DeviceError:
        return DeviceError(
            f"the download took more than {self._minutes:g} minutes and was given up at {self._what}. "
            "--max-minutes allows more"
        )

    def take(self, received: int, of_response: int, elapsed_s: float) -> None:
        """Count `received` more bytes; `of_response` have come since its headers, `elapsed_s` ago."""
        self._check_time()
        self._got += received
        self._file_left -= received
        if self._file_left < 0:
            raise DataError(
                f"{self._what} is larger than {self._file_most / (1 << 20):.3g} MB, the limit of such a file"
            )
        if self._got > self._most:
            raise DataError(
                f"its files have more than {self._most / (1 << 20):.3g} MB, the limit of a bundle. "
                f"{MAX_MB_VARIABLE} allows more"
            )
        if elapsed_s > GRACE_S and of_response < 1000 * self._slowest_kb_s * elapsed_s:
            raise DeviceError(
                f"{self._what} comes at less than {self._slowest_kb_s:g} KB/s and was given up. "
                "Try again later; --min-speed 0 waits for any speed"
            )


class _Counted(httpx2.SyncByteStream):
    """The body of a response, counted by a meter as it arrives."""

    def __init__(self, stream: httpx2.SyncByteStream, meter: Meter) -> None:
        self._stream, self._meter = stream, meter

    def __iter__(self) -> Iterator[bytes]:
        start_s, received = monotonic(), 0
        for part in self._stream:
            received += len(part)
            self._meter.take(len(part), received, monotonic() - start_s)
            yield part

    def close(self) -> None:
        self._stream.close()
