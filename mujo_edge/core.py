"""The types that all parts share, the units, and errors that say what to do next.

Units inside mujo-edge: accelerometer in m/s2 *with* gravity, gyroscope in rad/s, time in seconds
(float64), signals in float32. Only ``firmware_bridge``, ``training.corpora`` and
``mujo_edge.recordings`` (for files of other apps) convert other units.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from shutil import which
from types import ModuleType
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from firmware_bridge.stream import DeviceModelInfo

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

STANDARD_GRAVITY = 9.80665
"""m/s2 in one g (CGPM 1901)."""

CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")
"""Order of the columns of a stream: accelerometer m/s2, gyroscope rad/s; right-handed sensor frame."""

UNKNOWN = "unknown"
"""Label of a window that fits no class of the label set."""


class MujoError(Exception):
    """An error that the user can fix. The message says what happened and what to do next."""

    exit_code = 1


class UsageError(MujoError):
    """The call is wrong: an option, a name, a combination."""

    exit_code = 2


class DeviceError(MujoError):
    """A device, adapter or port is missing or was disconnected."""

    exit_code = 3


class DataError(MujoError):
    """A recording, a model bundle or received bytes are invalid."""

    exit_code = 4


class MissingExtraError(MujoError):
    """An optional package is not installed; the message names the pip line."""

    exit_code = 5


CPU_TORCH = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""Makes pip take PyTorch's build without CUDA, which nothing here uses: 0.2 instead of 3 GB to fetch on Linux."""

EXTRAS_WITH_TORCH = {"executorch": "1.1 GB", "train": "3 GB", "dev": "4 GB"}
"""Extras that bring PyTorch, and their size on disk."""


def pip_install(extra: str = "") -> str:
    """The command that adds an extra of mujo-edge to this Python: in a checkout that of the checkout, which stays the
    one that is imported."""
    root = Path(__file__).parents[1]
    where, editable = "mujo-edge", ""
    if (root / "pyproject.toml").is_file():
        where, editable = "." if root == Path.cwd() else str(root), "-e "
    if extra in EXTRAS_WITH_TORCH:
        return f"{pip()} install {CPU_TORCH} {editable}'{where}[{extra}]' ({EXTRAS_WITH_TORCH[extra]} on disk)"
    return f"{pip()} install {editable}" + (f"'{where}[{extra}]'" if extra else where)


def pip() -> str:
    """The command of this Python's pip: "pip", unless PATH has that of another Python."""
    own, on_path = Path(sys.executable), which("pip")
    if on_path is None or Path(on_path).parent == own.parent:
        return "pip"
    return f"{own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own} -m pip"


def require_extra(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `MissingExtraError` naming the pip line of mujo-edge's `extra`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed. Install it with: {pip_install(extra)}") from error


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Description of a stream, known before its first sample.

    `rate_hz` is nominal (None: unknown, measured while it runs). `placement` is a body site such as
    "wrist" or "pocket"; `labels` names the label set that a recording was annotated with, if any. `device_model`
    describes the model of a device that recognizes by itself and sends its own predictions, `Chunk.predictions`.
    """

    name: str
    channels: tuple[str, ...]
    rate_hz: float | None
    placement: str | None = None
    gravity: Literal["included", "excluded"] = "included"
    labels: str | None = None
    device_model: DeviceModelInfo | None = None


Kind = Literal["open", "reply", "data", "overrun", "close"]
"""See `Payload`."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes as received from a device; a recording keeps them so that they can be decoded again.

    `received_s` is host monotonic time. `kind` is "open" (a connection began; `data` describes it in JSON), "reply"
    (to a step of the start script), "data" (for the decoder), "overrun" (payloads were dropped for lack of room;
    `data` is their number in decimal) or "close". `origin` is the characteristic, path or socket.
    """

    received_s: float
    kind: Kind
    origin: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of device time without usable signal, from the last good sample to the next.

    `reason`: "missing" (no samples arrived), "invalid" (values not finite or out of range), "clock"
    (device time went backwards: it wrapped or restarted), "constant" (one value repeated for a whole
    window: a sensor that sleeps or is stuck).
    """

    start_s: float
    end_s: float
    reason: Literal["missing", "invalid", "clock", "constant"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples of one source, n >= 0.

    `t_s` (n,) float64 device time in seconds; `x` (n, C) float32 in SI units; `received_s` host
    monotonic time of arrival; `lost` samples known to be lost just before this chunk; `truth` (n,)
    annotated label of every sample if the source is an annotated recording ("" for none). `corrupt` counts
    payloads that could not be decoded, `raw` holds all received payloads, both since the last chunk; `drift_ppm`
    is how much faster the device's clock runs than the host's, None if it has none or it is not known yet.
    `predictions` are the device's own.
    """

    t_s: F64
    x: F32
    received_s: float
    lost: int = 0
    truth: tuple[str, ...] | None = None
    corrupt: int = 0
    drift_ppm: float | None = None
    raw: tuple[Payload, ...] = ()
    predictions: tuple[Prediction | Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """`x` (T, C) float32 at the bundle's rate, ending at device time `end_s`.

    `coverage` is the share of grid points that do not bridge a missing sample. `truth` is the
    annotated label of the whole window, None during a transition or without annotation. `received_s` is the
    arrival of the chunk that completed it; work on that chunk began at `taken_s`, the window was cut at
    `ready_s` (host monotonic). `repetitions` is the running count of the present bout at the end of the
    window before.
    """

    end_s: float
    x: F32
    coverage: float
    received_s: float
    taken_s: float
    ready_s: float
    truth: str | None = None
    repetitions: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that one window spent in each stage of the live path."""

    queue_ms: float
    preprocess_ms: float
    inference_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """One recognized window.

    `label` is the smoothed label shown to the user, `score` its probability; `raw_label` is that of
    the window alone. `scores` maps every label (and "unknown") to its smoothed probability;
    `embedding` is (D,) L2-normalized. A device's own prediction (`by` "device") has only the score of `label`, no
    embedding, and the device's own time for inference. `repetitions` is the running count of the present bout, which
    may still be corrected; 0 outside a bout and for labels that are not counted.
    """

    end_s: float
    label: str
    score: float
    raw_label: str
    scores: Mapping[str, float]
    embedding: F32 = field(repr=False)
    latency: Latency
    truth: str | None = None
    by: Literal["host", "device"] = "host"
    repetitions: int = 0


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition of a periodic movement, in device time. Final: it is never corrected. `label` as in `Bout`."""

    start_s: float
    end_s: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Bout:
    """Repetitions without a rest between them, in device time: a set of an exercise.

    `label` is the label that was recognized most over its windows, "" before it is known. `tempo_s` and
    `tempo_sd_s` are mean and standard deviation of seconds per repetition.
    """

    label: str
    start_s: float
    end_s: float
    repetitions: int
    tempo_s: float
    tempo_sd_s: float


@dataclass(slots=True)
class StreamStats:
    """Running counts of one stream, shown on the screen and in the summary.

    `samples` received, of them `invalid` (not finite, or beyond any sensor's range) and `repeated` (time did
    not increase); `lost` in transit; `corrupt` payloads could not be decoded, or arrived when too many were
    waiting. `signal_s` is device time covered, without the gaps. `dropped_windows` were stale before inference.
    `drift_ppm` as in `Chunk`.
    """

    samples: int = 0
    lost: int = 0
    corrupt: int = 0
    gaps: int = 0
    invalid: int = 0
    repeated: int = 0
    windows: int = 0
    dropped_windows: int = 0
    signal_s: float = 0.0
    rate_hz: float | None = None
    drift_ppm: float | None = None
    notes: list[str] = field(default_factory=list)


@runtime_checkable
class Source(Protocol):
    """A source of samples: an async context manager whose `chunks` yields them until the stream ends."""

    @property
    def info(self) -> StreamInfo:
        """Description of the stream; known before the first sample."""

    @property
    def notes(self) -> Sequence[str]:
        """Notes for the user; more may be added while the source runs."""

    @property
    def status(self) -> str:
        """Why no samples arrive at the moment ("reconnecting, try 2"); empty while they do."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *exc: object) -> None: ...

    def chunks(self) -> AsyncIterator[Chunk]:
        """Samples as they arrive. Raises `MujoError` if they cannot be received or decoded."""


@runtime_checkable
class Runtime(Protocol):
    """A loaded model file. `run` maps prepared input (N, C, 1, T) float32 to embeddings (N, D) float32.

    `input_shape` is (1, C, 1, T), `output_shape` (1, D). `run` raises `DataError` if the model fails.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def run(self, x: F32) -> F32:
        """See the class."""
