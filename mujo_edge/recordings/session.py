"""The session folder: what `mujo-edge record` writes and `--replay` reads back bit for bit.

    session.json   the stream (`StreamInfo`), schema version, time, source, notes; counts once it is closed
    samples.csv    t_s, one column per channel named with its unit, lost, and label if annotated
    raw.ndjson     the payloads of a live source, one JSON object each; optional for readers

`docs/recordings.md` describes them for the user.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from mujo_edge.core import DataError, Kind, Payload, StreamInfo, UsageError
from mujo_edge.files import atomic_file

SCHEMA_VERSION = 1
SESSION_FILE = "session.json"
SAMPLES_FILE = "samples.csv"
RAW_FILE = "raw.ndjson"

_MAX_JSON_BYTES = 1 << 20
_MAX_RAW_BYTES = 1 << 24
"""Limit of a line; a payload of ASCII control characters grows sixfold in JSON, and phones push up to 1 MB."""

_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Session:
    """The content of session.json.

    `created` is ISO 8601 UTC; `version` that of the mujo-edge that wrote it; `source` describes the source of the
    samples. `samples` is None until the session is closed, so that a killed recording can be distinguished from a
    truncated file; `lost_at_end` counts samples known to be lost after the last one.
    """

    info: StreamInfo
    source: str
    created: str
    version: str
    notes: tuple[str, ...] = ()
    samples: int | None = None
    lost_at_end: int = 0


def sample_columns(channels: tuple[str, ...], annotated: bool) -> list[str]:
    """Column names of samples.csv, e.g. t_s, ax_m_s2, ..., gz_rad_s, lost, label.

    Raises `DataError` for a channel whose name is not valid in a table.
    """
    for name in channels:
        if not name.isidentifier():
            raise DataError(f"{name!r} is not a valid channel name")
    unit = {"a": "_m_s2", "g": "_rad_s"}
    named = [name + (unit.get(name[0], "") if name[1:] in ("x", "y", "z") else "") for name in channels]
    return ["t_s", *named, "lost", *(["label"] if annotated else [])]


def save(folder: Path, session: Session) -> None:
    """Write session.json atomically: a reader sees the old file or the new one."""
    stream, rest = asdict(session.info), asdict(session)
    del rest["info"]
    if device_model := stream.pop("device_model"):
        stream["names"] = device_model
    text = json.dumps({"schema_version": SCHEMA_VERSION, **rest, "stream": stream}, indent=2)
    with atomic_file(folder / SESSION_FILE) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Session:
    """Read `folder`/session.json. Raises `DataError` if it is not a session of a known schema, `UsageError`
    if it holds the sessions of several devices."""
    path = folder / SESSION_FILE
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise DataError(f"{path} is larger than {_MAX_JSON_BYTES >> 20} MB: not a session of mujo-edge")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if parts := sorted(each.parent for each in folder.glob(f"*/{SESSION_FILE}")):
            listed = ", ".join(str(part) for part in parts[:8])
            raise UsageError(
                f"{folder} holds {len(parts)} recordings, one of each device: {listed}.\nGive one of these folders."
            ) from None
        raise DataError(
            f"{folder} has no {SESSION_FILE}: not a recording of mujo-edge.\n"
            "Give a session folder, a CSV (.csv, .csv.gz) or a Parquet file."
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: not valid JSON ({str(error)[:80]})") from None
    try:
        return _session(raw)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is damaged: {reason}") from None


def raw_line(raw: Payload) -> str:
    """The line of raw.ndjson for `raw`; `load_raw` restores it bit for bit."""
    data = {"text": raw.data.decode("ascii")} if raw.data.isascii() else {"hex": raw.data.hex()}
    about = {"received_s": raw.received_s, "kind": raw.kind, "origin": raw.origin}
    return json.dumps(about | data, separators=(",", ":")) + "\n"


def load_raw(path: Path, notes: list[str]) -> Iterator[tuple[int, Payload]]:
    """Line numbers and payloads of a raw.ndjson. An incomplete last line is omitted, with a line in `notes`.

    Raises `DataError`, with the line number, for any other line that `raw_line` did not write.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_RAW_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == _MAX_RAW_BYTES:
                        raise DataError(f"{path}, line {number}: longer than {_MAX_RAW_BYTES >> 20} MB")
                    notes.append(f"{path.name}, line {number}: the last line is torn and was left out")
                    return
                try:
                    raw = _raw(json.loads(line))
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                    raise DataError(f"{path}, line {number} is damaged: {reason[:80]}") from None
                yield number, raw
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _raw(table: Mapping[str, Any]) -> Payload:
    received_s, kind, origin = table["received_s"], table["kind"], table["origin"]
    if not (_is(received_s, float, int) and math.isfinite(received_s)):
        raise TypeError("received_s is not a time")
    if kind not in _KINDS or not isinstance(origin, str):
        raise TypeError(f"{kind!r} is not a kind of record")
    data = table["text"].encode("ascii") if "text" in table else bytes.fromhex(table["hex"])
    if kind == "overrun" and not data.isdigit():
        raise ValueError("an overrun is not a count")
    return Payload(float(received_s), kind, origin, data)


def _session(raw: Mapping[str, Any]) -> Session:
    version = raw["schema_version"]
    if not _is(version, int) or version < 1:
        raise TypeError("schema_version is not a positive whole number")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"written by a newer mujo-edge ({raw.get('version')}, schema {version}; this one reads up to "
            f"{SCHEMA_VERSION}). Update mujo-edge to read it."
        )
    stream = raw["stream"]
    channels = stream["channels"]
    rate_hz = stream["rate_hz"]
    if not channels or not isinstance(channels, list) or len(set(channels)) != len(channels):
        raise TypeError("channels is not a list of different names")
    sample_columns(tuple(channels), annotated=False)
    if rate_hz is not None and not (_is(rate_hz, int, float) and math.isfinite(rate_hz) and rate_hz > 0):
        raise TypeError("rate_hz is neither null nor a positive number")
    if stream["gravity"] not in ("included", "excluded"):
        raise TypeError("gravity is neither 'included' nor 'excluded'")
    samples, lost_at_end = raw["samples"], raw["lost_at_end"]
    if not (samples is None or (_is(samples, int) and samples >= 0)) or not (
        _is(lost_at_end, int) and lost_at_end >= 0
    ):
        raise TypeError("samples and lost_at_end are not counts")
    texts = [stream["name"], raw["source"], raw["created"], raw["version"], *channels, *raw["notes"]]
    texts += [value for value in (stream["placement"], stream["labels"]) if value is not None]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text field holds something else")
    info = StreamInfo(
        name=stream["name"],
        channels=tuple(channels),
        rate_hz=rate_hz,
        placement=stream["placement"],
        gravity=stream["gravity"],
        labels=stream["labels"],
    )
    notes = tuple(raw["notes"])
    return Session(info, raw["source"], raw["created"], raw["version"], notes, samples, lost_at_end)


def _is(value: object, *types: type) -> bool:
    """`isinstance`, except that True is not a number."""
    return isinstance(value, types) and not isinstance(value, bool)
