"""The `mujo-edge` command line: one Typer app, errors in two lines, an exit code for each kind of mistake.

Modules here import nothing heavy at the top, so that `mujo-edge --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mujo_edge import logs
from mujo_edge.cli import benchmark, devices, doctor, export, log, models, serve, stream, streams, teach
from mujo_edge.cli.arguments import HELP, Command, Group, Verbose
from mujo_edge.version import __version__

app = typer.Typer(cls=Group, no_args_is_help=True, pretty_exceptions_enable=False, context_settings=HELP)
app.command(cls=Command)(stream.stream)
app.command(cls=Command)(stream.record)
app.command(cls=Command)(teach.teach)
app.command(cls=Command)(log.log)
app.command(cls=Command)(devices.devices)
app.command(cls=Command)(benchmark.benchmark)
app.command(cls=Command)(export.export)
app.command(cls=Command)(serve.serve)
app.add_typer(models.models, name="models")
app.command(cls=Command)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        print(f"mujo-edge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    verbose: Verbose = 0,
) -> None:
    """Recognize activities from a live IMU stream, on this machine (MuJo, not MuJoCo).

    Exit codes: 0 done, 2 wrong call, 3 device missing or gone, 4 data not as it should be, 5 package missing.
    """


def main() -> None:
    """Run the command line; a `MujoError` becomes its message and exit code."""
    streams.open_missing()
    streams.encode_all()
    try:
        logs.show_as_environment_says()
        with streams.checked_stdout():
            app(prog_name="mujo-edge")
    except Exception as error:
        from mujo_edge.core import MujoError  # brings numpy along, which --help does without

        if not isinstance(error, MujoError):
            raise
        streams.say(str(error))
        sys.exit(error.exit_code)
