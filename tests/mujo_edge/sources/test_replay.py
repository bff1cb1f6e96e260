"""Session folders written and read back bit for bit, and played at a speed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mujo_edge.core import CHANNELS, Chunk, DataError, MujoError, Source, StreamInfo, UsageError
from mujo_edge.recordings import session
from mujo_edge.recordings.reader import open_recording
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sources import replay
from mujo_edge.sources.replay import ReplaySource, shipped_recording, split

INFO = StreamInfo("a watch", CHANNELS, 50.0, placement="wrist", labels="physio-wrist")
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
numbers = {"allow_nan": True, "allow_infinity": True}


def chunk(n: int, start: int = 0, lost: int = 0, truth: str | None = None, channels: int = 6) -> Chunk:
    rng = np.random.default_rng(start)
    x = rng.normal(0, 5, (n, channels)).astype(np.float32)
    return Chunk(np.arange(start, start + n) / 50, x, 0.0, lost, None if truth is None else (truth,) * n)


def write(folder: Path, chunks: list[Chunk], info: StreamInfo = INFO) -> Path:
    with SessionWriter(folder, info, source="a test", notes=["made up"]) as writer:
        for one in chunks:
            writer.write(one)
    return folder


def joined(chunks: list[Chunk]) -> tuple[list[int], list[int], list[int], list[str] | None]:
    """Bits of times and samples, lost before every sample (and at the end), truth."""
    t = [bits for c in chunks for bits in c.t_s.view(np.int64).tolist()]
    x = [bits for c in chunks for bits in c.x.view(np.int32).ravel().tolist()]
    lost, waiting = [], 0
    for c in chunks:
        waiting += c.lost
        if len(c.t_s):
            lost += [waiting, *[0] * (len(c.t_s) - 1)]
            waiting = 0
    annotated = any(c.truth is not None for c in chunks)
    return t, x, [*lost, waiting], [label for c in chunks for label in c.truth or ()] if annotated else None


@st.composite
def streams(draw: st.DrawFn) -> tuple[StreamInfo, list[Chunk]]:
    width = draw(st.sampled_from([3, 6]))
    labels = draw(st.none() | st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))))
    info = StreamInfo(
        draw(st.text(max_size=20)),
        CHANNELS[:width],
        draw(st.none() | st.floats(0.1, 5000)),
        draw(st.none() | st.sampled_from(["wrist", "pocket"])),
        draw(st.sampled_from(["included", "excluded"])),
        draw(st.none() | st.text(max_size=20)),
    )
    chunks = []
    for n in draw(st.lists(st.integers(0, 9), min_size=1, max_size=6)):
        t = draw(st.lists(st.floats(**numbers), min_size=n, max_size=n))
        x = draw(st.lists(st.floats(width=32, **numbers), min_size=n * width, max_size=n * width))
        # NaN has one form in a file.
        signal_ = np.where(np.isnan(x), np.float32("nan"), np.float32(x)).astype(np.float32).reshape(n, width)
        times = np.where(np.isnan(t), np.nan, np.array(t, np.float64))
        truth = None if labels is None else tuple(draw(st.sampled_from([*labels, ""])) for _ in range(n))
        chunks.append(Chunk(times, signal_, 0.0, draw(st.integers(0, 1 << 40)), truth))
    return info, chunks


@SLOW
@given(stream=streams(), block=st.sampled_from([20, 300, 1 << 16]))
def test_recording_is_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, stream: tuple[StreamInfo, list[Chunk]], block: int
) -> None:
    info, chunks = stream
    folder = write(tmp_path_factory.mktemp("session") / "s", chunks, info)
    if not any(len(c.t_s) for c in chunks):
        with pytest.raises(DataError, match="empty"):
            open_recording(folder)
        return
    recording = open_recording(folder)
    assert recording.info == info
    assert joined(list(recording.chunks(block))) == joined(chunks)
    assert recording.notes == []


def test_every_class_of_float32_survives(tmp_path: Path) -> None:
    """A spread of exponents and mantissas, including the values for which nine digits barely suffice."""
    rng = np.random.default_rng(1)
    bits = np.concatenate([rng.integers(0, 1 << 32, 200_000, np.uint32), np.arange(1 << 15, dtype=np.uint32)])
    x = bits[: len(bits) // 6 * 6].view(np.float32).reshape(-1, 6)
    x = np.where(np.isnan(x), np.float32("nan"), x)
    t = rng.normal(0, 1, len(x)) * 10.0 ** rng.integers(-300, 300, len(x))
    folder = write(tmp_path / "s", [Chunk(t, x, 0.0)])
    assert joined(list(open_recording(folder).chunks())) == joined([Chunk(t, x, 0.0)])


def test_session_files_have_the_documented_content(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", [chunk(2, truth="sit, still"), chunk(1, 2, lost=3, truth="walk")])
    lines = (folder / "samples.csv").read_text().splitlines()
    assert lines[0] == "t_s,ax_m_s2,ay_m_s2,az_m_s2,gx_rad_s,gy_rad_s,gz_rad_s,lost,label"
    assert lines[2].startswith("0.02,")
    assert lines[2].endswith(',0,"sit, still"')
    assert lines[3].endswith(",3,walk")
    about = json.loads((folder / "session.json").read_text())
    assert about["schema_version"] == 1
    assert about["stream"]["channels"] == list(CHANNELS)
    assert (about["source"], about["notes"], about["samples"]) == ("a test", ["made up"], 3)


def test_recording_of_a_replay_equals_the_original(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [chunk(40, 0, 2, "x"), chunk(5, 40, 0, "y"), chunk(9, 45, 7, "")])
    recording = open_recording(first)
    second = write(tmp_path / "b", list(recording.chunks(100)), recording.info)
    assert (first / "samples.csv").read_bytes() == (second / "samples.csv").read_bytes()


def test_kill_9_loses_no_chunk_that_was_written(tmp_path: Path) -> None:
    code = f"""
import sys, time, numpy as np
from mujo_edge.core import Chunk, StreamInfo
from mujo_edge.recordings.writer import SessionWriter
writer = SessionWriter({str(tmp_path / "s")!r}, StreamInfo("w", ("ax", "ay", "az"), 50.0), source="test")
for i in range(100_000):
    writer.write(Chunk(np.arange(5 * i, 5 * i + 5) / 50, np.ones((5, 3), np.float32), 0.0))
    print(writer.samples, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            if int(line) >= 500:
                break
        process.send_signal(signal.SIGKILL)
    recording = open_recording(tmp_path / "s")
    t = np.concatenate([c.t_s for c in recording.chunks()])
    assert len(t) >= 500
    np.testing.assert_array_equal(t, np.arange(len(t)) / 50)
    assert any("never closed" in note for note in recording.notes)


@pytest.mark.parametrize("cut", [1, 2, 30, 60, 61, 62, 300])
def test_truncated_session_is_read_with_a_note(tmp_path: Path, cut: int) -> None:
    folder = write(tmp_path / "s", [chunk(100)])
    content = (folder / "samples.csv").read_bytes()
    (folder / "samples.csv").write_bytes(content[:-cut])
    recording = open_recording(folder)
    n = sum(len(c.t_s) for c in recording.chunks())
    assert n == content[:-cut].count(b"\n") - 1 < 100
    assert any(f"holds {n} samples of the 100" in note for note in recording.notes)


def good_json() -> dict[str, object]:
    return {
        "schema_version": 1, "source": "a test", "created": "2026-01-01T00:00:00+00:00", "version": "0.1.0",
        "notes": [], "samples": 3, "lost_at_end": 0,
        "stream": {"name": "w", "channels": ["ax", "ay", "az"], "rate_hz": 50.0, "placement": None,
                   "gravity": "included", "labels": None},
    }  # fmt: skip


def stream_with(**changes: object) -> dict[str, object]:
    stream = good_json()["stream"]
    assert isinstance(stream, dict)
    return {"stream": stream | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2, "version": "9.9"}, r"newer mujo-edge \(9.9, schema 2.*Update"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"samples": -1}, "samples: expected a whole number >= 0"),
        ({"samples": 1.5}, "samples: expected a whole number or null"),
        ({"lost_at_end": None}, "lost_at_end: expected"),
        ({"stream": None}, "damaged"),
        ({"stream": []}, "damaged"),
        ({"notes": 7}, "damaged"),
        ({"source": 7}, "source: expected a text, got a whole number"),
        (stream_with(name=None), "stream.name: expected a text"),
        (stream_with(channels=[]), "channels"),
        (stream_with(channels=["ax", "ax"]), "channels"),
        (stream_with(channels=["ax", ["ay"]]), "damaged"),
        (stream_with(channels=["ax", 7]), "damaged"),
        (stream_with(channels=["ax", "a,y", "az"]), "'a,y' is not a valid channel name"),
        (stream_with(rate_hz=0), "rate_hz"),
        (stream_with(rate_hz="50"), "rate_hz"),
        (stream_with(rate_hz=10**400), "rate_hz"),
        ({"lost_at_end": float("nan")}, "not finite"),
        (stream_with(gravity="none"), "gravity"),
        (stream_with(placement=3), "stream.placement: expected a text"),
        (stream_with(channels=["ax", "ay", "az", "gx"]), "by session.json"),
    ],
)
def test_invalid_session_json_is_a_data_error(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    folder = write(tmp_path / "s", [chunk(3, channels=3)], replace(INFO, channels=CHANNELS[:3]))
    (folder / "session.json").write_text(json.dumps(good_json()))
    assert open_recording(folder).info.name == "w"
    (folder / "session.json").write_text(json.dumps(good_json() | changes))
    with pytest.raises(DataError, match=message) as caught:
        open_recording(folder)
    assert str(folder) in str(caught.value)
    for key in good_json():
        (folder / "session.json").write_text(json.dumps({k: v for k, v in good_json().items() if k != key}))
        with pytest.raises(DataError, match=f"'{key}' is missing"):
            open_recording(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b"\0" * (1 << 20) + b"  "])
def test_file_that_is_not_session_json_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "s", [chunk(3)])
    (folder / "session.json").write_bytes(content)
    with pytest.raises(DataError, match=r"session\.json") as caught:
        open_recording(folder)
    assert str(caught.value).count("\n") <= 1


@pytest.mark.parametrize("name", ["session.json", "samples.csv", "raw.ndjson"])
def test_session_that_contains_a_fifo_or_device_is_a_data_error(tmp_path: Path, name: str) -> None:
    """It is not opened, which would wait for ever."""
    for number, make in enumerate((os.mkfifo, lambda path: path.symlink_to("/dev/zero"))):
        folder = write(tmp_path / str(number), [chunk(3)])
        (folder / name).unlink(missing_ok=True)
        make(folder / name)
        with pytest.raises(DataError, match=f"{name} is not a regular file"):
            open_recording(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("t_s,", "time,", "has the columns time"),
        ("lost,label", "label,lost", "by session.json"),
        (",0,walk\n", ",-1,walk\n", "line 2: lost is not a count"),
        (",0,walk\n", ",0.5,walk\n", "line 2: lost is not a count"),
        (",0,walk\n", ",,walk\n", "line 2: lost is not a count"),
        (",0,walk\n", ",walk\n", "line 2: 8 cells"),
        ("0.0,", "noon,", "line 2: 'noon' in column 't_s'"),
        ("0.0,", "2026-01-01T00:00:00,", "line 2: '2026-01-01T00:00:00' in column 't_s' is not a number"),
    ],
)
def test_samples_that_do_not_fit_session_json_are_a_data_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = write(tmp_path / "s", [chunk(3, truth="walk")])
    text = (folder / "samples.csv").read_text()
    (folder / "samples.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        list(open_recording(folder).chunks())


def test_session_without_samples_is_a_data_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", [])
    with pytest.raises(DataError, match=r"samples\.csv is empty"):
        open_recording(folder)
    (folder / "samples.csv").unlink()
    with pytest.raises(DataError, match=r"samples\.csv: No such file"):
        open_recording(folder)
    with pytest.raises(UsageError, match="leave --rate out"):
        open_recording(folder, 50.0)


@SLOW
@given(which=st.sampled_from(["session.json", "samples.csv"]), at=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bit_is_a_clean_error_or_still_read(
    tmp_path_factory: pytest.TempPathFactory, which: str, at: int, bit: int
) -> None:
    folder = write(tmp_path_factory.mktemp("session") / "s", [chunk(20, truth="walk"), chunk(5, 20, 3, "sit")])
    content = bytearray((folder / which).read_bytes())
    content[at % len(content)] ^= 1 << bit
    (folder / which).write_bytes(content)
    try:
        list(open_recording(folder).chunks())
    except MujoError as error:
        message = str(error)
    else:
        message = ""
    assert message.count("\n") <= 1


class Clock:
    """A monotonic clock that only sleeping moves; every sleep lasts too long, as real ones do."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds + 0.004


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(replay, "monotonic", clock.monotonic)
    monkeypatch.setattr(replay.asyncio, "sleep", clock.sleep)
    return clock


def play(path: Path, speed: float | None) -> list[Chunk]:
    async def run() -> list[Chunk]:
        async with ReplaySource(path, speed=speed) as source:
            return [chunk async for chunk in source.chunks()]

    return asyncio.run(run())


@pytest.mark.parametrize("speed", [0.5, 1.0, 8.0])
def test_replay_keeps_pace_without_drift(tmp_path: Path, clock: Clock, speed: float) -> None:
    folder = write(tmp_path / "s", [chunk(3000)])
    chunks = play(folder, speed)
    assert max(len(c.t_s) for c in chunks) <= 6
    assert len(chunks) >= 600
    for c in chunks:
        assert 0 <= c.received_s - 1000.0 - c.t_s[-1] / speed < 0.010
    assert joined(chunks) == joined(list(open_recording(folder).chunks()))


def test_replay_without_speed_yields_large_chunks_at_once(tmp_path: Path, clock: Clock) -> None:
    folder = write(tmp_path / "s", [chunk(20_000, truth="walk")])
    chunks = play(folder, None)
    assert len(chunks) < 20
    assert set(clock.slept_s) == {0}
    assert all(c.received_s for c in chunks)
    assert joined(chunks) == joined(list(open_recording(folder).chunks()))


def test_replay_does_not_wait_for_time_jumps(tmp_path: Path, clock: Clock) -> None:
    t = np.array([0, 0.02, 3600, 3600.02, np.nan, 1e300, 5, 5.02, np.inf, -np.inf, 5.04])
    folder = write(tmp_path / "s", [Chunk(t, np.ones((len(t), 6), np.float32), 0.0)])
    chunks = play(folder, 1.0)
    np.testing.assert_array_equal(np.concatenate([c.t_s for c in chunks]), t)
    assert max(clock.slept_s) <= replay.LONGEST_WAIT_S
    assert sum(clock.slept_s) < 3 * replay.LONGEST_WAIT_S


def test_split_keeps_all_samples_and_counts() -> None:
    whole = replace(chunk(100, truth="walk"), lost=4)
    parts = split(whole)
    assert joined(parts) == joined([whole])
    assert all(part.t_s[-1] - part.t_s[0] < replay.CHUNK_S + 1e-9 for part in parts)
    assert split(chunk(0)) != []


def test_replay_is_a_source(tmp_path: Path) -> None:
    source = ReplaySource(write(tmp_path / "s", [chunk(3)]))
    assert isinstance(source, Source)
    assert source.info == INFO
    assert source.notes == []


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_invalid_speed_is_a_usage_error(tmp_path: Path, speed: float) -> None:
    with pytest.raises(UsageError, match="speed must be a positive number"):
        ReplaySource(tmp_path, speed=speed)


def test_shipped_recording_is_complete() -> None:
    recording = open_recording(shipped_recording())
    chunks = list(recording.chunks())
    t, x = np.concatenate([c.t_s for c in chunks]), np.concatenate([c.x for c in chunks])
    assert recording.info == StreamInfo(recording.info.name, CHANNELS, 50.0, placement="wrist", labels="physio-wrist")
    np.testing.assert_array_equal(t, np.arange(len(t)) / 50)
    assert t[-1] >= 120
    assert 9 < np.median(np.linalg.norm(x[:, :3], axis=1)) < 12
    labels = [label for c in chunks for label in c.truth or ()]
    assert {label: labels.count(label) >= 50 * 18 for label in labels} == dict.fromkeys(
        ["pendulum", "abduction", "forward elevation", "internal rotation", "external rotation",
         "lower trapezius row", "bent-over row"], True
    )  # fmt: skip
    about = session.load(shipped_recording())
    assert any("joined" in note for note in about.notes)
    license = (shipped_recording().parent / "LICENSE-SPAR").read_text()
    assert "David M. Burns" in license
    assert "Redistribution and use in source and binary forms" in license


def test_installation_without_its_recording_is_a_data_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(replay, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match="Install mujo-edge again"):
        shipped_recording()
