"""A Cortex-M4 board in QEMU that runs `firmware/qemu`: real C firmware on a serial port, without the board.

    python -m firmware_bridge.simulator qemu --motion sine      says the port for mujo-edge stream --serial PORT

The motion is compiled in: the first minute of it, in a circle.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from firmware_bridge.packet import UNIT
from firmware_bridge.simulator.motion import named
from firmware_bridge.simulator.wearable import Motion

FIRMWARE = Path(__file__).parents[1] / "firmware" / "qemu"
DEBIAN = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "make": "make", "qemu-system-arm": "qemu-system-arm"}
"""Program -> the Debian package that has it."""

RATE_HZ = 50
"""Rows a second of the table that is compiled in; the board samples at this rate until told another."""

SECONDS = 60


def missing() -> list[str]:
    """Debian packages that have to be installed before a board can run."""
    return [package for program, package in DEBIAN.items() if shutil.which(program) is None]


def table(motion: Motion) -> str:
    """motion.h: `SECONDS` of a motion in the packet's counts. The firmware's first sample is row 1."""
    x = motion(np.arange(SECONDS * RATE_HZ) / RATE_HZ)
    counts = np.clip(np.rint(x / UNIT), -32768, 32767).astype(int)
    rows = ",\n".join("    {" + ", ".join(map(str, row)) + "}" for row in counts.tolist())
    return (
        "#include <stdint.h>\n\n"
        f"#define MOTION_RATE {RATE_HZ}u\n#define MOTION_ROWS {len(counts)}u\n\n"
        f"static const int16_t motion[MOTION_ROWS][6] = {{\n{rows},\n}};\n"
    )


def build(motion: Motion, folder: Path) -> Path:
    """The board's program in `folder`. Raises `FileNotFoundError` if a tool is missing, `OSError` if it fails."""
    if packages := missing():
        raise FileNotFoundError(
            f"The board needs programs that are not installed.\nOn Debian: apt-get install {' '.join(packages)}"
        )
    (folder / "motion.h").write_text(table(motion))
    done = subprocess.run(["make", "-C", FIRMWARE, f"BUILD={folder}"], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"The board's firmware cannot be built:\n{done.stderr.strip()}")
    return folder / "board.elf"


@contextmanager
def board(motion: Motion, tcp: bool = False) -> Iterator[str]:
    """A board that runs, as the port it is at: a pty such as /dev/pts/3, or with `tcp` socket://127.0.0.1:PORT.

    Nothing is heard of what it sends while nobody has the port open. Raises as `build`.
    """
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as folder, socket.socket() as listener:
        program = build(motion, Path(folder))
        if tcp:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            port = f"socket://127.0.0.1:{listener.getsockname()[1]}"
            wire = ["-chardev", f"socket,id=wire,fd={listener.fileno()},server=on,wait=off", "-serial", "chardev:wire"]
        else:
            wire = ["-serial", "pty"]
        machine = subprocess.Popen(
            ["qemu-system-arm", "-M", "mps2-an386", "-kernel", program, "-display", "none", "-monitor", "none", *wire],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[listener.fileno()],
        )
        assert machine.stdout is not None
        try:
            if not tcp:
                said = machine.stdout.readline()
                redirected = re.search(r"redirected to (\S+)", said)
                if redirected is None:
                    raise OSError(f"QEMU does not start:\n{said}{machine.stdout.read()}".strip())
                port = redirected[1]
            yield port
        finally:
            machine.terminate()
            machine.wait()
            machine.stdout.close()


def command(
    motion: Annotated[str, typer.Option(help="rest, sine, or a session folder that is played in a circle.")] = "sine",
    tcp: Annotated[bool, typer.Option("--tcp", help="Serve a socket:// port instead of a pty.")] = False,
) -> None:
    """A Cortex-M4 board in QEMU; its C firmware streams over a serial port until Ctrl-C."""
    with board(named(motion), tcp) as port:
        typer.echo(f"The board is at {port}. In another terminal: mujo-edge stream --serial {port}")
        # Blocked only now: QEMU would inherit it and could not be ended.
        ends = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        signal.sigwait(ends)
