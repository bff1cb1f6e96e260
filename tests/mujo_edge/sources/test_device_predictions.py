"""Predictions of a board's own model: their times, their way through the engine, and their output."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from fakes import AXES, ListSink, ListSource, Output, bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from firmware_bridge.protocol import packet, predictions
from firmware_bridge.protocol.framing import cobs_encode
from firmware_bridge.serial import SerialFormat
from firmware_bridge.stream import DeviceModelInfo, DevicePrediction
from mujo_edge.core import Chunk, DataError, Gap, Payload, Prediction, Source, StreamInfo
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings import session
from mujo_edge.recordings.reader import open_recording
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sinks.ndjson import NdjsonSink
from mujo_edge.sinks.screen import Screen, advance, render
from mujo_edge.sinks.terminal import render_board
from mujo_edge.sources.live import Assembler, stream_info
from mujo_edge.sources.replay import RawReplay
from mujo_edge.worker import ON_DEVICE

MODEL = DeviceModelInfo("mujo-student 1.0", "physio", (*AXES, "unknown"), 0.5, True, True)
ALONE = replace(MODEL, samples=False)
SCHEMA = json.loads((files("mujo_edge") / "sinks" / "ndjson.schema.json").read_text())
SAMPLES = 400


def tick(seconds: float) -> int:
    return round(seconds * packet.TICK_HZ) + 2**24 - 50_000  # wraps on the way


def sent(model: DeviceModelInfo = MODEL, n: int = SAMPLES) -> list[Payload]:
    """Output of a board at 50 Hz: a label every half second from 2.98 s on, and a gap at 5 s."""
    raws = [
        Payload(
            99.9,
            "open",
            "",
            json.dumps({"kind": "serial", **SerialFormat("packet", True, None, None, model).dump()}).encode(),
        )
    ]

    def send(at_s: float, payload: bytes) -> None:
        raws.append(Payload(100 + at_s + 0.004, "data", "", cobs_encode(payload)))

    piece = predictions.encode_device_model(model)[0]
    for i in range(n):
        t_s = i / 50
        if i % 5 == 0:
            send(t_s, piece)
        if model.samples:
            x = np.full((1, 6), 1 + i % 7, np.float32)
            send(t_s, packet.encode(x, i, tick(t_s), packet.LABELED))
        if i == 250:
            gap = DevicePrediction(reason="invalid", start_tick=tick(4.5) % 2**24)
            send(t_s, predictions.encode(gap, model, i, tick(t_s)))
        elif i >= 149 and (i - 149) % 25 == 0:
            prediction = DevicePrediction(i // 25 % 4, i // 50 % 4, 0.5 + i / 1000, 0.0123)
            send(t_s + 0.001, predictions.encode(prediction, model, i, tick(t_s)))
    return raws


def assembled(raws: Sequence[Payload], model: DeviceModelInfo = MODEL, size: int = 3) -> list[Chunk]:
    assembler = Assembler(SerialFormat("packet", True, None, None, model).decoder())
    return [chunk for i in range(0, len(raws), size) for chunk in assembler.chunks(raws[i : i + size])]


def events_of(chunks: Sequence[Chunk]) -> list[Prediction | Gap]:
    return [event for chunk in chunks for event in chunk.predictions]


def info(model: DeviceModelInfo) -> StreamInfo:
    return stream_info("board", SerialFormat("packet", True, None, None, model).decoder().format)


@pytest.mark.parametrize("model", [MODEL, ALONE], ids=["with samples", "alone"])
def test_device_predictions_have_times_of_the_samples(model: DeviceModelInfo) -> None:
    chunks = assembled(sent(model), model)
    events = events_of(chunks)
    predictions = [event for event in events if isinstance(event, Prediction)]
    (gap,) = (event for event in events if isinstance(event, Gap))
    assert [event.by for event in predictions] == ["device"] * 11
    ends = np.array([event.end_s for event in predictions])
    np.testing.assert_allclose(np.diff(ends), 0.5, atol=1e-4)
    assert (gap.end_s - gap.start_s, gap.reason) == (pytest.approx(0.5, abs=1e-4), "invalid")
    assert gap.end_s - ends[0] == pytest.approx(5.0 - 2.98, abs=1e-4)
    if model.samples:
        t_s = np.concatenate([chunk.t_s for chunk in chunks])
        assert len(t_s) == SAMPLES
        np.testing.assert_allclose(ends, t_s[149::25][: len(ends)], atol=1e-4)
    else:
        assert all(chunk.x.shape == (0, 6) for chunk in chunks)
    assert [(event.label, event.raw_label) for event in predictions[:2]] == [("y up", "z up"), ("z up", "unknown")]
    assert predictions[0].scores == {"y up": pytest.approx(0.649, abs=1e-4)}
    assert predictions[0].latency.inference_ms == pytest.approx(12.3, abs=0.04)
    assert sum(chunk.lost for chunk in chunks) == sum(chunk.corrupt for chunk in chunks) == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_device_predictions_are_equal_for_any_split(sizes: list[int]) -> None:
    raws = sent(n=300)
    assembler, pieces = Assembler(SerialFormat("packet", True, None, None, MODEL).decoder()), []
    at = 0
    while at < len(raws):
        for size in sizes:
            pieces += assembler.chunks(raws[at : at + size])
            at += size
    whole = assembled(raws, size=len(raws))
    keys = [(type(event), event.end_s) for event in events_of(pieces)]
    assert keys == [(type(event), event.end_s) for event in events_of(whole)]


def test_predictions_before_the_first_sample_are_dropped() -> None:
    raws = [raw for raw in sent() if raw.kind == "data" and len(raw.data) == predictions.PREDICTION_SIZE + 2]
    assert events_of(assembled(raws)) == []


def test_damaged_predictions_are_counted_as_corrupt() -> None:
    raws = sent()
    damaged = [
        replace(raw, data=raw.data[:5] + bytes([raw.data[5] ^ 1 or 2]) + raw.data[6:])
        if len(raw.data) == predictions.PREDICTION_SIZE + 2
        else raw
        for raw in raws
    ]
    chunks = assembled(damaged)
    assert events_of(chunks) == []
    assert sum(chunk.corrupt for chunk in chunks) == 12


async def run(
    model: DeviceModelInfo = MODEL, source: Source | None = None, **options: Any
) -> tuple[ListSink, list[dict[str, Any]]]:
    sink, out = ListSink(), Output()
    source = source or ListSource(assembled(sent(model), model), info(model))
    load = options.pop("load", lambda about: pytest.fail("a model was loaded"))
    await Engine(source, [sink, NdjsonSink(out)], load, live=False, **options).run()
    records = out.records()
    for record in records:
        jsonschema.Draft202012Validator(SCHEMA).validate(record)
    return sink, records


@pytest.mark.parametrize("model", [MODEL, ALONE], ids=["with samples", "alone"])
async def test_device_predictions_load_no_model_and_are_marked_in_the_output(model: DeviceModelInfo) -> None:
    sink, (*events, summary) = await run(model)
    assert sink.session
    assert (sink.session.bundle, sink.session.runtime, sink.session.labels) == (MODEL.model, ON_DEVICE, MODEL.labels)
    assert (sink.session.label_set, sink.session.hop_s) == ("physio", 0.5)
    kinds = [event["type"] for event in events]
    assert kinds == ["prediction"] * 5 + ["gap"] + ["prediction"] * 6
    assert {event["by"] for event in events if event["type"] == "prediction"} == {"device"}
    assert (summary["runtime"], summary["predictions"], summary["gaps"], summary["windows"]) == (ON_DEVICE, 11, 1, 11)
    assert summary["samples"] == (SAMPLES if model.samples else 0)
    assert summary["latency_ms"]["inference"]["p50"] == pytest.approx(12.3, abs=0.04)


async def test_record_without_a_model_shows_device_predictions() -> None:
    _, (*events, summary) = await run(load=None)
    assert len(events) == 12
    assert summary["labels"] == list(MODEL.labels)


async def test_naming_a_label_set_runs_the_model_on_the_host() -> None:
    sink, (*events, summary) = await run(load=lambda about: Recognizer(bundle(), about), force_host=True)
    assert summary["runtime"] == "axis"
    assert all("by" not in event for event in events)
    assert len(sink.predictions) == 11


@pytest.mark.parametrize("model", [MODEL, ALONE], ids=["with samples", "alone"])
async def test_duration_counts_from_the_first_prediction(model: DeviceModelInfo) -> None:
    _, (*_, summary) = await run(model, duration_s=1.9)
    assert summary["ended"] == "duration"
    assert summary["predictions"] == (0 if model.samples else 5)


async def test_gap_in_transit_is_not_counted_as_a_device_gap() -> None:
    lossy = [raw for raw in sent() if not 101.0 < raw.received_s < 101.6]
    _, (*events, summary) = await run(source=ListSource(assembled(lossy), info(MODEL)))
    assert [event["type"] for event in events].count("gap") == summary["gaps"] == 1
    assert summary["lost"] == 30
    assert summary["predictions"] == 11


def test_screen_shows_that_the_device_recognizes() -> None:
    sink = ListSink()
    source = ListSource(assembled(sent()), info(MODEL))
    asyncio.run(Engine(source, [sink], None, live=False).run())
    assert sink.session
    screen = Screen(sink.session, sink.updates[-1].tally)
    for update in sink.updates:
        screen = advance(screen, update, 0.0)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(render(screen))
    console.print(render_board([screen, screen]))
    text = console.export_text()
    assert "mujo-student 1.0 · on the device · physio" in text
    assert "recognized on the device" in text
    assert sink.predictions[-1].label.upper().replace(" ", "") in text.replace(" ", "")


@pytest.mark.parametrize("model", [MODEL, ALONE], ids=["with samples", "alone"])
async def test_raw_replay_restores_device_predictions(model: DeviceModelInfo, tmp_path: Path) -> None:
    raws = sent(model)
    live = assembled(raws, model)
    with SessionWriter(tmp_path / "s", info(model), source="test") as writer:
        for chunk in live:
            writer.write(chunk)
    assert json.loads((tmp_path / "s" / session.SESSION_FILE).read_text())["stream"]["names"]["model"] == model.model
    if model is ALONE:
        with pytest.raises(DataError, match="no samples, only bytes of the device"):
            open_recording(tmp_path / "s")
    replayed = RawReplay(tmp_path / "s", speed=None)
    assert replayed.info.device_model == model
    again = [chunk async for chunk in replayed.chunks()]
    assert [(e.end_s, getattr(e, "label", "")) for e in events_of(again)] == [
        (e.end_s, getattr(e, "label", "")) for e in events_of(live)
    ]
    _, (*events, summary) = await run(model, source=RawReplay(tmp_path / "s", speed=None))
    assert (len(events), summary["runtime"]) == (12, ON_DEVICE)
    assert all(a["end_s"] < b["end_s"] for a, b in pairwise(events))
