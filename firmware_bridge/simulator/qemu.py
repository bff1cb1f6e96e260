"""A Cortex-M4 board in QEMU: real C firmware on a serial port, without the board.

    python -m firmware_bridge.simulator qemu --motion sine      prints the port for mujo-edge stream --serial PORT

It runs `firmware/qemu`, which streams: the first minute of the motion is compiled in, and played in a loop. With
`--student DIR/mcu`, an export of `mujo-edge export --target mcu`, it runs `firmware/student/qemu`, which recognizes:
this process is its sensor, and sends samples to a second port of the board.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Annotated

import numpy as np
import typer

from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import cobs_encode
from firmware_bridge.simulator.motion import named
from firmware_bridge.simulator.wearable import Motion

FIRMWARE = Path(__file__).parents[1] / "firmware"
DEBIAN = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "make": "make", "qemu-system-arm": "qemu-system-arm"}
"""Program -> its Debian package."""

RATE_HZ = 50
"""Rows per second of the compiled-in table, and the board's initial sampling rate."""

SECONDS = 60


def missing() -> list[str]:
    """Missing Debian packages that the board needs."""
    return [package for program, package in DEBIAN.items() if shutil.which(program) is None]


def table(motion: Motion) -> str:
    """motion.h with `SECONDS` of a motion in packet counts. The firmware's first sample is row 1."""
    x = motion(np.arange(SECONDS * RATE_HZ) / RATE_HZ)
    counts = np.clip(np.rint(x / packet.UNIT), -32768, 32767).astype(int)
    rows = ",\n".join("    {" + ", ".join(map(str, row)) + "}" for row in counts.tolist())
    return (
        "#include <stdint.h>\n\n"
        f"#define MOTION_RATE {RATE_HZ}u\n#define MOTION_ROWS {len(counts)}u\n\n"
        f"static const int16_t motion[MOTION_ROWS][6] = {{\n{rows},\n}};\n"
    )


def sample(motion: Motion, number: int) -> bytes:
    """The packet of a sample from the sensor of a student's board, whose clock starts with sample 0."""
    t_s = number / RATE_HZ
    return packet.encode(motion(np.array([t_s])), number, round(t_s * packet.TICK_HZ))


def build(motion: Motion, folder: Path, student: Path | None = None, forward: bool = True) -> Path:
    """The board's program in `folder`. Raises `FileNotFoundError` if a tool is missing, `OSError` if it fails.

    Args:
        student: an exported folder, for a board that recognizes. forward: whether it also sends the samples.
    """
    if packages := missing():
        raise FileNotFoundError(
            f"The board needs programs that are not installed.\nOn Debian: apt-get install {' '.join(packages)}"
        )
    if student:
        if not (student / "src" / "mujo.h").is_file():
            raise FileNotFoundError(f"{student} is not an export of mujo-edge export --target mcu")
        source, variables = "student/qemu", [f"SRC={(student / 'src').resolve()}", f"FORWARD={forward:d}"]
    else:
        (folder / "motion.h").write_text(table(motion))
        source, variables = "qemu", []
    call = ["make", "-C", str(FIRMWARE / source), f"BUILD={folder}", *variables]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"The board's firmware cannot be built:\n{done.stderr.strip()}")
    return folder / "board.elf"


@contextmanager
def sensor(motion: Motion, wire: socket.socket) -> Iterator[None]:
    """Context in which samples of a motion are sent from its start, in real time."""
    ended = threading.Event()

    def feed() -> None:
        start_s = monotonic()
        for number in count():
            if ended.wait(max(0.0, start_s + number / RATE_HZ - monotonic())):
                return
            try:
                wire.sendall(cobs_encode(sample(motion, number)))
            except OSError:
                return  # QEMU has ended

    thread = threading.Thread(target=feed, name="sensor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        wire.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def board(motion: Motion, tcp: bool = False, student: Path | None = None, forward: bool = True) -> Iterator[str]:
    """Context with a running board; its port is a pty such as /dev/pts/3, or with `tcp` socket://127.0.0.1:PORT.

    Output is lost while the port is not open. The other arguments and errors are those of `build`.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as folder, socket.socket() as listener, ours, theirs:
        program = build(motion, Path(folder), student, forward)
        if tcp:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            port = f"socket://127.0.0.1:{listener.getsockname()[1]}"
            wire = ["-chardev", f"socket,id=wire,fd={listener.fileno()},server=on,wait=off", "-serial", "chardev:wire"]
        else:
            wire = ["-serial", "pty"]
        wire += ["-chardev", f"socket,id=sensor,fd={theirs.fileno()}", "-serial", "chardev:sensor"]
        machine = subprocess.Popen(
            ["qemu-system-arm", "-M", "mps2-an386", "-kernel", program, "-display", "none", "-monitor", "none", *wire],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[listener.fileno(), theirs.fileno()],
        )
        assert machine.stdout is not None
        try:
            if not tcp:
                output = machine.stdout.readline()
                redirected = re.search(r"redirected to (\S+)", output)
                if redirected is None:
                    raise OSError(f"QEMU does not start:\n{output}{machine.stdout.read()}".strip())
                port = redirected[1]
            with sensor(motion, ours) if student else nullcontext():
                yield port
        finally:
            machine.terminate()
            machine.wait()
            machine.stdout.close()


def command(
    motion: Annotated[str, typer.Option(help="rest, sine, or a session folder that is played in a loop.")] = "sine",
    tcp: Annotated[bool, typer.Option("--tcp", help="Serve a socket:// port instead of a pty.")] = False,
    student: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Recognize on the board; DIR is an export of --target mcu.")
    ] = None,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Send no samples with the labels.")] = False,
) -> None:
    """A Cortex-M4 board in QEMU; its C firmware streams over a serial port, or recognizes, until Ctrl-C."""
    with board(named(motion), tcp, student, not labels_only) as port:
        typer.echo(f"The board is at {port}. In another terminal: mujo-edge stream --serial {port}")
        # Blocked only now, as QEMU would inherit the mask and could not be ended.
        ends = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        signal.sigwait(ends)
