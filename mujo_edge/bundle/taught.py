"""Takes that the user taught: the embeddings of their windows, kept in the label set's file so that movements can be
added and removed; and where such files are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mujo_edge.core import F32
from mujo_edge.folders import label_store
from mujo_edge.printable import NAME
from mujo_edge.schema import TaughtEntry

HeldOut = Literal["takes", "pieces", "none"]


@dataclass(frozen=True, slots=True)
class Take:
    """One performance of a movement without interruption.

    `embeddings` (N, D) float32, L2-normalized, of its windows in order; `recording` is its source, `seconds` its
    length, `repetitions` those counted in it. `still`: no window of it had motion.
    """

    label: str
    recording: str
    seconds: float
    repetitions: int
    still: bool
    embeddings: F32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Confused:
    """The `fraction` of held-out windows of `truth` that were nearest to `label`."""

    truth: str
    label: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A label of a shipped label set that a taught one takes along."""

    label_set: str
    label: str


@dataclass(frozen=True, slots=True)
class Taught:
    """The takes that a label set was fitted to, and how well windows were named that were held out of the fit.

    `held_out`: "takes", one take of each movement at a time; "pieces", consecutive thirds, where a movement has only
    one take; "none", where takes are too short for either and `macro_f1` is None.
    """

    takes: tuple[Take, ...]
    borrowed: tuple[Borrowed, ...] = ()
    held_out: HeldOut = "none"
    macro_f1: float | None = None
    confused: tuple[Confused, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Taught labels in the order of their first takes."""
        return tuple(dict.fromkeys(take.label for take in self.takes))

    def of(self, label: str) -> tuple[Take, ...]:
        """The takes of one label."""
        return tuple(take for take in self.takes if take.label == label)


def taught_file(name: str) -> Path:
    """Where `mujo-edge teach NAME` keeps a label set."""
    return label_store() / f"{name}.json"


def find_taught(name: str) -> Path | None:
    """The file of a taught label set; None if there is none of this name."""
    return path if NAME.fullmatch(name) and (path := taught_file(name)).is_file() else None


def taught_names() -> list[str]:
    """Names of the label sets that were taught."""
    return sorted(path.stem for path in label_store().glob("*.json") if NAME.fullmatch(path.stem))


def number_rows(x: F32) -> list[list[float]]:
    """(N, D) float32 as numbers with the fewest digits that tell them apart as float32."""
    return [[float(str(value)) for value in row] for row in x]


def taught_table(taught: Taught) -> dict[str, Any]:
    """ "taught" of a label set's file."""
    takes = [
        {name: getattr(take, name) for name in ("label", "recording", "seconds", "repetitions", "still")}
        | {"windows": number_rows(take.embeddings)}
        for take in taught.takes
    ]
    return {
        "takes": takes,
        "borrowed": [asdict(one) for one in taught.borrowed],
        "held_out": taught.held_out,
        "macro_f1": taught.macro_f1,
        "confused": [asdict(one) for one in taught.confused],
    }


def parse_taught(entry: TaughtEntry, dim: int) -> Taught:
    """Inverse of `taught_table`. Raises `ValueError` for embeddings that are not `dim` long and of length 1."""
    return Taught(
        tuple(
            Take(one.label, one.recording, one.seconds, one.repetitions, one.still, _unit_rows(one.windows, dim))
            for one in entry.takes
        ),
        tuple(Borrowed(one.label_set, one.label) for one in entry.borrowed),
        entry.held_out,
        entry.macro_f1,
        tuple(Confused(one.truth, one.label, one.fraction) for one in entry.confused),
    )


def _unit_rows(rows: Sequence[Sequence[float]], dim: int) -> F32:
    if any(len(row) != dim for row in rows):
        raise ValueError(f"windows of a take have not {dim} values each")
    x = np.array(rows, np.float32)
    if not np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-3):  # false for NaN as well
        raise ValueError("windows of a take are not of length 1")
    return x
