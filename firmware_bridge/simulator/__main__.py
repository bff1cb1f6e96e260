"""`python -m firmware_bridge.simulator`: stand-ins to try mujo-edge with, when the hardware is not at hand.

A stand-in is a module with a function `command`. Only the one that is called is imported: each needs packages of its
own.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

COMMANDS = {
    "ble": ("firmware_bridge.simulator.ble", "Virtual Bluetooth wearables behind a stand-in for BlueZ."),
    "board": ("firmware_bridge.simulator.board", "A board at a serial port that is a pseudo-terminal."),
    "phone": ("firmware_bridge.simulator.phone", "A phone with Sensor Logger, SensorServer, phyphox or our page open."),
    "qemu": ("firmware_bridge.simulator.qemu", "A Cortex-M4 board in QEMU; its C firmware streams over a serial port."),
    "vm": ("firmware_bridge.simulator.vm", "A virtual machine with a kernel's own Bluetooth and the real bluetoothd."),
}
"""Name of a command -> its module and what it is."""


def main(arguments: list[str]) -> None:
    """Run the command line; a package that is missing or a wrong call is two lines and an exit code."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Stand-ins to try mujo-edge with, when the hardware is not at hand.")(lambda: None)
    try:
        for name, (module, title) in COMMANDS.items():
            called = arguments[:1] == [name]
            app.command(name, help=None if called else title)(import_module(module).command if called else _listed)
        app(arguments, prog_name="python -m firmware_bridge.simulator")
    except ModuleNotFoundError as error:
        _end(
            f"{(error.name or '').partition('.')[0]} is not installed.\nInstall it with: pip install 'mujo-edge[sim]'",
            5,
        )
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except ValueError as error:
        _end(str(error), 2)


def _listed() -> None:
    """Stands in the list of commands for one that is not called."""


def _end(message: str, code: int) -> None:
    print(f"simulator: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
