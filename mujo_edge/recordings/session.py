"""The session folder: what `mujo-edge record` writes and `--replay` reads back bit for bit.

    session.json   the stream (`StreamInfo`), schema version, time, source, notes; counts once it is closed
    samples.csv    t_s, one column per channel named with its unit, lost, and label if annotated
    raw.ndjson     the payloads of a live source, one JSON object each; optional for readers

`docs/recordings.md` describes them for the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from msgspec import structs

from mujo_edge.core import DataError, Payload, StreamInfo, UsageError
from mujo_edge.files import atomic_file, check_regular, read_file
from mujo_edge.printable import printable
from mujo_edge.schema import Made, RawLine, SessionFile, convert, parse_json

SCHEMA_VERSION = 1
SESSION_FILE = "session.json"
SAMPLES_FILE = "samples.csv"
RAW_FILE = "raw.ndjson"

_MAX_JSON_BYTES = 1 << 20
_MAX_RAW_BYTES = 1 << 24
"""Limit of a line; a payload of ASCII control characters grows sixfold in JSON, and phones push up to 1 MB."""

_MAX_DIGITS = 15
"""Most digits of a count."""


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
        content = read_file(path, _MAX_JSON_BYTES)
        for part in (SAMPLES_FILE, RAW_FILE):
            if (folder / part).exists():
                check_regular(folder / part)
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
    try:
        table = parse_json(content)
    except ValueError as error:
        raise DataError(f"{path} is damaged: not valid JSON ({printable(str(error))[:80]})") from None
    try:
        return _session(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None


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
                    notes.append(f"{path.name}, line {number}: the last line is incomplete and was skipped")
                    return
                try:
                    raw = _raw(parse_json(line))
                except ValueError as error:
                    raise DataError(f"{path}, line {number} is damaged: {printable(str(error))[:80]}") from None
                yield number, raw
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _raw(table: object) -> Payload:
    line = convert(table, RawLine)
    if (line.text is None) == (line.hex is None):
        raise ValueError("either text or hex is needed")
    data = line.text.encode("ascii") if line.text is not None else bytes.fromhex(line.hex or "")
    if line.kind == "overrun" and not (data.isdigit() and len(data) <= _MAX_DIGITS):
        raise ValueError("an overrun is not a count")
    return Payload(line.received_s, line.kind, line.origin, data)


def _session(table: object) -> Session:
    made = convert(table, Made)
    if made.schema_version > SCHEMA_VERSION:
        raise DataError(
            f"written by a newer mujo-edge ({printable(str(made.version))[:40]}, schema {made.schema_version}; "
            f"this one reads up to {SCHEMA_VERSION}). Update mujo-edge to read it."
        )
    entry = convert(table, SessionFile)
    sample_columns(entry.stream.channels, annotated=False)
    fields = structs.asdict(entry)
    del fields["stream"]
    return Session(StreamInfo(**structs.asdict(entry.stream)), **fields)
