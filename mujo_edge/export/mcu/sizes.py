"""Flash, RAM and stack of a program that only recognizes, for README.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path

from mujo_edge.core import DataError

TOOLS = ("make", "arm-none-eabi-gcc", "arm-none-eabi-size")


def measure(folder: Path) -> str:
    """Markdown table of the sizes that `make size` measures at `folder`, or a sentence on how to do so without tools.

    Raises:
        DataError: the sources do not compile.
    """
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return (
            f"Not measured: {', '.join(missing)} was not installed on the exporting machine. `make size` measures it."
        )
    rows = ["| samples a second, at most | flash | RAM | stack of `mujo_push` |", "|---|---|---|---|"]
    for most_hz in (208, 50):
        with tempfile.TemporaryDirectory(prefix="mujo-edge-") as build:
            call = ["make", "-s", "-C", str(folder), "size", f"BUILD={build}", f"RATE={most_hz}"]
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                raise DataError(f"the C sources do not compile for a Cortex-M4:\n{done.stderr.strip()}")
            text, data, bss, *_ = map(int, done.stdout.splitlines()[-1].split()[:3])
            graph = "".join(path.read_text("utf-8") for path in sorted(Path(build).glob("*.ci")))
        stack = deepest(graph, "mujo_push")
        rows.append(f"| {most_hz} | {text + data:,} bytes | {data + bss:,} bytes | {stack:,} bytes |")
    return "\n".join(rows)


def deepest(graph: str, function: str) -> int:
    """Most bytes of stack that `function` and its callees use.

    `graph` is the output of GCC's -fcallgraph-info=su (GCC manual, 3.11 Developer Options; VCG): nodes with the frame
    size of a function, and edges to its callees. Functions that were not compiled with it count as 0.
    """
    frames = {
        name: int(size) for name, size in re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes', graph)
    }
    calls: dict[str, set[str]] = {}
    for caller, callee in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller, set()).add(callee)
    return _deepest(function, frames, calls)


def _deepest(function: str, frames: Mapping[str, int], calls: Mapping[str, Set[str]]) -> int:
    @cache
    def below(name: str) -> int:
        return frames.get(name, 0) + max(map(below, calls.get(name, ())), default=0)

    return below(function)
