"""Numbers, dates and times in the cells of a text file."""

from __future__ import annotations

import re
from datetime import UTC, datetime

DATE = r"(?P<a>\d{1,4})[-/.](?P<b>\d{1,2})[-/.](?P<c>\d{2,4})"
CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2}(?:[.,]\d+)?)(?:\s*(?P<half>[AaPp])[Mm])?"
MOMENT = re.compile(rf"(?:{DATE}[T\s]\s*)?{CLOCK}")


def to_number(cell: str) -> float | None:
    """The number in a cell, or None."""
    try:
        return float(cell)
    except ValueError:
        return None


def to_seconds(cell: str) -> float | None:
    """Seconds since 1970 of a date and time, in UTC unless it has a zone; of a time of day, seconds since midnight.

    ISO 8601; or year, month, day or day, month, year (month first only where the day can be told by being above 12)
    with `-`, `/` or `.`, and a clock of 24 or 12 hours. None for anything else.
    """
    cell = cell.strip()
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return _other_seconds(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _other_seconds(cell: str) -> float | None:
    match = MOMENT.fullmatch(cell)
    if match is None:
        return None
    hour, minute, second = int(match["hour"]), int(match["minute"]), float(match["second"].replace(",", "."))
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"] in "pP")
    if hour > 23 or minute > 59 or second >= 61:
        return None
    of_day = hour * 3600 + minute * 60 + second
    if match["a"] is None:
        return of_day
    a, b, c = int(match["a"]), int(match["b"]), int(match["c"])
    year, month, day = (a, b, c) if len(match["a"]) == 4 else (c, a, b) if b > 12 else (c, b, a)
    try:
        return datetime(year + 2000 * (year < 100), month, day, tzinfo=UTC).timestamp() + of_day
    except ValueError:
        return None
