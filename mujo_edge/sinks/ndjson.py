"""One JSON object per line, for programs: predictions, gaps, repetitions and bouts as they occur, and a summary.

`ndjson.schema.json` beside this file is the contract; docs/ndjson.md explains it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from mujo_edge.core import Bout, Gap, Prediction, Repetition
from mujo_edge.sinks import STAGES, RunInfo, Summary, Update
from mujo_edge.sinks.background import BackgroundWriter

SCHEMA = 1
"""Version of the lines; it rises when a field changes its meaning or goes, not when one is added."""


class NdjsonSink:
    """Writes lines to `out`. Lines for which it has no room are dropped, counted, and reported by the summary.

    Args:
        out: the output. named: add the name of the stream to every line, for several streams that share `out`.
    """

    def __init__(self, out: BackgroundWriter, *, named: bool = False) -> None:
        self._out, self._named = out, named
        self._source: dict[str, str] = {}
        self._dropped = 0

    def start(self, session: RunInfo) -> None:
        """Nothing is written before the first prediction or gap."""
        self._source = {"source": session.info.name} if self._named else {}

    def write(self, update: Update) -> None:
        """Write one line per event. Raises `BrokenPipeError` when the reader is gone, `DataError` if `out` fails."""
        self._out.check()
        if events := [*update.events, *update.counted]:
            records = [_head() | event_record(event) | self._source for event in events]
            self._dropped += 0 if self._out.write(_lines(*records)) else len(records)

    def finish(self, summary: Summary) -> None:
        """Write the last line. Raises as `write` does."""
        self._out.check()
        if self._dropped:
            note = f"the reader of these lines was too slow: {self._dropped} lines were dropped"
            summary = replace(summary, notes=(*summary.notes, note))
        self._out.write(_lines(_head() | summary_record(summary)), keep=True)


def _head() -> dict[str, Any]:
    """The fields that begin every line; `time` is the wall clock in UTC (ISO 8601, milliseconds)."""
    return {"schema": SCHEMA, "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _lines(*records: Mapping[str, Any]) -> bytes:
    return "".join([json.dumps(record, allow_nan=False) + "\n" for record in records]).encode("ascii")


def event_record(event: Prediction | Gap | Repetition | Bout) -> dict[str, Any]:
    """The fields of an event, after `schema` and `time`."""
    if isinstance(event, Repetition):
        return {
            "type": "repetition",
            "label": event.label,
            "start_s": _seconds(event.start_s),
            "end_s": _seconds(event.end_s),
        }
    if isinstance(event, Bout):
        return {"type": "bout", **bout_record(event)}
    if isinstance(event, Gap):
        return {
            "type": "gap",
            "start_s": _seconds(event.start_s),
            "end_s": _seconds(event.end_s),
            "reason": event.reason,
        }
    return {
        "type": "prediction",
        "end_s": _seconds(event.end_s),
        "label": event.label,
        "score": round(event.score, 4),
        "raw_label": event.raw_label,
        "truth": event.truth,
        "scores": {label: round(score, 4) for label, score in event.scores.items()},
        "latency_ms": {stage: round(getattr(event.latency, f"{stage}_ms"), 4) for stage in STAGES},
        "repetitions": event.repetitions,
        **({"by": event.by} if event.by != "host" else {}),
    }


def bout_record(bout: Bout) -> dict[str, Any]:
    """The fields of a bout; `tempo_s` and `tempo_sd_s` are mean and standard deviation of seconds per repetition."""
    return {
        "label": bout.label,
        "start_s": _seconds(bout.start_s),
        "end_s": _seconds(bout.end_s),
        "repetitions": bout.repetitions,
        "tempo_s": round(bout.tempo_s, 3),
        "tempo_sd_s": round(bout.tempo_sd_s, 3),
    }


def summary_record(summary: Summary) -> dict[str, Any]:
    """The fields of the summary, after `schema` and `time`."""
    session, tally, stats = summary.session, summary.tally, summary.tally.stats
    latency = {
        stage: {"p50": round(both.p50, 4), "p99": round(both.p99, 4)} for stage, both in (tally.latency or {}).items()
    }
    return {
        "type": "summary",
        "ended": summary.ended,
        "error": summary.error,
        "source": session.info.name,
        "placement": session.info.placement,
        "channels": session.info.channels,
        "bundle": session.bundle,
        "runtime": session.runtime,
        "label_set": session.label_set,
        "labels": session.labels,
        "signal_s": _seconds(stats.signal_s),
        "elapsed_s": _seconds(tally.elapsed_s),
        "speed": _rounded(tally.speed, 2),
        "rate_hz": _rounded(stats.rate_hz, 3),
        "drift_ppm": _rounded(stats.drift_ppm, 1),
        "samples": stats.samples,
        "lost": stats.lost,
        "corrupt": stats.corrupt,
        "invalid": stats.invalid,
        "repeated": stats.repeated,
        "gaps": stats.gaps,
        "windows": stats.windows,
        "dropped_windows": stats.dropped_windows,
        "predictions": tally.predictions,
        "accuracy": None
        if tally.accuracy is None
        else {"share": round(tally.accuracy, 4), "right": tally.right, "of": tally.judged},
        "recognized": [
            {
                "label": each.label,
                "seconds": _seconds(each.seconds),
                "bouts": each.bouts,
                "longest_s": _seconds(each.longest_s),
            }
            for each in summary.recognized.times
        ],
        "bouts": [bout_record(each) for each in summary.recognized.bouts],
        "confusions": [asdict(each) for each in summary.recognized.confusions],
        "outside": {"of": summary.recognized.outside, "unknown": summary.recognized.outside_unknown}
        if summary.recognized.outside
        else None,
        "latency_ms": latency or None,
        "notes": summary.notes,
    }


def _seconds(value: float) -> float:
    return round(value, 6)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
