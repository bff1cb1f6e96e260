"""The rows as tables: on the terminal, in docs/conformance.md, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacite import Config, from_dict
from rich.console import RenderableType
from rich.text import Text

from benchmarks.conformance.rows import TWINS, Row
from benchmarks.conformance.windows import CLEAR
from mujo_edge.benchmark.report import rich_table

MARKED = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.S)


@dataclass(frozen=True, slots=True)
class Result:
    """All that one run found. `alone` is how the int8 file in LiteRT compares with fp32 on the same windows without
    gyroscope; `broken` are the gates that are not passed."""

    created: str
    commit: str
    bundle: str
    machine: Mapping[str, str]
    macs: int
    windows: int
    references: int
    alone: Mapping[str, float]
    rows: tuple[Row, ...]
    broken: tuple[str, ...]


def result(table: Mapping[str, Any]) -> Result:
    """What was written as JSON."""
    return from_dict(Result, dict(table), Config(cast=[tuple], strict=True))


def percent(share: float | None) -> str:
    """One digit after the point, but 100 only where it is all."""
    return "" if share is None else "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"


def plain(value: float | None, digits: int = 1) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:,.{digits}f}"


def accuracy(row: Row, found: Result) -> tuple[str, ...]:
    """Cells under `ACCURACY`."""
    twin = TWINS.get(row.runtime)
    assert row.parity is not None
    assert row.int8 is not None
    return (
        row.file,
        row.runtime,
        str(row.windows),
        percent(row.parity.top1_agreement),
        percent(row.clear_top1),
        f"{row.parity.snr_db:.1f}",
        f"{row.parity.max_abs_delta:.4f}",
        percent(row.int8.equal),
        f"{row.int8.max_lsb:.1f}",
        f"{row.twin.max_lsb:.1f} from {twin.runtime}" if row.twin and twin else "",
    )


def cost(row: Row, found: Result) -> tuple[str, ...]:
    """Cells under `COST`."""
    assert row.cost is not None
    instructions, arena, latency = row.cost.instructions, row.cost.arena_bytes, row.latency
    return (
        row.file,
        row.runtime,
        plain(row.file_bytes and row.file_bytes / 1000),
        plain(row.cost.rss_mb),
        plain(arena and arena / 1000),
        plain(latency.p50_us if latency else None),
        plain(latency.p99_us if latency else None),
        plain(latency.ratio if latency else None, 2),
        plain(instructions, 0),
        plain(instructions and instructions / found.macs, 2),
    )


ACCURACY = ("file", "runtime", "windows", "top-1", "clear", "SNR", "max", "same", "steps", "and")
COST = ("file", "runtime", "KB", "RSS", "arena", "p50", "p99", "ratio", "instructions", "a MAC")
TABLES: tuple[tuple[str, Sequence[str], Callable[[Row, Result], tuple[str, ...]]], ...] = (
    ("What each file computes", ACCURACY, accuracy),
    ("What it costs", COST, cost),
)
LEGEND = {
    "What each file computes": f"""Against the fp32 network: `top-1` % of windows with the same nearest prototype in
their own label set, `clear` the same where fp32's nearest one is ahead by {CLEAR:g} in cosine, `SNR` in dB and `max`
|difference| of embeddings of length 1. Against the bundle's int8 file in LiteRT: `same` % of windows in which all int8
values are the same, `steps` the largest difference in steps of its output; `and` that from the runtime with the same
kernels.""",
    "What it costs": """`KB` of the file (Cortex-M4: of code and tables of the whole library in flash), `RSS` in MB that
a process grows by for the runtime, the model and one window, `arena` in KB (of C with its stack), `p50` and `p99` of
one window in us on one thread, `ratio` of p50 to that of the int8 file in LiteRT in the same run, `instructions` of a
window on a Cortex-M4 and of `a MAC`.""",
}
"""What the columns are, under the title."""


def others(found: Result) -> list[str]:
    """What did not run, a sentence each."""
    said = {"failed": "FAILED", "missing": "not installed", "elsewhere": "does not run here"}
    return [f"{row.file}, {row.runtime}: {said[row.state]}: {row.note}" for row in found.rows if row.state != "ran"]


def holders(found: Result) -> list[str]:
    """Which artifacts hold each file."""
    kinds = {row.file: (f"{row.precision}, {row.dtype} in and out", ", ".join(row.artifacts)) for row in found.rows}
    return [f"{file} ({kind}): {artifacts}" for file, (kind, artifacts) in kinds.items()]


def versions(found: Result) -> str:
    """Of every runtime that ran."""
    ran = {row.runtime: row.cost.version for row in found.rows if row.cost}
    return "; ".join(f"{runtime}: {version}" for runtime, version in ran.items())


def facts(found: Result) -> list[str]:
    """What the tables are of."""
    machine = ", ".join(f"{key} {value}" for key, value in found.machine.items())
    alone = f"top-1 {100 * found.alone['top1_agreement']:.1f} %, SNR {found.alone['snr_db']:.1f} dB"
    return [
        f"{found.bundle}, commit {found.commit}, {found.created}",
        f"{machine}. {versions(found)}",
        f"{found.windows:,} windows: {found.references} reference windows of the bundle (truth: its fp32 network) and "
        f"more of the shipped recording (truth: its fp32 file in LiteRT). {found.macs:,} MACs a window.",
        f"Without the gyroscope the int8 file in LiteRT has on the same windows {alone}.",
    ]


def terminal(found: Result) -> list[RenderableType]:
    """For rich."""
    ran = [row for row in found.rows if row.state == "ran"]
    return [
        *(Text(text, "dim") for text in facts(found)),
        *(rich_table(title, headings, [cells(row, found) for row in ran]) for title, headings, cells in TABLES),
        *(Text(text, "yellow") for text in others(found)),
        *(Text(f"gate: {text}", "red") for text in found.broken),
    ]


def markdown(found: Result) -> str:
    """For docs/conformance.md."""
    ran = [row for row in found.rows if row.state == "ran"]
    parts = [*facts(found)]
    for title, headings, cells in TABLES:
        lines = [headings, ["---"] * len(headings), *(cells(row, found) for row in ran)]
        parts += [f"### {title}", LEGEND[title], "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    parts += ["### Where the files are", *bullets(holders(found))]
    parts += ["### What did not run", *bullets(others(found))]
    parts += ["### Gates that are not passed", *bullets(found.broken)] if found.broken else []
    return "\n\n".join(parts) + "\n"


def bullets(texts: Sequence[str]) -> list[str]:
    """One block of list items."""
    return ["\n".join(f"- {text}" for text in texts) or "Nothing."]


def write_page(page: Path, found: Result) -> None:
    """Put the tables between the marks of `page`."""
    page.write_text(MARKED.sub(lambda _: markdown(found), page.read_text("utf-8"), count=1), "utf-8")
