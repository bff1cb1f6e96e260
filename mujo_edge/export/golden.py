"""Golden streams: inputs with the Python recognizer's outputs, which the other languages must reproduce.

golden/ holds, for every case of cases.csv:

    NAME.samples.csv      t_s and a column per channel, as the sensor sent them; --replay reads it
    NAME.events.csv       results in order: event (prediction or gap), start_s, end_s, label, score, raw_label, reason;
                          a prediction has end_s, label (smoothed), its score and raw_label (of the window alone)
    NAME.windows.f32      (N, 6, T) float32 little endian: model input, one window per prediction
    NAME.embeddings.f32   (N, D) float32 little endian: the int8 model's output in LiteRT, L2-normalized

cases.csv has a line per case: name, label_set, smoothing, stay, smoothing_windows (these three replace those of
mujo.json), channels (of the stream), rate_hz (nominal; empty where it has to be measured), samples, predictions.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import LabelSet, Smoothing
from mujo_edge.core import CHANNELS, F32, F64, Chunk, Gap, Prediction, StreamInfo, Window
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings.reader import open_recording
from mujo_edge.signal import channels_first, interpolate, prepare
from mujo_edge.sources.replay import shipped_recording

COLUMNS = {"a": "m_s2", "g": "rad_s"}
"""Suffix of a column's name, by first letter of the channel, as in recordings."""


@dataclass(frozen=True, slots=True)
class Case:
    """A stream with the recognizer's results.

    `t_s` (n,) and `x` (n, C) are as the sensor sends them; `labels` has the smoothing of the case; `events` are in
    order; `windows` (N, 6, T) and `embeddings` (N, D) have one entry per prediction.
    """

    name: str
    info: StreamInfo
    labels: LabelSet
    t_s: F64
    x: F32
    events: tuple[Prediction | Gap, ...]
    windows: F32
    embeddings: F32

    @property
    def predictions(self) -> list[Prediction]:
        """The predictions among the events."""
        return [event for event in self.events if isinstance(event, Prediction)]


def cases(bundle: ModelBundle, labels: LabelSet) -> tuple[Case, ...]:
    """The golden streams, made from the shipped recording.

    even        14 s at the model's rate across a change of exercise: nothing to resample
    fast        104 Hz with jitter, accelerometer only: low-pass and interpolation; majority vote
    slow        26 Hz with a clock that is 0.4 % off: interpolation; no smoothing
    measured    33 Hz, with the nominal rate unknown
    broken      missing, repeated, late and impossible samples, a clock that restarts, a sensor that is stuck
    """
    t_s, x = _recording()
    rate_hz = bundle.input.rate_hz

    def case(name: str, t_s: F64, x: F32, rate_hz: float | None, smoothing: Smoothing = labels.smoothing) -> Case:
        info = StreamInfo(name, CHANNELS[: x.shape[1]], rate_hz)
        return recognized(bundle, info, replace(labels, smoothing=smoothing), t_s, x)

    def sampled(start_s: float, length_s: float, hz: float, channels: int = 6) -> tuple[F64, F32]:
        at = np.arange(round(length_s * hz)) / hz
        y = interpolate(at + start_s, t_s, np.asarray(x[:, :channels], np.float64))
        return at, y.astype(np.float32)

    fast_s, fast = sampled(36.0, 12.0, 104.0, channels=3)
    fast_s += 1e-3 * np.sin(np.arange(len(fast_s)) * 2.4)
    slow_s, slow = sampled(58.0, 12.0, 26.1)
    measured_s, measured = sampled(80.0, 12.0, 33.0)
    return (
        case("even", *sampled(15.0, 14.0, rate_hz), rate_hz),
        case("fast", fast_s, fast, 104.0, Smoothing("majority", windows=5)),
        case("slow", slow_s, slow, 26.0, Smoothing("none")),
        case("measured", measured_s, measured, None),
        case("broken", *_broken(*sampled(100.0, 30.0, rate_hz)), rate_hz),
    )


def _recording() -> tuple[F64, F32]:
    """The shipped recording as one array."""
    chunks = list(open_recording(shipped_recording(), None).chunks(1 << 18))
    return np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])


def _broken(t_s: F64, x: F32) -> tuple[F64, F32]:
    """A stream at 50 Hz with every fault that gap detection handles."""
    t_s, x = t_s.copy(), x.copy()
    x[[210, 211, 650]] = np.float32(np.nan)  # bridged
    x[660, 1] = 2000.0  # m/s2, beyond any sensor's range
    x[700:716] = np.float32(np.nan)  # too long to bridge
    x[1240:1410] = x[1240]  # stuck for more than a window
    t_s[900:] -= 18.5  # the clock restarts
    order = np.arange(len(t_s))
    order = np.insert(order, 300, [298, 299])  # repeated
    missing = np.isin(order, [*range(400, 430), 520, 521])  # 0.6 s, and two samples
    return t_s[order[~missing]], x[order[~missing]]


def recognized(bundle: ModelBundle, info: StreamInfo, labels: LabelSet, t_s: F64, x: F32) -> Case:
    """A case called `info.name`: (n, C) samples and the recognizer's results."""
    recognizer = Recognizer(bundle, info, labels)
    cut = recognizer.cut(Chunk(t_s, x, 0.0))
    events = tuple(recognizer.classify(cut))
    ends = {event.end_s for event in events if isinstance(event, Prediction)}
    windows = [event.x for event in cut if isinstance(event, Window) and event.end_s in ends]
    return Case(
        name=info.name,
        info=info,
        labels=labels,
        t_s=t_s,
        x=x,
        events=events,
        windows=prepare(channels_first(np.stack(windows)), bundle.input)[:, :, 0],
        embeddings=np.stack([event.embedding for event in events if isinstance(event, Prediction)]),
    )


def write(folder: Path, cases: Iterable[Case]) -> None:
    """Write golden/ as described above. Floats have enough digits to be read back exactly."""
    folder.mkdir()
    table = []
    for case in cases:
        smoothing = case.labels.smoothing
        table.append(
            (
                case.name,
                case.labels.name,
                smoothing.method,
                repr(smoothing.stay),
                smoothing.windows,
                len(case.info.channels),
                "" if case.info.rate_hz is None else f"{case.info.rate_hz:g}",
                len(case.t_s),
                len(case.windows),
            )
        )
        names = ("t_s", *(f"{name}_{COLUMNS[name[0]]}" for name in case.info.channels))
        samples = zip(map(repr, case.t_s.tolist()), *(map(str, column) for column in case.x.T), strict=True)
        _csv(folder / f"{case.name}.samples.csv", names, samples)
        _csv(folder / f"{case.name}.events.csv", EVENT, map(_event, case.events))
        (folder / f"{case.name}.windows.f32").write_bytes(case.windows.astype("<f4").tobytes())
        (folder / f"{case.name}.embeddings.f32").write_bytes(case.embeddings.astype("<f4").tobytes())
    head = ("name", "label_set", "smoothing", "stay", "smoothing_windows", "channels", "rate_hz", "samples")
    _csv(folder / "cases.csv", (*head, "predictions"), table)


EVENT = ("event", "start_s", "end_s", "label", "score", "raw_label", "reason")


def _event(event: Prediction | Gap) -> Sequence[object]:
    if isinstance(event, Gap):
        return ("gap", repr(event.start_s), repr(event.end_s), "", "", "", event.reason)
    return ("prediction", "", repr(event.end_s), event.label, repr(event.score), event.raw_label, "")


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
