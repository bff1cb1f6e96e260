"""`mujo-edge stream` and `mujo-edge record`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mujo_edge.core import StreamInfo
    from mujo_edge.recognizer import Recognizer
    from mujo_edge.sinks import Sink
    from mujo_edge.sources.replay import ReplaySource

Replay = Annotated[
    Path | None,
    typer.Option("--replay", metavar="FILE|FOLDER", help="Recording to play: session folder, CSV or Parquet."),
]
Speed = Annotated[str, typer.Option(help="1 is real time, 8 is eight times as fast, max as fast as possible.")]
Rate = Annotated[float | None, typer.Option(metavar="HZ", help="Sample rate of a file without a time column.")]
Duration = Annotated[float | None, typer.Option(metavar="S", min=0, help="Stop after so many seconds of signal.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line; the default when stdout is no terminal.")]


def stream(
    replay: Replay = None,
    speed: Speed = "1",
    rate: Rate = None,
    labels: Annotated[str | None, typer.Option(metavar="NAME", help="Label set to recognise.")] = None,
    bundle: Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Model bundle; see `models list`.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, litert, tflite-runtime, executorch or onnx.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    duration: Duration = None,
    record_to: Annotated[
        Path | None, typer.Option("--record", metavar="FOLDER", help="Keep the samples as well, as `record` does.")
    ] = None,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the last screen as an SVG picture.")
    ] = None,
    json: Json = False,
) -> None:
    """Recognise what a stream shows, live.

    Without a source it plays the real recording that comes with mujo-edge, in real time.
    """
    source = _source(replay, speed, rate)
    sinks: list[Sink] = []
    if screenshot is not None:
        from mujo_edge.sinks.terminal import PictureSink

        sinks.append(PictureSink(screenshot, str(record_to) if record_to else None))
    if record_to is not None:
        sinks.append(_recording(record_to, source))
    sinks.append(_output(json, record_to))

    def load(info: StreamInfo) -> Recognizer:
        from mujo_edge.bundle import ModelBundle
        from mujo_edge.recognizer import Recognizer

        return Recognizer(ModelBundle.load(bundle, runtime, threads), info, labels)

    _run(source, sinks, load, duration)


def record(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Session folder to make; `stream --replay OUT` reads it.")],
    replay: Replay = None,
    speed: Speed = "1",
    rate: Rate = None,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Keep what a source sends in a session folder, without recognising anything.

    What was received is on disk at once: a crash or kill loses at most the last second.
    """
    source = _source(replay, speed, rate)
    _run(source, [_recording(out, source), _output(json, out)], None, duration)


def _source(replay: Path | None, speed: str, rate_hz: float | None) -> ReplaySource:
    from mujo_edge.core import UsageError
    from mujo_edge.sources.replay import ReplaySource, shipped_recording

    try:
        factor = None if speed == "max" else float(speed)
    except ValueError:
        raise UsageError(f"--speed {speed}: give a number such as 1 or 8, or max") from None
    return ReplaySource(shipped_recording() if replay is None else replay, speed=factor, rate_hz=rate_hz)


def _recording(folder: Path, source: ReplaySource) -> Sink:
    from mujo_edge.sinks.recording import RecordingSink

    return RecordingSink(folder, source=f"replay of {source.recording.path}")


def _output(json: bool, recording: Path | None) -> Sink:
    """The live screen, or NDJSON when asked for or when stdout is no terminal."""
    if json or not sys.stdout.isatty():
        from mujo_edge.sinks.ndjson import NdjsonSink

        return NdjsonSink(sys.stdout)
    from rich.console import Console

    from mujo_edge.sinks.terminal import TerminalSink

    return TerminalSink(Console(), str(recording) if recording else None)


def _run(
    source: ReplaySource,
    sinks: list[Sink],
    load: Callable[[StreamInfo], Recognizer] | None,
    duration_s: float | None,
) -> None:
    import asyncio

    from mujo_edge.engine import Engine

    engine = Engine(source, sinks, load, live=source.speed is not None, duration_s=duration_s)
    summary = asyncio.run(engine.run())
    if summary.ended == "closed":
        # What is left in the buffer would fail again when Python flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
