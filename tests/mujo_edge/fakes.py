"""A model with known answers (which axis of the sensor points up), and fake sources and sinks."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

import numpy as np

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import Label, LabelSet, Manifest, Smoothing, label_set_table, write_manifest
from mujo_edge.bundle.vocabulary import TEXT_DIM, Name, Vocabulary, write_vocabulary
from mujo_edge.core import CHANNELS, F32, STANDARD_GRAVITY, Chunk, MujoError, Prediction, StreamInfo
from mujo_edge.signal import InputSpec
from mujo_edge.sinks import RunInfo, Summary, Update
from mujo_edge.sinks.background import BackgroundWriter

SPEC = InputSpec()
AXES = ("x up", "y up", "z up")
NAMES = (
    Name("push-up", ("press-up",), trained=True),
    Name("jumping jack", ("star jump",), trained=True),
    Name("plank"),
)
INFO = StreamInfo("made", CHANNELS, 50.0)


def label_set(name: str = "axes", **changes: object) -> LabelSet:
    """Three labels whose prototypes are the axes; a direction in between is unknown."""
    labels = tuple(Label(axis, (axis,)) for axis in AXES)
    plain = LabelSet(name, labels, np.eye(3, dtype=np.float32), "wrist", 0.05, 0.8, Smoothing("none"), 6)
    return replace(plain, **changes)


def vocabulary() -> Vocabulary:
    """Three activities whose prototypes are the axes; the last one was never trained."""
    rng = np.random.default_rng(0)
    weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((3, TEXT_DIM), (3,)))
    return Vocabulary(NAMES, np.eye(3, dtype=np.float32), weight, bias, 0.05, 0.8)


class AxisRuntime:
    """Embedding = mean accelerometer over the window. `calls` has the batch sizes; each call takes `takes_s`."""

    name = "axis"
    input_shape = (1, 6, 1, 150)
    output_shape = (1, 3)

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.calls: list[int] = []

    def run(self, x: F32) -> F32:
        sleep(self.takes_s)
        self.calls.append(len(x))
        return x[:, :3, 0].mean(2)


def bundle(*sets: LabelSet, runtime: AxisRuntime | None = None) -> ModelBundle:
    """In memory; the first of `sets` is the default."""
    sets = sets or (label_set(),)
    manifest = Manifest(
        folder=Path("/nowhere"),
        name="fake",
        version="1.0",
        created="",
        input=SPEC,
        embedding_dim=3,
        models=(),
        label_sets={labels.name: labels for labels in sets},
        default_label_set=sets[0].name,
        reference="",
        card="",
        files={},
        training={},
        metrics={},
    )
    return ModelBundle(manifest, runtime or AxisRuntime())


def write_bundle(folder: Path, names: Vocabulary | None = None) -> Path:
    """The same model as a bundle on disk that onnxruntime runs."""
    from onnx import TensorProto, helper

    pick = np.eye(6, 3, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "pick"], ["y"]),
        ],
        "axis",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 1, 150])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
            helper.make_tensor("pick", TensorProto.FLOAT, [6, 3], pick.ravel()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "prototypes").mkdir(parents=True)
    (folder / "axis.onnx").write_bytes(model.SerializeToString())
    (folder / "CARD.md").write_text("made for a test")
    labels = label_set()
    np.save(folder / "prototypes" / "axes.npy", labels.prototypes)
    np.savez(
        folder / "reference.npz", x=np.zeros((1, 6, 150), np.float32), y=np.zeros((1, 3), np.float32), member=["axes"]
    )
    parity = {"windows": 1, "top1_agreement": 1.0, "snr_db": 99.0, "max_abs_delta": 0.0}
    table = {
        "name": "axis",
        "version": "1.0",
        "created": "",
        "input": asdict(SPEC),
        "embedding_dim": 3,
        "models": [{"file": "axis.onnx", "runtime": "onnx", "precision": "int8", "parity": parity}],
        "label_sets": {"axes": label_set_table(labels)},
        "default_label_set": "axes",
        "vocabulary": write_vocabulary(folder, names) if names else None,
        "reference": "reference.npz",
        "card": "CARD.md",
        "training": {},
        "metrics": {},
    }
    write_manifest(folder, table)
    return folder


def motion(
    axes: Sequence[int], seconds: float, rate_hz: float = 50.0, seed: int = 0
) -> tuple[np.ndarray, F32, tuple[str, ...]]:
    """Time (n,), samples (n, 6) and truth (n,): `seconds` of each axis pointing up in turn, with a tremor."""
    each = round(seconds * rate_hz)
    n = each * len(axes)
    x = np.random.default_rng(seed).normal(0, 0.1, (n, 6)).astype(np.float32)
    for i, axis in enumerate(axes):
        x[i * each : (i + 1) * each, axis] += STANDARD_GRAVITY
    truth = tuple(AXES[axis] for axis in axes for _ in range(each))
    return np.arange(n) / rate_hz, x, truth


def chunked(t_s: np.ndarray, x: F32, truth: Sequence[str] | None = None, size: int = 5) -> list[Chunk]:
    """Chunks of `size` samples, arrived just now."""
    return [
        Chunk(t_s[i : i + size], x[i : i + size], monotonic(), 0, None if truth is None else tuple(truth[i : i + size]))
        for i in range(0, len(t_s), size)
    ]


class ListSource:
    """Yields `chunks` one by one, each after `wait_s`; then raises `error`, waits forever, or ends."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        info: StreamInfo = INFO,
        *,
        wait_s: float = 0.0,
        error: MujoError | None = None,
        endless: bool = False,
    ) -> None:
        self.info, self.notes = info, ["made for a test"]
        self.status = ""
        self.delivered = 0
        self.entered = self.left = 0
        self._chunks, self._wait_s, self._error, self._endless = chunks, wait_s, error, endless

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.left += 1

    async def chunks(self) -> AsyncIterator[Chunk]:
        for chunk in self._chunks:
            await asyncio.sleep(self._wait_s)
            self.delivered += 1
            yield replace(chunk, received_s=monotonic())
        if self._error:
            raise self._error
        if self._endless:
            await asyncio.Event().wait()


class ListSink:
    """Keeps all updates and summaries."""

    def __init__(self) -> None:
        self.session: RunInfo | None = None
        self.updates: list[Update] = []
        self.summaries: list[Summary] = []

    def start(self, session: RunInfo) -> None:
        self.session = session

    def write(self, update: Update) -> None:
        self.updates.append(update)

    def finish(self, summary: Summary) -> None:
        self.summaries.append(summary)

    @property
    def predictions(self) -> list[Prediction]:
        return [event for update in self.updates for event in update.events if isinstance(event, Prediction)]


class Output(BackgroundWriter):
    """Stores the text written to it."""

    def __init__(self) -> None:
        self._kept = io.BytesIO()
        super().__init__(io.TextIOWrapper(self._kept, encoding="utf-8"), "the test's output")

    def records(self) -> list[dict[str, Any]]:
        self.finish()
        return [json.loads(line) for line in self._kept.getvalue().splitlines()]
