"""The JSON that comes from outside: what bundle.json, a label set's file and session.json may hold.

Records are msgspec structures, so that a kind, a range and a length are declared where the field is. Numbers that are
not finite never get this far: `parse_json` refuses them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from mujo_edge.printable import MAX_PATH, NAME, PATH, PLACE, inside, printable, shown

T = TypeVar("T")

MAX_JSON_BYTES = 8 << 20
"""Size limit of a JSON file; the shipped bundle.json has 45 KB, its list of names 90 KB."""

MAX_ERROR = 240
"""Most characters of a reason in an error message."""

Text = Annotated[str, Meta(max_length=10_000)]
Name = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z")]
Place = Annotated[str, Meta(pattern=rf"\A{PLACE.pattern}\Z")]
File = Annotated[str, Meta(pattern=rf"\A{PATH.pattern}\Z", max_length=MAX_PATH)]
Model = Annotated[str, Meta(pattern=rf"\A(?=.*[^/]\.(?:tflite|pte|onnx)\Z){PATH.pattern}\Z", max_length=MAX_PATH)]
"""Exports copy models next to their own files, which a model must not replace."""
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Channel = Literal["ax", "ay", "az", "gx", "gy", "gz"]
Positive = Annotated[float, Meta(ge=1e-6, le=1e6)]
Cosine = Annotated[float, Meta(ge=-1.01, le=1.01)]
"""A cosine of float32 vectors, which rounding may take a little beyond 1."""


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a file whose keys are all known."""


class Input(Record, frozen=True):
    """ "input" of bundle.json, see `mujo_edge.signal.InputSpec`."""

    channels: tuple[Channel, ...]
    rate_hz: Annotated[float, Meta(ge=1, le=1000)]
    window: Annotated[int, Meta(ge=1, le=10_000)]
    hop: Annotated[int, Meta(ge=1, le=10_000)]
    scale: tuple[Positive, ...]
    clip: Positive
    max_gap_s: Annotated[float, Meta(gt=0, le=60)]

    def __post_init__(self) -> None:
        if self.channels not in (("ax", "ay", "az"), ("ax", "ay", "az", "gx", "gy", "gz")):
            raise ValueError(f"channels are {' '.join(self.channels) or 'none'}, not ax ay az or ax ay az gx gy gz")
        if len(self.scale) != len(self.channels):
            raise ValueError(f"{len(self.scale)} values of scale for {len(self.channels)} channels")
        if self.hop > self.window:
            raise ValueError(f"hop is {self.hop}, longer than a window of {self.window}")


class Parity(Record, frozen=True):
    """See `mujo_edge.bundle.manifest.Parity`."""

    windows: Count
    top1_agreement: Annotated[float, Meta(ge=0, le=1)]
    snr_db: Annotated[float, Meta(ge=-1000, le=1000)]
    max_abs_delta: Annotated[float, Meta(ge=0, le=2.1)]


class ModelEntry(Record, frozen=True):
    """An entry of "models" in bundle.json."""

    file: Model
    runtime: Name
    precision: Literal["int8", "fp32"]
    parity: Parity


class LoweredEntry(Record, frozen=True):
    """An entry of "lowered" in bundle.json."""

    file: Model
    backend: Name
    precision: Literal["int8", "fp16"]
    operators: tuple[Text, ...]
    parity: Parity | None
    measured: Text


class SmoothingEntry(Record, frozen=True):
    """See `mujo_edge.bundle.labels.Smoothing`."""

    method: Literal["hmm", "majority", "none"]
    stay: Annotated[float, Meta(ge=0, le=1)]
    windows: Annotated[int, Meta(ge=1, le=1000)]


class LabelEntry(Record, frozen=True):
    """See `mujo_edge.bundle.labels.Label`."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    prompts: tuple[Text, ...]
    windows: Count = 0


class Settings(Struct, frozen=True):
    """The part of a label set that bundle.json and a file of one's own have in common."""

    labels: Annotated[tuple[LabelEntry, ...], Meta(min_length=1, max_length=1000)]
    placement: Place
    temperature: Positive
    unknown_threshold: Cosine
    smoothing: SmoothingEntry
    channels: Literal[3, 6]


class LabelSetEntry(Settings, frozen=True, forbid_unknown_fields=True):
    """An entry of "label_sets" in bundle.json."""

    prototypes: File


class OwnerEntry(Record, frozen=True):
    """See `mujo_edge.bundle.labels.BundleId`."""

    name: Name
    version: Name
    reference_sha256: Annotated[str, Meta(max_length=64)]


class TakeEntry(Record, frozen=True):
    """See `mujo_edge.bundle.taught.Take`."""

    label: Annotated[str, Meta(min_length=1, max_length=200)]
    recording: Text
    seconds: Annotated[float, Meta(ge=0, le=1e9)]
    repetitions: Count
    still: bool
    windows: Annotated[tuple[tuple[float, ...], ...], Meta(min_length=1, max_length=10_000)]


class ConfusedEntry(Record, frozen=True):
    """See `mujo_edge.bundle.taught.Confused`."""

    truth: Annotated[str, Meta(max_length=200)]
    label: Annotated[str, Meta(max_length=200)]
    fraction: Annotated[float, Meta(ge=0, le=1)]


class BorrowedEntry(Record, frozen=True):
    """See `mujo_edge.bundle.taught.Borrowed`."""

    label_set: Name
    label: Annotated[str, Meta(max_length=200)]


class TaughtEntry(Record, frozen=True):
    """See `mujo_edge.bundle.taught.Taught`."""

    takes: Annotated[tuple[TakeEntry, ...], Meta(min_length=1, max_length=10_000)]
    borrowed: Annotated[tuple[BorrowedEntry, ...], Meta(max_length=1000)]
    held_out: Literal["takes", "pieces", "none"]
    macro_f1: Annotated[float, Meta(ge=0, le=1)] | None
    confused: Annotated[tuple[ConfusedEntry, ...], Meta(max_length=1000)]


class LabelSetFile(Settings, frozen=True, forbid_unknown_fields=True):
    """A label set's own file."""

    schema_version: Literal[1]
    kind: Literal["mujo-edge label set"]
    bundle: OwnerEntry
    name: Name
    note: Text
    prototypes: Annotated[tuple[tuple[float, ...], ...], Meta(max_length=1000)]
    taught: TaughtEntry | None = None


class VocabularyEntry(Record, frozen=True):
    """ "vocabulary" in bundle.json."""

    names: Annotated[int, Meta(ge=1, le=100_000)]
    temperature: Positive
    unknown_threshold: Cosine


class NameEntry(Record, frozen=True):
    """An activity in the list of names of a vocabulary."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    also: tuple[Annotated[str, Meta(max_length=200)], ...]
    trained: bool


class BundleFile(Struct, frozen=True):
    """bundle.json, but for its digest."""

    name: Name
    version: Name
    created: Text
    input: Input
    embedding_dim: Annotated[int, Meta(ge=1, le=4096)]
    models: Annotated[tuple[ModelEntry, ...], Meta(min_length=1, max_length=100)]
    label_sets: Annotated[dict[Name, LabelSetEntry], Meta(min_length=1, max_length=1000)]
    default_label_set: Name
    reference: File
    card: File
    files: Annotated[dict[File, Sha256], Meta(max_length=2000)]
    training: dict[str, Any]
    metrics: dict[str, Any]
    lowered: Annotated[tuple[LoweredEntry, ...], Meta(max_length=100)] = ()
    vocabulary: VocabularyEntry | None = None

    def __post_init__(self) -> None:
        if long := [name for name in self.files if not inside(name)]:
            raise ValueError(f"files: {shown(long[0])} is too long for some systems")


class StreamEntry(Struct, frozen=True):
    """ "stream" of session.json, see `mujo_edge.core.StreamInfo`; what it says of a device's own model is not read."""

    name: str
    channels: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    rate_hz: Annotated[float, Meta(gt=0, le=1e6)] | None
    placement: str | None
    gravity: Literal["included", "excluded"]
    labels: str | None

    def __post_init__(self) -> None:
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("two channels have the same name")


class Made(Struct, frozen=True):
    """The schema of a session.json, and the mujo-edge that wrote it."""

    schema_version: Annotated[int, Meta(ge=1, le=2**53)]
    version: Any = None


class RawLine(Struct, frozen=True):
    """A line of raw.ndjson, see `mujo_edge.core.Payload`: its data is in `text` (ASCII) or `hex`."""

    received_s: float
    kind: Literal["open", "reply", "data", "overrun", "close"]
    origin: str
    text: str | None = None
    hex: str | None = None


class SessionFile(Struct, frozen=True):
    """session.json, see `mujo_edge.recordings.session.Session`."""

    source: str
    created: str
    version: str
    stream: StreamEntry
    notes: tuple[str, ...]
    samples: Count | None
    lost_at_end: Count


def parse_json(data: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, and finite numbers only. Raises `ValueError`."""
    try:
        return json.loads(data.decode(), parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _not_finite(digits)


def _not_finite(digits: str) -> float:
    raise ValueError(f"it has the number {digits[:40]}, which is not finite")


KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "a table",
    "bool": "true or false",
}


def _kind(match: re.Match[str]) -> str:
    return KINDS.get(match[0], match[0])


def convert(value: object, kind: type[T], what: str = "") -> T:
    """A record of `kind` from parsed JSON. Raises `ValueError` with the place and the reason, on one printable line."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeError) as error:
        reason, _, place = str(error).partition(" - at ")
        place = f"{what}{re.sub('[$`]', '', place)}".removeprefix(".").replace(" .", " ")
        reason = re.sub(
            r"`([\w |]+)`", lambda kinds: " or ".join(KINDS.get(k, k) for k in kinds[1].split(" | ")), reason
        )
        if "matching regex" in reason:
            wrong = "a path outside the bundle, or no plain one" if "(?:/" in reason else "no plain name"  # as in PATH
            reason = f"{wrong}; allowed are letters, digits and a few marks between them"
        reason = re.sub(r"Object missing required field (\w+)", r"'\1' is missing", reason)
        reason = reason[:1].lower() + reason[1:]
        raise ValueError(printable(f"{place}: {reason}" if place else reason)[:MAX_ERROR]) from None
