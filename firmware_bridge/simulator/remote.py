"""A world in a separate process, so that a client under test or in a benchmark has its own event loop.

The process is `python -m firmware_bridge.simulator ble --control`. It writes one JSON object per line: {"address": ...}
when the world is ready, then a reply to every line that it reads. A line is {"faults": ["0 loss 0.1", ...]} or {}, the
reply has the wearables' counts as {"wearables": ...}, or {"error": ...}. The process ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_bridge.simulator.faults import parse
from firmware_bridge.simulator.world import World

EXIT_TIMEOUT_S = 10.0


async def serve(world: World) -> None:
    """Handle requests on standard input until it ends."""
    print(json.dumps({"address": world.address}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            await world.run([parse(step) for step in json.loads(line).get("faults", ())])
            answer: dict[str, Any] = {"wearables": world.stats()}
        except ValueError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


class RemoteWorld:
    """Context manager that starts the process, communicates with it and always ends it.

    Args:
        wearables: names of `WEARABLES`, one per device. options: further options of `ble`, such as "--rate", "25".

    Attributes:
        address: value of DBUS_SYSTEM_BUS_ADDRESS for clients.
    """

    address: str

    def __init__(self, *wearables: str, options: Sequence[str] = ()) -> None:
        self._arguments = [*(word for name in wearables for word in ("--wearable", name)), *options]

    def __enter__(self) -> Self:
        """Raises `RuntimeError` if it does not start; the reason is on standard error."""
        self._folder = tempfile.TemporaryDirectory(prefix="mujo-edge-")
        bus = Path(self._folder.name) / "bus"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "firmware_bridge.simulator", "ble", "--control", f"--bus={bus}", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.address = self._answer()["address"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # dbus-daemon, if the world could not end it
            self._process.wait()
            self._process.stdout.close()
            self._folder.cleanup()

    def fault(self, *steps: str) -> dict[str, Any]:
        """Schedule faults ("0 loss 0.1": immediately) -> counts by wearable. Raises `ValueError` for an invalid
        fault."""
        return self._ask({"faults": steps})

    def stats(self) -> dict[str, Any]:
        """Counts by wearable; see `World.stats`."""
        return self._ask({})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise ValueError(answer["error"])
        wearables: dict[str, Any] = answer["wearables"]
        return wearables

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulator ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
