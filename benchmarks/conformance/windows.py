"""The windows that every artifact is evaluated on, and the comparison of its embeddings with the fp32 network's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mujo_edge.bundle import compare, l2_normalize
from mujo_edge.bundle.manifest import LabelSet, Manifest, Parity
from mujo_edge.core import F32
from mujo_edge.recordings.reader import open_recording
from mujo_edge.runtimes import open_model
from mujo_edge.signal import channels_first, prepare
from mujo_edge.sources.replay import shipped_recording


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of (N, D) raw embeddings with those of another runtime of the same network.

    `equal` is the fraction of windows whose int8 values are all the same (that is, within `SAME` of a step), `max_lsb`
    the largest difference in steps of the int8 file's output, `max_delta` that of the L2-normalized embeddings.
    """

    equal: float
    max_lsb: float
    max_delta: float


SAME = 1e-3
"""Fraction of an int8 step that counts as no difference: runtimes dequantize with different rounding."""

CLEAR = 0.02
"""Lead of the nearest prototype over the next one, in cosine, below which the fp32 network itself is undecided.

It is over three times the error of a difference of two cosines that int8 makes at an SNR of 27 dB,
10 ** (-27 / 20) / sqrt(64) = 0.0056.
"""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows with the fp32 network's embeddings.

    Attributes:
        x: (N, 6, 1, T) prepared windows.
        y: (N, D) L2-normalized embeddings of the fp32 network. Those of the first `references` windows come with the
            bundle, the others from the bundle's fp32 file in LiteRT.
        member: (N,) label set of each window.
        int8: (N, D) raw embeddings of the bundle's int8 file in LiteRT; `lsb` is the step of its output.
    """

    x: F32
    y: F32
    member: npt.NDArray[np.str_]
    references: int
    int8: F32
    lsb: float
    label_sets: Mapping[str, LabelSet]

    def parity(self, embeddings: F32) -> Parity:
        """(n, D) raw embeddings of the first n windows, compared with the fp32 network's."""
        n = len(embeddings)
        return compare(self.y[:n], l2_normalize(embeddings), self.label_sets, self.member[:n])

    def clear_top1(self, embeddings: F32) -> float:
        """Top-1 agreement with the fp32 network over the windows in which its label leads by at least `CLEAR`."""
        clear = np.flatnonzero(self.leads()[: len(embeddings)] >= CLEAR)
        unit = l2_normalize(embeddings)[clear]
        return compare(self.y[clear], unit, self.label_sets, self.member[clear]).top1_agreement

    def leads(self) -> F32:
        """(N,) lead of the fp32 network's nearest prototype over the next one, in cosine."""
        leads = np.empty(len(self.y), np.float32)
        for name, labels in self.label_sets.items():
            own = self.member == name
            cosine = np.sort(self.y[own] @ labels.prototypes.T, axis=1)
            leads[own] = cosine[:, -1] - cosine[:, -2]
        return leads

    def agreement(self, embeddings: F32, other: F32 | None = None) -> Agreement:
        """(n, D) raw embeddings of the first n windows, compared with `other`, by default the int8 file in LiteRT."""
        n = len(embeddings)
        other = (self.int8 if other is None else other)[:n]
        steps = np.abs(embeddings - other) / self.lsb
        return Agreement(
            equal=float((steps < SAME).all(1).mean()),
            max_lsb=float(steps.max()),
            max_delta=float(np.abs(l2_normalize(embeddings) - l2_normalize(other)).max()),
        )


def evaluation_windows(manifest: Manifest, count: int, channels: int = 6) -> Windows:
    """`count` windows (at least the reference windows): those first, then evenly spaced ones of the shipped recording.

    With `channels` 3 none has gyroscope data, and all fp32 embeddings come from the fp32 file.
    """
    from ai_edge_litert.interpreter import Interpreter

    reference = manifest.read_reference()
    more, labels = recorded(manifest.input.window, max(0, count - len(reference.x)))
    x = prepare(np.concatenate([reference.x, more])[:, :channels], manifest.input)
    files = {
        precision: (manifest.folder / manifest.model("litert", precision).file).read_bytes()
        for precision in ("fp32", "int8")
    }
    fp32, int8 = (open_model(files[precision], "litert").run(x) for precision in ("fp32", "int8"))
    y, references = l2_normalize(fp32), len(reference.x) if channels == len(manifest.input.channels) else 0
    y[:references] = reference.y[:references]
    return Windows(
        x=x,
        y=y,
        member=np.concatenate([reference.member, np.full(len(more), labels)]),
        references=references,
        int8=int8,
        lsb=float(Interpreter(model_content=files["int8"]).get_output_details()[0]["quantization"][0]),
        label_sets=manifest.label_sets,
    )


def recorded(window: int, count: int) -> tuple[F32, str]:
    """(count, 6, window) of the shipped recording in m/s2 and rad/s, and its label set.

    The recording has the model's rate, so nothing is resampled.
    """
    recording = open_recording(shipped_recording())
    stream = np.concatenate([chunk.x for chunk in recording.chunks()])
    starts = np.linspace(0, len(stream) - window, count).astype(int)
    return channels_first(stream[starts[:, None] + np.arange(window)]), str(recording.info.labels)
