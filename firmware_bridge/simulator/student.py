"""The exported C student on this machine and on a Cortex-M in QEMU: results and costs of whole batches of windows.

`sources` is a folder with mujo_network.{c,h} and mujo_model.{c,h}, from `mujo-edge export --target mcu`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]

FIRMWARE = Path(__file__).parents[1] / "firmware"
PROGRAMS = FIRMWARE / "student" / "batch"
FILES = ("mujo_network.c", "mujo_model.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Werror", "-pedantic")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

LOOP = 1_000_000
"""Instructions of the first loop that batch/bare.c times; the second has twice as many."""

INSTRUCTIONS_PER_TICK = 40 / 64
"""Ratio of a 25 MHz counter to instructions of 64 ns (-icount shift=6)."""

PSRAM = 0x21000000
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Batch:
    """Result of N windows on a Cortex-M.

    `embeddings` (N, D); `instructions` (N,) for each window; `layers` (L,) instructions of each layer for the first
    window; `stack_bytes` of a run, without its caller's.
    """

    embeddings: Int8
    instructions: Int64
    layers: Int64
    stack_bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of sections from arm-none-eabi-size: `text` and `rodata` are in flash, `data` in both, `bss` in RAM."""

    text: int
    rodata: int
    data: int
    bss: int


def number(sources: Path, name: str) -> int:
    """A numeric constant of mujo_model.h, such as MUJO_EMBEDDING."""
    match = re.search(rf"#define {name} \(?(-?\d+)\)?$", (sources / "mujo_model.h").read_text(), re.M)
    if match is None:
        raise OSError(f"{sources / 'mujo_model.h'} does not define {name}; export again")
    return int(match[1])


def host(sources: Path, windows: Int8, cc: str = "gcc", flags: Sequence[str] = ("-O2",)) -> Int8:
    """(N, T, C) int8 windows -> (N, D) embeddings, by a program that `cc` compiles here with warnings as errors.

    Raises:
        FileNotFoundError: `cc` is not installed.
        OSError: it does not compile, or fails, for example by a sanitizer.
    """
    dim = number(sources, "MUJO_EMBEDDING")
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as folder:
        program = Path(folder) / "student"
        _compile([cc, *STRICT, *flags, PROGRAMS / "host.c"], sources, program)
        out = _run([program], np.ascontiguousarray(windows).tobytes())
    return np.frombuffer(out, np.int8).reshape(len(windows), dim)


def cortex_m(sources: Path, windows: Int8, cpu: str = "cortex-m4", flags: Sequence[str] = ("-O2",)) -> Batch:
    """(N, T, C) int8 windows on QEMU's mps2-an386, a Cortex-M4; code for a smaller `cpu` runs there too.

    Instructions are those that QEMU executes, counted by its virtual clock, which is verified with a loop of known
    length.

    Raises:
        FileNotFoundError: arm-none-eabi-gcc or qemu-system-arm is not installed.
        OSError: it does not compile or does not end, or the instruction count is wrong.
    """
    dim, layers = number(sources, "MUJO_EMBEDDING"), number(sources, "MUJO_LAYERS")
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as name:
        folder = Path(name)
        program, batch, answer = folder / "student.elf", folder / "batch", folder / "answer"
        bare: list[str | Path] = [
            "-ffreestanding",
            "-nostdlib",
            "-T",
            FIRMWARE / "qemu" / "board.ld",
            PROGRAMS / "bare.c",
        ]
        _compile(["arm-none-eabi-gcc", *_target(cpu), *STRICT, *flags, *bare], sources, program, "-lgcc")
        batch.write_bytes(len(windows).to_bytes(4, "little") + np.ascontiguousarray(windows).tobytes())
        machine = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none"]
        machine += ["-icount", "shift=6,sleep=off", "-semihosting", "-serial", f"file:{answer}"]
        machine += ["-device", f"loader,file={batch},addr={PSRAM:#x},force-raw=on", "-kernel", str(program)]
        _run(machine)
        output = answer.read_bytes()
    head, rest = output[: 4 * (3 + layers)], output[4 * (3 + layers) :]
    numbers = np.frombuffer(head, "<u4").astype(np.int64)
    rows = np.frombuffer(rest, np.dtype([("ticks", "<u4"), ("embedding", np.int8, (dim,))]))
    if len(rows) != len(windows):
        raise OSError(f"the board gave {len(rows)} embeddings for {len(windows)} windows")
    short, long = _instructions(numbers[:2]).tolist()
    if abs(long - short - LOOP) > 1:
        raise OSError(f"{LOOP} instructions were counted as {long - short}; QEMU's clock does not count them")
    return Batch(rows["embedding"], _instructions(rows["ticks"]), _instructions(numbers[3:]), int(numbers[2]))


def sizes(sources: Path, cpu: str = "cortex-m4", flags: Sequence[str] = ("-O2",)) -> Sizes:
    """Section sizes of all C files in `sources`, compiled for `cpu`. Raises as `cortex_m`."""
    with tempfile.TemporaryDirectory(prefix="mujo-edge-") as name:
        total = dict.fromkeys(("text", "rodata", "data", "bss"), 0)
        for file in sorted(sources.glob("*.c")):
            done = Path(name) / f"{file.stem}.o"
            _run([_which("arm-none-eabi-gcc"), *_target(cpu), *STRICT, *flags, "-c", file, "-o", done])
            table = _run([_which("arm-none-eabi-size"), "-A", done]).decode()
            for section, size in re.findall(r"^\.(text|rodata|data|bss)\S*\s+(\d+)", table, re.M):
                total[section] += int(size)
    return Sizes(**total)


def _target(cpu: str) -> tuple[str, ...]:
    return f"-mcpu={cpu}", "-mthumb"


def _instructions(ticks: npt.NDArray[np.integer]) -> Int64:
    whole: Int64 = np.rint(ticks * INSTRUCTIONS_PER_TICK).astype(np.int64)
    return whole


def _compile(command: Sequence[str | Path], sources: Path, program: Path, *last: str) -> None:
    compiler = _which(str(command[0]))
    _run([compiler, *command[1:], f"-I{sources}", *(sources / file for file in FILES), *last, "-o", program])


def _which(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed")
    return path


def _run(command: Sequence[str | Path], stdin: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            [_which(str(command[0])), *command[1:]], input=stdin, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not end in {TIMEOUT_S} s") from error
    if done.returncode:
        raise OSError(f"{Path(command[0]).name} failed:\n{done.stderr.decode(errors='replace').strip()}")
    return done.stdout
