"""Counted sets of stored sessions, with wall-clock times: the content of `mujo-edge log`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mujo_edge.api import recognize, replay
from mujo_edge.bundle import LabelSet, ModelBundle
from mujo_edge.core import Bout, DataError, UsageError
from mujo_edge.recordings import session
from mujo_edge.sinks import RunInfo, Summary, Update

DEPTH = 2
"""Levels of folders in which sessions are looked for: several devices record to folders in a folder."""

FIELDS = ("session", "label", "start", "end", "repetitions", "tempo_s", "tempo_sd_s", "start_s", "end_s")
"""Columns of the CSV file."""


@dataclass(frozen=True, slots=True)
class Workout:
    """A stored session and its counted sets; `began` is the wall-clock time (UTC) of its first sample, at `first_s`."""

    path: Path
    began: datetime
    first_s: float
    label_set: str
    bouts: tuple[Bout, ...]

    def at(self, device_s: float) -> datetime:
        """Wall-clock time (UTC) of a device time."""
        return self.began + timedelta(seconds=device_s - self.first_s)

    def rows(self) -> list[dict[str, Any]]:
        """A row of `FIELDS` for every set; `start` and `end` are ISO 8601 in UTC, with milliseconds."""
        return [
            {
                "session": str(self.path),
                "label": bout.label,
                "start": iso(self.at(bout.start_s)),
                "end": iso(self.at(bout.end_s)),
                "repetitions": bout.repetitions,
                "tempo_s": round(bout.tempo_s, 3),
                "tempo_sd_s": round(bout.tempo_sd_s, 3),
                "start_s": round(bout.start_s, 3),
                "end_s": round(bout.end_s, 3),
            }
            for bout in self.bouts
        ]


def iso(time: datetime) -> str:
    """ISO 8601 in UTC, milliseconds, with Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def find_sessions(places: Sequence[Path]) -> list[Path]:
    """The session folders among `places` and up to `DEPTH` levels below them, each once, in order of the path.

    Raises `UsageError` where a place does not exist or holds no session.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            what = "is a file" if place.exists() else "does not exist"
            raise UsageError(f"{place} {what}. Give session folders, as `mujo-edge record` makes them")
        patterns = ["/".join(["*"] * level + [session.SESSION_FILE]) for level in range(DEPTH + 1)]
        own = sorted({file.parent for pattern in patterns for file in place.glob(pattern)})
        if not own:
            raise UsageError(f"no session in {place}. `mujo-edge record OUT` or `stream --record OUT` keeps one")
        found |= dict.fromkeys(own)
    return list(found)


def read_workout(path: Path, bundle: ModelBundle, labels: str | Path | LabelSet | None = None) -> Workout:
    """Recognize a session folder as fast as possible. Raises `DataError` if it is damaged or nothing is in it."""
    created = session.load(path).created
    try:
        began = datetime.fromisoformat(created)
    except ValueError:
        raise DataError(f"{path} has no time of creation ({created!r})") from None
    first = _FirstTime()
    run = recognize(replay(path), labels, bundle, sinks=[first])
    for _ in run:
        pass
    assert run.summary
    began = began if began.tzinfo else began.replace(tzinfo=UTC)
    return Workout(path, began, first.t_s or 0.0, run.summary.session.label_set, run.summary.recognized.bouts)


class _FirstTime:
    """A sink that keeps the device time of the first sample."""

    def __init__(self) -> None:
        self.t_s: float | None = None

    def start(self, session: RunInfo) -> None:
        """Nothing to do."""

    def write(self, update: Update) -> None:
        """Look at the chunks until the first sample."""
        if self.t_s is None:
            self.t_s = next((float(chunk.t_s[0]) for chunk in update.chunks if len(chunk.t_s)), None)

    def finish(self, summary: Summary) -> None:
        """Nothing to do."""


def in_order(workouts: Iterable[Workout]) -> list[Workout]:
    """The earliest first."""
    return sorted(workouts, key=lambda each: each.began)
