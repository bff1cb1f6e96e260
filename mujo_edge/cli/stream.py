"""`mujo-edge stream` and `mujo-edge record`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mujo_edge.cli.arguments import BundleOption, Verbose
from mujo_edge.cli.source import SourceOptions, takes_source
from mujo_edge.cli.streams import ignore_signals, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mujo_edge.bundle import ModelBundle
    from mujo_edge.core import Source, StreamInfo
    from mujo_edge.mounting import Worn
    from mujo_edge.recognizer import Recognizer
    from mujo_edge.sinks import Sink
    from mujo_edge.sinks.background import BackgroundWriter

Duration = Annotated[float | None, typer.Option(metavar="S", min=0, help="Stop after this many seconds of signal.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line; the default when stdout is no terminal.")]


@takes_source
def stream(
    source: SourceOptions,
    recording: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|FOLDER", help="Recording to play, as --replay takes it.", show_default=False),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|A,B,...",
            envvar="MUJO_EDGE_LABELS",
            help='Label set, file of one (.json), or names of activities: "squat,deadlift".',
        ),
    ] = None,
    worn: Annotated[
        str | None,
        typer.Option(
            metavar="HOW|auto",
            envvar="MUJO_EDGE_WORN",
            help="as-trained, inside (of the wrist), upside-down, inside-upside-down, or auto to find it.",
        ),
    ] = None,
    bundle: BundleOption = None,
    runtime: Annotated[
        str, typer.Option(envvar="MUJO_EDGE_RUNTIME", help="auto, litert, tflite-runtime, executorch or onnx.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, envvar="MUJO_EDGE_THREADS", help="Threads of the runtime.")] = 1,
    duration: Duration = None,
    record_to: Annotated[
        Path | None, typer.Option("--record", metavar="FOLDER", help="Keep the samples as well, as `record` does.")
    ] = None,
    screenshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the last screen as an SVG picture.")
    ] = None,
    json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Recognize what a stream shows, live.

    Without a source it plays the real recording that comes with mujo-edge, in real time.
    """
    model: list[ModelBundle] = []
    source = source.playing(recording)

    def load(info: StreamInfo) -> Recognizer:
        from mujo_edge.bundle import ModelBundle
        from mujo_edge.recognizer import Recognizer

        if not model:  # several streams share one
            model.append(ModelBundle.load(bundle, runtime, threads))
        return Recognizer(model[0], info, labels, cast("Worn | None", worn))

    _run(source, load, json, record_to, duration, screenshot, force_host=bool(bundle or labels or worn))


@takes_source
def record(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Session folder to make; `stream --replay OUT` reads it.")],
    source: SourceOptions,
    duration: Duration = None,
    label_keys: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help='Labels of keys 1 to 9, for `teach --from`: "squat,push-up"; 0 ends one.'),
    ] = None,
    json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """Keep what a source sends in a session folder, without recognizing anything.

    What was received is on disk at once: a crash or kill loses at most the last second.
    """
    if label_keys is None:
        _run(source, None, json, out, duration, None)
        return
    from mujo_edge.cli.keys import LabeledSource, parse_keys, reading
    from mujo_edge.core import UsageError

    if source.waits:
        raise UsageError("--label-keys has no meaning with --speed max: nobody presses keys that fast")
    keys = parse_keys(label_keys)
    meaning = ", ".join(f"{number} {label}" for number, label in enumerate(keys.labels, 1))
    say(f"keys begin a label: {meaning}; the same key or 0 ends it")
    with reading(keys):
        _run(source, None, json, out, duration, None, wrap=lambda one: LabeledSource(one, keys))


def _run(
    options: SourceOptions,
    load: Callable[[StreamInfo], Recognizer] | None,
    json: bool,
    record_to: Path | None,
    duration_s: float | None,
    screenshot: Path | None,
    force_host: bool = False,
    wrap: Callable[[Source], Source] = lambda one: one,
) -> None:
    import asyncio
    from contextlib import redirect_stderr

    from mujo_edge.core import UsageError
    from mujo_edge.engine import Engine, run_together
    from mujo_edge.sinks.background import BackgroundWriter

    options.check()
    if screenshot is not None and options.several:
        raise UsageError("--screenshot shows one stream: name one --device")
    if sys.stdout is None:
        raise UsageError("standard output is closed. Send it somewhere, for example > /dev/null")

    async def run(output: BackgroundWriter) -> None:
        sources = [wrap(one) for one in await options.open()]
        outputs = _outputs(output, json, record_to, len(sources))
        engines = []
        for number, (source, shown) in enumerate(zip(sources, outputs, strict=True), 1):
            folder = record_to / str(number) if record_to and len(sources) > 1 else record_to
            sinks = [*_files(source, options.origin, folder, screenshot), shown]
            live = not options.waits
            engines.append(Engine(source, sinks, load, live=live, duration_s=duration_s, force_host=force_host))
        errors = BackgroundWriter(sys.stderr, "standard error")
        with redirect_stderr(errors.text()):
            try:
                summaries = await run_together(engines, _waiting, output)
                if any(summary.ended == "interrupted" for summary in summaries):
                    ignore_signals()  # another one must not turn the end of this process into a failure
            finally:
                errors.hurry()
                errors.finish(grace_s=0.25)

    output = BackgroundWriter(sys.stdout, wait=options.waits)
    try:
        asyncio.run(run(output))
    except asyncio.CancelledError:  # a signal before all sources were there
        raise KeyboardInterrupt from None
    finally:
        if output.dropped:
            say(f"the reader of standard output was too slow: {output.dropped:,} lines were dropped")


def _waiting(source: Source) -> AbstractContextManager[object]:
    """A status line on stderr, if that is a terminal, while a source is being entered."""
    from contextlib import nullcontext

    from rich.console import Console
    from rich.text import Text

    class Doing:
        def __rich__(self) -> Text:
            return Text(source.status or "connecting")

    console = Console(stderr=True)
    return console.status(Doing()) if console.is_terminal else nullcontext()


def _files(source: Source, origin: str, folder: Path | None, screenshot: Path | None) -> list[Sink]:
    """The sinks that are not the terminal: picture, recording, and the source itself if it shows labels."""
    from mujo_edge.sinks import Sink

    sinks: list[Sink] = []
    if screenshot is not None:
        from mujo_edge.sinks.terminal import PictureSink

        sinks.append(PictureSink(screenshot, str(folder) if folder else None))
    if folder is not None:
        from mujo_edge.sinks.recording import RecordingSink

        sinks.append(RecordingSink(folder, source=origin))
    if isinstance(source, Sink):
        sinks.append(source)
    return sinks


def _outputs(output: BackgroundWriter, json: bool, recording: Path | None, streams: int) -> list[Sink]:
    """For each stream its live screen, or NDJSON when asked for or when stdout is no terminal."""
    if json or not output.isatty():
        from mujo_edge.sinks.ndjson import NdjsonSink

        return [NdjsonSink(output, named=streams > 1) for _ in range(streams)]
    from rich.console import Console

    from mujo_edge.sinks.terminal import TerminalBoard, TerminalSink

    folder = str(recording) if recording else None
    console = Console(file=output.text())
    if streams == 1:
        return [TerminalSink(console, folder, output)]
    board = TerminalBoard(console, folder, output)
    return [board.row() for _ in range(streams)]
