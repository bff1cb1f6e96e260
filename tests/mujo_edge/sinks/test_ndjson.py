"""The lines of `--json` against their JSON Schema, and the schema against docs/ndjson.md."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from fakes import INFO, ListSource, Output, bundle, chunked, motion
from hypothesis import given
from hypothesis import strategies as st

from mujo_edge.core import Bout, Gap, Latency, Prediction, Repetition, StreamStats
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sinks import Confusion, LabelTime, Recognized, RunInfo, Summary, Tally
from mujo_edge.sinks.ndjson import NdjsonSink, event_record, summary_record

SCHEMA = json.loads((files("mujo_edge") / "sinks" / "ndjson.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)
HEAD = {"schema": 1, "time": "2026-12-01T09:30:00.000Z"}
PAGE = Path(__file__).parents[3] / "docs" / "ndjson.md"


async def lines(model: bool = True) -> list[dict[str, Any]]:
    t_s, x, truth = motion([0, 1], 6.0)
    t_s[500:] += 1
    out = Output()
    load = (lambda info: Recognizer(bundle(), info)) if model else None
    await Engine(ListSource(chunked(t_s, x, truth)), [NdjsonSink(out)], load, live=False).run()
    return out.records()


async def test_output_is_predictions_gaps_and_one_final_summary() -> None:
    records = await lines()
    for record in records:
        VALID.validate(record)
    kinds = [record["type"] for record in records]
    assert kinds == ["prediction"] * 15 + ["gap", "summary"]
    assert records[0]["end_s"] == 2.98
    assert (records[0]["label"], records[0]["truth"], records[12]["truth"]) == ("x up", "x up", "y up")
    times = [datetime.fromisoformat(record.pop("time")) for record in records]
    assert times == sorted(times)
    assert (datetime.now(UTC) - times[-1]).total_seconds() < 60
    assert records[-2] == {"schema": 1, "type": "gap", "start_s": 9.98, "end_s": 11.0, "reason": "missing"}
    summary = records[-1]
    assert (summary["predictions"], summary["gaps"], summary["samples"]) == (15, 1, 600)
    assert summary["accuracy"] == {"share": 1.0, "right": 10, "of": 10}


async def test_output_without_a_model_fits_the_schema() -> None:
    records = await lines(model=False)
    for record in records:
        VALID.validate(record)
    assert [record["type"] for record in records] == ["gap", "summary"]


ms = st.floats(0, 1e9)
text = st.text(max_size=20)
share = st.floats(0, 1, width=32)


@given(st.floats(-1e10, 1e10), text, share, st.none() | text, st.tuples(ms, ms, ms, ms))
def test_every_prediction_fits_the_schema(
    end_s: float, label: str, score: float, truth: str | None, stages: tuple[float, float, float, float]
) -> None:
    scores = {label: score, "unknown": 1 - score}
    one = Prediction(end_s, label, score, label, scores, np.zeros(3, np.float32), Latency(*stages), truth)
    record = json.loads(json.dumps(HEAD | event_record(one), allow_nan=False))
    VALID.validate(record)
    assert record["label"] == label


@given(st.sampled_from(["missing", "invalid", "clock", "constant"]), st.floats(-1e10, 1e10))
def test_every_gap_fits_the_schema(reason: Any, start_s: float) -> None:
    VALID.validate(HEAD | event_record(Gap(start_s, start_s + 1, reason)))


@given(text, st.floats(-1e10, 1e10), st.integers(1, 10**6), st.floats(0, 1e5))
def test_every_repetition_and_bout_fits_the_schema(label: str, start_s: float, n: int, tempo_s: float) -> None:
    bout = Bout(label, start_s, start_s + 9, n, tempo_s, tempo_s / 3)
    VALID.validate(json.loads(json.dumps(HEAD | event_record(bout), allow_nan=False)))
    VALID.validate(json.loads(json.dumps(HEAD | event_record(Repetition(start_s, start_s + 2, label)))))


@pytest.mark.parametrize("ended", ["end", "duration", "interrupted", "closed", "error"])
def test_every_summary_fits_the_schema(ended: Any) -> None:
    tally = Tally(StreamStats(), 0, 0, 0, 0.0, None)
    record = json.loads(json.dumps(HEAD | summary_record(Summary(RunInfo(INFO), tally, ended, ("note",), None))))
    VALID.validate(record)
    assert (record["recognized"], record["confusions"], record["outside"]) == ([], [], None)
    assert (record["speed"], record["accuracy"], record["rate_hz"], record["notes"]) == (None, None, None, ["note"])


def test_summary_lists_times_and_confusions() -> None:
    tally = Tally(StreamStats(), 0, 0, 0, 0.0, None)
    results = Recognized(
        (LabelTime("walking", 1.5, 2, 1.0),),
        (Confusion("jogging", "walking", 3),),
        4,
        1,
        (Bout("squat", 1.0, 22.0, 10, 2.1, 0.2),),
    )
    record = json.loads(json.dumps(HEAD | summary_record(Summary(RunInfo(INFO), tally, "end", (), None, results))))
    VALID.validate(record)
    assert record["recognized"] == [{"label": "walking", "seconds": 1.5, "bouts": 2, "longest_s": 1.0}]
    assert record["confusions"] == [{"truth": "jogging", "label": "walking", "windows": 3}]
    assert record["outside"] == {"of": 4, "unknown": 1}
    (bout,) = record["bouts"]
    assert (bout.pop("label"), bout) == (
        "squat",
        {"start_s": 1.0, "end_s": 22.0, "repetitions": 10, "tempo_s": 2.1, "tempo_sd_s": 0.2},
    )


def test_schema_is_valid_and_rejects_other_lines() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = HEAD | event_record(Gap(0.0, 1.0, "missing"))
    for bad in ({**good, "reason": "odd"}, {**good, "more": 1}, {"type": "gap"}, [], {**good, "end_s": "1"}):
        assert not VALID.is_valid(bad)


def test_page_names_every_field_and_shows_valid_lines() -> None:
    page = PAGE.read_text()
    for kind in ("prediction", "gap", "repetition", "bout", "summary"):
        for field in SCHEMA["$defs"][kind]["properties"]:
            assert f"`{field}`" in page, f"docs/ndjson.md does not explain {field} of {kind}"
    examples = [json.loads(line) for line in page.splitlines() if line.startswith("{")]
    assert {example["type"] for example in examples} == {"prediction", "gap", "repetition", "bout", "summary"}
    for example in examples:
        VALID.validate(example)


async def test_lines_of_several_streams_name_their_source() -> None:
    out = Output()
    infos = [replace(INFO, name=name) for name in ("left", "right")]
    engines = [
        Engine(
            ListSource(chunked(*motion([0], 4.0)), info),
            [NdjsonSink(out, named=True)],
            lambda info: Recognizer(bundle(), info),
            live=False,
        )
        for info in infos
    ]
    await run_together(engines)
    records = out.records()
    for record in records:
        VALID.validate(record)
    assert {(record["source"], record["type"]) for record in records} == {
        (name, kind) for name in ("left", "right") for kind in ("prediction", "summary")
    }


async def test_summary_counts_lines_dropped_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mujo_edge.sinks.background.LIMIT", 0)
    out = Output()
    source = ListSource(chunked(*motion([0], 6.0)))
    await Engine(source, [NdjsonSink(out)], lambda info: Recognizer(bundle(), info), live=False).run()
    (summary,) = out.records()
    VALID.validate(summary)
    assert summary["predictions"] == 7
    assert summary["notes"][-1] == "the reader of these lines was too slow: 7 lines were dropped"
