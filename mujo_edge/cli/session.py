"""The guided session of `mujo-edge teach` on the terminal."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mujo_edge.cli.streams import say

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from mujo_edge.bundle import ModelBundle
    from mujo_edge.bundle.taught import Take
    from mujo_edge.cli.source import SourceOptions
    from mujo_edge.core import F32
    from mujo_edge.teaching.session import Listening

COUNTDOWN_S = 3
BACKGROUND_S = 30.0
"""Seconds of signal after which listening to anything else ends."""

BARS = "▁▂▃▄▅▆▇█"
TRACE_WIDTH = 60


class TerminalPrompt:
    """A `Prompt` on standard input and output. A thread reads lines, so that samples are received meanwhile."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    def _read(self) -> None:
        try:
            while line := sys.stdin.readline():
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
            self._loop.call_soon_threadsafe(self._lines.put_nowait, "")
        except RuntimeError:  # the loop is closed: the session is over
            return

    async def _line(self) -> str:
        line = await self._lines.get()
        if not line:
            self._lines.put_nowait("")
            raise EOFError
        return line.strip()

    async def name(self) -> str:
        """See `Prompt`."""
        self.note("Name of the movement (empty: no more):")
        return await self._line()

    async def countdown(self, label: str) -> None:
        """See `Prompt`."""
        from mujo_edge.bundle.labels import BACKGROUND

        if label == BACKGROUND:
            self.note(f"Last, {BACKGROUND_S:.0f} s of anything else: walk about, drink, type. Enter skips the rest.")
        else:
            self.note(f"{label}: do it 3 to 10 times, then press Enter.")
        for left in range(COUNTDOWN_S, 0, -1):
            self.note(f"{left} ...")
            await asyncio.sleep(1)
        while not self._lines.empty():  # Enter during the countdown
            if not await self._lines.get():
                raise EOFError
        self.note("go")

    async def performed(self, listening: Listening) -> None:
        """See `Prompt`."""
        from rich.live import Live
        from rich.text import Text

        from mujo_edge.bundle.labels import BACKGROUND

        entered = asyncio.ensure_future(self._line())
        try:
            with Live(console=self._console, transient=True, auto_refresh=False) as live:
                while not entered.done():
                    await asyncio.wait({entered}, timeout=0.2)
                    live.update(Text(_progress(listening)), refresh=self._console.is_terminal)
                    if listening.label == BACKGROUND and listening.seconds >= BACKGROUND_S:
                        return
            entered.result()
        finally:
            entered.cancel()
            self.note(_progress(listening))

    def received(self, take: Take) -> None:
        """See `Prompt`."""
        windows = len(take.embeddings)
        counted = f", {take.repetitions} repetitions" if take.repetitions else ""
        self.note(f"{take.label}: {take.seconds:.1f} s, {windows} windows{counted}")

    def note(self, text: str) -> None:
        """See `Prompt`."""
        self._console.print(text, markup=False, highlight=False)


def _progress(listening: Listening) -> str:
    """One line: a trace of the last seconds, the length and the windows."""
    import numpy as np

    chunks = listening.chunks[-TRACE_WIDTH * 4 :]
    x = np.concatenate([chunk.x[:, :3] for chunk in chunks]) if chunks else np.zeros((0, 3), np.float32)
    return f"{trace(x)} {listening.seconds:5.1f} s {listening.windows:3d} windows"


def trace(x: F32) -> str:
    """Acceleration (n, 3) in m/s2 as a line of bars: its length without gravity, 8 m/s2 at full height."""
    import numpy as np

    if len(x) < TRACE_WIDTH:
        return BARS[0] * TRACE_WIDTH
    motion: np.ndarray = np.abs(np.linalg.norm(x - np.median(x, 0), axis=1))
    peaks = [part.max() for part in np.array_split(motion, TRACE_WIDTH)]
    return "".join(BARS[min(int(peak / 8 * len(BARS)), len(BARS) - 1)] for peak in peaks)


def guided(
    model: ModelBundle, options: SourceOptions, channels: int | None, labels: Sequence[str]
) -> tuple[list[Take], int, str]:
    """A session over the source of the options -> (takes, channels, placement).

    Args:
        model: the bundle. channels: those of the label set that takes are added to. labels: see `guided_session`.

    Raises:
        UsageError: standard input is closed, several sources. DeviceError, DataError: nothing was taught before the
            source failed.
    """
    from rich.console import Console

    from mujo_edge.core import DataError, UsageError
    from mujo_edge.teaching.session import guided_session
    from mujo_edge.teaching.takes import channels_of

    options.check()
    if options.several:
        raise UsageError("teach over one stream: name one --device")
    if not sys.stdin or sys.stdin.closed:
        raise UsageError("a session needs a terminal; teach from labeled recordings with --from RECORDING")
    if not (options.bluetooth or options.serial or options.phone or options.replay):
        raise UsageError("give a source for the session: --ble, --serial, --phone or --replay; or --from RECORDING")

    async def run() -> tuple[list[Take], int, str]:
        (source,) = await options.open()
        async with source:
            available = channels_of([source.info])
            if channels and channels > available:
                raise DataError("the label set was taught with a gyroscope, and this source has none: use one with it")
            session = await guided_session(model, source, TerminalPrompt(Console()), channels or available, labels)
        if session.failure is not None:
            if not session.takes:
                raise session.failure
            say(str(session.failure))
        elif not session.takes:
            raise UsageError("nothing was taught, and nothing saved")
        return session.takes, channels or available, source.info.placement or ""

    return asyncio.run(run())
