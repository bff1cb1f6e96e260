"""`mujo-edge log` as a user runs it, and the wall-clock times of stored sets."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import AXES, bundle, write_bundle
from typer.testing import CliRunner

from mujo_edge.cli import app
from mujo_edge.core import CHANNELS, F32, STANDARD_GRAVITY, Chunk, DataError, MujoError, StreamInfo, UsageError
from mujo_edge.recordings import session
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.workouts import find_sessions, read_workout

RATE_HZ = 50.0
ORIGIN_S = 40.0
"""Device time of the first sample."""


def signal(*sets: tuple[int, int]) -> F32:
    """(n, 6): for every (axis that points up, repetitions) turns of 2 s, and 12 s of rest before and after."""
    rng = np.random.default_rng(0)
    parts = []
    for axis, n in sets:
        angle = np.pad(np.deg2rad(20) * (1 - np.cos(np.arange(n * 100) / 50 * np.pi)), 600)
        x = np.zeros((len(angle), 6))
        x[:, axis], x[:, (axis + 1) % 3] = STANDARD_GRAVITY * np.cos(angle), STANDARD_GRAVITY * np.sin(angle)
        parts.append(x)
    x = np.concatenate(parts)
    return (x + rng.normal(0, 0.03, x.shape)).astype(np.float32)


def write_session(folder: Path, created: str, *sets: tuple[int, int]) -> Path:
    x = signal(*sets)
    writer = SessionWriter(folder, StreamInfo("made", CHANNELS, RATE_HZ), source="test")
    writer.write(Chunk(ORIGIN_S + np.arange(len(x)) / RATE_HZ, x, 0.0))
    writer.close()
    table = json.loads((folder / session.SESSION_FILE).read_text())
    (folder / session.SESSION_FILE).write_text(json.dumps(table | {"created": created}))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "axis")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two sessions of one device each, and one in a folder of two devices."""
    store = tmp_path / "store"
    write_session(store / "b", "2026-12-01T18:00:00.000+00:00", (0, 8), (0, 6), (1, 5))
    write_session(store / "a", "2026-12-02T07:00:00.000+00:00", (2, 7))
    write_session(store / "pair" / "1", "2026-11-30T07:00:00.000+00:00", (1, 9))
    return store


def run(model: Path, *arguments: object):
    return CliRunner().invoke(app, ["log", "--bundle", str(model), "--runtime", "onnx", *map(str, arguments)])


def test_sets_have_wall_clock_times(store: Path) -> None:
    workout = read_workout(store / "b", bundle())
    assert [(bout.label, bout.repetitions) for bout in workout.bouts] == [("x up", 8), ("x up", 6), ("y up", 5)]
    start = workout.at(workout.bouts[0].start_s)
    assert abs((start - datetime(2026, 12, 1, 18, 0, 12, tzinfo=UTC)).total_seconds()) < 1.2
    assert workout.rows()[1]["start"].startswith("2026-12-01T18:00:5")
    assert workout.rows()[0]["start_s"] >= ORIGIN_S


def test_log_prints_json_from_the_earliest_session_on(model: Path, store: Path) -> None:
    done = run(model, store, "--json")
    assert done.exit_code == 0
    rows = json.loads(done.stdout)
    assert [(Path(row["session"]).name, row["label"], row["repetitions"]) for row in rows] == [
        ("1", "y up", 9), ("b", "x up", 8), ("b", "x up", 6), ("b", "y up", 5), ("a", "z up", 7),
    ]  # fmt: skip
    assert all(row["start"].endswith("Z") for row in rows)
    assert sorted(row["start"] for row in rows) == [row["start"] for row in rows]


def test_log_of_the_current_folder_shows_a_table_and_totals(
    model: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store)
    monkeypatch.setenv("COLUMNS", "120")
    done = run(model)
    assert done.exit_code == 0
    assert "2 sets of 8 and 6 x up" in done.stdout
    assert "2026-12-0" in done.stdout
    assert done.stdout.count("s per repetition") == 3 + 2


def test_csv_has_a_row_for_every_set(model: Path, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "sets.csv"
    assert run(model, store / "b", "--csv", path).exit_code == 0
    rows = list(csv.DictReader(path.open()))
    assert [(row["label"], row["repetitions"]) for row in rows] == [("x up", "8"), ("x up", "6"), ("y up", "5")]
    assert isinstance(run(model, store / "b", "--csv", tmp_path / "no" / "sets.csv").exception, UsageError)


def test_damaged_session_is_named_and_the_others_are_listed(model: Path, store: Path) -> None:
    (store / "a" / session.SAMPLES_FILE).write_text("nonsense\n")
    done = run(model, store, "--json")
    assert isinstance(done.exception, DataError)
    assert "1 of 3 sessions" in str(done.exception)
    rows = json.loads(done.stdout)
    assert {Path(row["session"]).name for row in rows} == {"1", "b"}
    assert str(store / "a") in done.stderr


@pytest.mark.parametrize("created", ["yesterday", ""])
def test_session_without_a_time_of_creation_is_an_error(store: Path, created: str) -> None:
    table = json.loads((store / "a" / session.SESSION_FILE).read_text())
    (store / "a" / session.SESSION_FILE).write_text(json.dumps(table | {"created": created}))
    with pytest.raises(MujoError, match=r"created|time of creation"):
        read_workout(store / "a", bundle())


def test_places_without_sessions_are_usage_errors(tmp_path: Path, store: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "absent", store / "a" / session.SAMPLES_FILE):
        with pytest.raises(UsageError, match=r"no session in|does not exist|is a file"):
            find_sessions([store, place])
    assert [path.name for path in find_sessions([store, store / "a"])] == ["a", "b", "1"]


def test_session_without_sets_is_listed_as_such(model: Path, store: Path) -> None:
    assert len(AXES) == 3
    shutil.rmtree(store / "b")
    shutil.rmtree(store / "pair")
    shutil.rmtree(store / "a")
    write_session(store / "still", "2026-12-02T07:00:00.000+00:00", (0, 0))
    done = run(model, store)
    assert done.exit_code == 0
    assert "no sets" in done.stdout
