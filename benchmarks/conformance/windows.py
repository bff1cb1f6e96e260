"""The windows that every artifact is judged on, and how its embeddings compare with the truth."""

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
    """How (N, D) embeddings compare, as they come from the model, with those of another runtime of the same network.

    `equal` is the share of windows in which all values are the same int8 (that is, within `SAME` of a step), `max_lsb`
    the largest difference in steps of the int8 file's output, `max_delta` that of the embeddings of length 1.
    """

    equal: float
    max_lsb: float
    max_delta: float


SAME = 1e-3
"""Of a step: runtimes round the way from int8 to float32 differently."""

CLEAR = 0.02
"""Below this lead of the nearest prototype over the next one, in cosine, the fp32 network itself is undecided.
It is over three times what int8 at an SNR of 27 dB makes of a difference of two cosines,
10 ** (-27 / 20) / sqrt(64) = 0.0056.
"""


@dataclass(frozen=True, slots=True)
class Windows:
    """`x` (N, 6, 1, T) prepared; `y` (N, D) the fp32 network's embeddings of length 1; `member` (N,) label set of each.

    The truth of the first `references` comes with the bundle, that of the others is what the bundle's fp32 file gives
    in LiteRT. `int8` (N, D) is what its int8 file gives there, as it
    comes, and `lsb` the step of its output.
    """

    x: F32
    y: F32
    member: npt.NDArray[np.str_]
    references: int
    int8: F32
    lsb: float
    label_sets: Mapping[str, LabelSet]

    def parity(self, found: F32) -> Parity:
        """(n, D) embeddings of the first n windows, as a model gives them, against the fp32 network."""
        n = len(found)
        return compare(self.y[:n], l2_normalize(found), self.label_sets, self.member[:n])

    def clear_top1(self, found: F32) -> float:
        """The share of windows with the fp32 network's label, of those in which it leads by `CLEAR`."""
        clear = np.flatnonzero(self.leads()[: len(found)] >= CLEAR)
        return compare(self.y[clear], l2_normalize(found)[clear], self.label_sets, self.member[clear]).top1_agreement

    def leads(self) -> F32:
        """(N,) how far the fp32 network's nearest prototype is ahead of the next one."""
        leads = np.empty(len(self.y), np.float32)
        for name, labels in self.label_sets.items():
            own = self.member == name
            cosine = np.sort(self.y[own] @ labels.prototypes.T, axis=1)
            leads[own] = cosine[:, -1] - cosine[:, -2]
        return leads

    def agreement(self, found: F32, other: F32 | None = None) -> Agreement:
        """The same against `other`, by default the int8 file in LiteRT."""
        n = len(found)
        other = (self.int8 if other is None else other)[:n]
        steps = np.abs(found - other) / self.lsb
        return Agreement(
            equal=float((steps < SAME).all(1).mean()),
            max_lsb=float(steps.max()),
            max_delta=float(np.abs(l2_normalize(found) - l2_normalize(other)).max()),
        )


def windows(manifest: Manifest, count: int, channels: int = 6) -> Windows:
    """The reference windows, then more of the shipped recording at even distances: `count` in all.

    With `channels` 3 all of them without gyroscope, and without a truth that comes with the bundle.
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
    y, known = l2_normalize(fp32), len(reference.x) if channels == len(manifest.input.channels) else 0
    y[:known] = reference.y[:known]
    return Windows(
        x=x,
        y=y,
        member=np.concatenate([reference.member, np.full(len(more), labels)]),
        references=known,
        int8=int8,
        lsb=float(Interpreter(model_content=files["int8"]).get_output_details()[0]["quantization"][0]),
        label_sets=manifest.label_sets,
    )


def recorded(window: int, count: int) -> tuple[F32, str]:
    """(count, 6, window) of the shipped recording in m/s2 and rad/s, and the label set that it belongs to.

    Its rate is the model's, so nothing is resampled.
    """
    recording = open_recording(shipped_recording())
    stream = np.concatenate([chunk.x for chunk in recording.chunks()])
    starts = np.linspace(0, len(stream) - window, count).astype(int)
    return channels_first(stream[starts[:, None] + np.arange(window)]), str(recording.info.labels)
