"""`python -m firmware_bridge.simulator`: simulated devices to try mujo-edge without the hardware.

Each is a module with a function `command`. Only the called one is imported, as each needs different packages.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

COMMANDS = {
    "ble": ("firmware_bridge.simulator.ble", "Virtual Bluetooth wearables with a simulated BlueZ."),
    "board": ("firmware_bridge.simulator.board", "A board at a serial port that is a pseudo-terminal."),
    "phone": (
        "firmware_bridge.simulator.phone",
        "A phone with Sensor Logger, SensorServer, phyphox or mujo-edge's page.",
    ),
    "qemu": ("firmware_bridge.simulator.qemu", "A Cortex-M4 board in QEMU; its C firmware streams over a serial port."),
    "vm": ("firmware_bridge.simulator.vm", "A virtual machine with a kernel's own Bluetooth and the real bluetoothd."),
}
"""Name of a command -> its module and title."""


def main(arguments: list[str]) -> None:
    """Run the command line; missing packages and wrong usage end with a short message and an exit code."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Simulated devices to try mujo-edge without the hardware.")(lambda: None)
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
    """Placeholder for a command that is only listed."""


def _end(message: str, code: int) -> None:
    print(f"simulator: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
