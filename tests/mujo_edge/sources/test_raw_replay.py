"""A live run of every kind of source, recorded and decoded again: equal bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import bundle
from live_runs import RUNS, board, joined, play, record, wearable

from firmware_bridge.protocol import packet
from mujo_edge.core import CHANNELS, Chunk, Source, StreamInfo, UsageError
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings import session
from mujo_edge.recordings.reader import open_recording
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sources.replay import RawReplay


@pytest.mark.parametrize("name", RUNS)
def test_raw_replay_equals_the_live_run_bit_for_bit(tmp_path: Path, name: str) -> None:
    raws = RUNS[name]()
    chunks = record(tmp_path / "s", raws)
    assert sum(len(chunk.t_s) for chunk in chunks) > 5
    assert [raw for chunk in chunks for raw in chunk.raw] == raws
    source = RawReplay(tmp_path / "s", speed=None)
    assert isinstance(source, Source)
    assert source.info == open_recording(tmp_path / "s").info
    again = play(tmp_path / "s")
    assert joined(again) == joined(chunks)
    with SessionWriter(tmp_path / "t", source.info, source="a test") as writer:
        for chunk in again:
            writer.write(chunk)
    for file in (session.SAMPLES_FILE, session.RAW_FILE):
        assert (tmp_path / "s" / file).read_bytes() == (tmp_path / "t" / file).read_bytes()


@pytest.mark.parametrize("name", ["mujo", "board", "phone", "polar-h10"])
def test_recorded_samples_keep_losses_and_gaps(tmp_path: Path, name: str) -> None:
    chunks = record(tmp_path / "s", RUNS[name]())
    assert sum(chunk.lost for chunk in chunks) > 0
    replayed = [replace(chunk, corrupt=0, raw=()) for chunk in chunks]
    assert joined(list(open_recording(tmp_path / "s").chunks())) == joined(replayed)


def test_predictions_of_both_replays_equal_the_live_run(tmp_path: Path) -> None:
    """From the samples and from the bytes, over a reconnect."""
    raws = wearable("mujo", seconds=12.0)
    chunks = record(tmp_path / "s", raws)
    info = open_recording(tmp_path / "s").info

    def labels(run: Sequence[Chunk]) -> list[tuple[float, str, float]]:
        recognizer = Recognizer(bundle(), replace(info, channels=CHANNELS[: run[0].x.shape[1]]), None)
        actual = [prediction for chunk in run for prediction in recognizer.update(chunk)]
        return [(prediction.end_s, prediction.raw_label, prediction.score) for prediction in actual]

    live = labels(chunks)
    assert len(live) > 10
    assert labels(list(open_recording(tmp_path / "s").chunks())) == live
    assert labels(play(tmp_path / "s")) == live


def test_raw_replay_uses_the_current_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = packet.decode
    with monkeypatch.context() as patch:
        patch.setattr(packet, "decode", lambda data: [replace(one, x=one.x * 2) for one in right(data)])
        wrong = record(tmp_path / "s", board())
    again = play(tmp_path / "s")
    x, twice = (np.concatenate([chunk.x for chunk in run]) for run in (again, wrong))
    assert (2 * x).tobytes() == twice.tobytes()


def test_raw_replay_keeps_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "s", board())
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("mujo_edge.sources.replay.asyncio.sleep", sleep)
    monkeypatch.setattr("mujo_edge.sources.replay.monotonic", lambda: 1000.0)
    chunks = play(tmp_path / "s", speed=2.0)
    # 6 s and 6 s of payloads; of the 4 s between the connections only 2 are waited for.
    assert max(slept) == pytest.approx((6 + 2 + 6) / 2, abs=1.1)
    assert slept == sorted(slept)
    assert {chunk.received_s for chunk in chunks} == {1000.0}
    assert joined(chunks) == joined(play(tmp_path / "s"))


def test_session_without_raw_bytes_is_a_usage_error(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "s", StreamInfo("w", CHANNELS[:3], 50.0), source="replay of walk.csv") as writer:
        writer.write(Chunk(np.arange(5) / 50, np.ones((5, 3), np.float32), 0.0))
    assert not (tmp_path / "s" / session.RAW_FILE).exists()
    with pytest.raises(
        UsageError, match=r"no bytes to decode \(source: replay of walk.csv\). Leave --decode-again out"
    ):
        RawReplay(tmp_path / "s")
    with pytest.raises(UsageError, match="not a session folder"):
        RawReplay(tmp_path / "s" / "samples.csv")
    with pytest.raises(UsageError, match="not a session folder"):
        RawReplay(tmp_path / "nothing")
    with pytest.raises(UsageError, match="positive number or max"):
        RawReplay(tmp_path / "s", speed=0)
