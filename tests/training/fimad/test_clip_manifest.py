"""Manifests of the user's clips, gymnai's manifest, and malformed entries."""

from __future__ import annotations

import csv
import json
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from made_videos import write_video

from mujo_edge.core import DataError
from training.corpora import data_root
from training.fimad.sources.manifest import gymnai_source, read, rows, seconds, source
from training.fimad.video import Cut, Options, takes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with videos "a.mp4" and "more/b c.mkv" of 4 s."""
    write_video(tmp_path / "a.mp4")
    write_video(tmp_path / "more" / "b c.mkv")
    return tmp_path


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


FULL = """\
video, start, end, title, description, subject, split
a.mp4, 0:01, 0:02.5, Push Ups, "He lowers
himself, and rises.", anna, val
a.mp4,,,squat,,,
more/b c.mkv,1,3,Lunge,,ben,train
"""


def test_csv_manifest_is_read(folder: Path) -> None:
    listed = read(write(folder / "mine.csv", "\ufeff" + FULL), "mine")
    assert not listed.problems
    (one, cut_one), (two, cut_two), (three, cut_three) = listed.clips
    assert (one.id, one.name, one.subject, one.split) == ("mine/a@1", "Push Ups", "anna", "val")
    assert one.descriptions == ("He lowers\nhimself, and rises.",)
    assert (two.id, two.subject, two.split, two.descriptions) == ("mine/a", "a", None, ())
    assert (three.id, three.corpus) == ("mine/b c@1", "mine")
    assert cut_one == Cut(folder / "a.mp4", 1.0, 2.5)
    assert cut_two == Cut(folder / "a.mp4", 0.0, None)
    assert cut_three == Cut(folder / "more" / "b c.mkv", 1.0, 3.0)


def test_json_and_csv_are_equal(folder: Path) -> None:
    table = write(folder / "mine.csv", FULL)
    entries = list(csv.DictReader(FULL.splitlines(keepends=True), skipinitialspace=True))
    plain = write(folder / "list.json", entries)
    wrapped = write(folder / "object.json", {"version": 3, "clips": entries})
    assert read(plain, "mine") == read(wrapped, "mine") == read(table, "mine")


def test_tasks_can_be_pickled_and_give_the_take(folder: Path) -> None:
    path = write(folder / "mine.csv", FULL)
    made = source(path, Options(tower=None, pose=False))
    assert (made.name, made.find(folder / "elsewhere")) == ("mine", path)
    tasks = pickle.loads(pickle.dumps(list(made.tasks(path))))
    assert [task.id for task in tasks] == ["mine/a@1", "mine/a", "mine/b c@1"]
    (take,) = tasks[0].read(*tasks[0].arguments)
    assert (take.id, take.video, take.motion) == ("mine/a@1", None, None)


def test_bad_entries_are_counted_and_skipped(folder: Path) -> None:
    entries: list[Any] = [
        {"video": "a.mp4", "title": "squat"},
        {"video": "a.mp4", "title": "squat again"},
        {"video": "gone.mp4", "title": "squat"},
        {"video": "a.mp4", "title": "12:30", "start": 1},
        {"video": "a.mp4", "title": None, "start": 1},
        {"video": "", "title": "squat"},
        {"video": 7, "title": "squat"},
        {"video": "a\0.mp4", "title": "squat"},
        {"video": "a.mp4", "title": "squat", "start": 3, "end": 2},
        {"video": "a.mp4", "title": "squat", "start": "NaN"},
        {"video": "a.mp4", "title": "squat", "start": -1},
        {"video": "a.mp4", "title": "squat", "start": "1:2:3:4"},
        {"video": "a.mp4", "title": "squat", "start": [1]},
        {"video": "a.mp4", "title": "squat", "start": 1, "split": "test"},
        {"video": "a.mp4", "title": "squat", "start": 1, "description": 5},
        {"video": "more", "title": "a folder"},
        {},
    ]
    path = write(folder / "mine.json", entries)
    listed = read(path, "mine")
    assert [take.id for take, _ in listed.clips] == ["mine/a"]
    counts = {kind: len(which) for kind, which in listed.problems.items()}
    assert counts == {"entries repeated": 1, "videos missing": 2, "entries malformed": 13}
    notes = list(source(path, Options()).notes(path))
    assert "videos missing: 2 (gone.mp4, more)" in notes
    assert any(note.startswith("entries malformed: 13 (entry 4 (the title '12:30' has no words") for note in notes)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "", "no column title and video"),
        ("m.csv", "film,title\na.mp4,squat\n", "no column video"),
        ("m.json", "", "cannot be read"),
        ("m.json", "[" * 100_000, "cannot be read"),
        ("m.json", '{"clips": 3}', "not a list of clips"),
        ("m.json", "[1, 2]", "not a list of clips"),
        ("m.json", '{"exercises": {"id": 1}}', "not a list of clips"),
        ("m.json", '"squat"', "not a list of clips"),
    ],
)
def test_file_that_is_not_a_manifest_is_an_error(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content), "mine")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "absent.csv", "mine")


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_random_bytes_are_a_manifest_or_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    entry = {"video": "a.mp4", "title": "squat", "start": "1:02", "display_names": ["x"], "id": 3}
    valid = [FULL.encode()] if suffix == "csv" else [json.dumps(x).encode() for x in ([entry], {"exercises": [entry]})]

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(valid))
    def try_one(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(DataError):
            assert not read(path, "mine").clips

    try_one()


@pytest.mark.parametrize(
    ("text", "value"), [("12.5", 12.5), (3, 3.0), ("1:02", 62.0), ("1:02:03.5", 3723.5), ("", None), (None, None)]
)
def test_times_are_parsed(text: object, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["x", "1:", "inf", "nan", "-3", "1:2:3:4", "1e9", [1], True])
def test_malformed_times_are_errors(text: object) -> None:
    with pytest.raises(ValueError, match="not a time"):
        seconds(text)


def test_gymnai_layout_is_read(tmp_path: Path) -> None:
    exercises = [
        {"id": "squat", "display_names": ["Squat", "Air Squat"], "description": "person squatting"},
        {"id": "deadlift", "display_names": ["Deadlift"], "video_filename": "deadlifts.mp4", "filename": "d.png"},
        {"id": "gone", "display_names": ["Gone"], "description": "x"},
        {"id": "nameless", "display_names": []},
    ]
    path = tmp_path / "gymnai" / "manifest.json"
    for name in ("squat", "deadlifts"):
        write_video(path.with_name(f"{name}.mp4"), 1)
    write(path, {"base_url": "-", "exercises": exercises})
    made = gymnai_source(Options(tower=None, pose=False))
    assert made.find(tmp_path) == path
    assert made.find(tmp_path / "gymnai") is None
    given = [take for task in made.tasks(path) for take in task.read(*task.arguments)]
    assert [take.id for take in given] == ["gymnai/squat", "gymnai/deadlifts"]
    assert given[0].descriptions == ("person squatting", "Air Squat")
    assert len(list(made.notes(path))) == 2


def test_real_gymnai_manifest_is_read() -> None:
    path = data_root() / "gymnai" / "manifest.json"
    if not path.is_file():
        pytest.skip(f"gymnai is not under {data_root()}: set MUJO_DATA")
    assert len(rows(path)) == 176
    listed = read(path, "gymnai")
    assert len(listed.clips) == 37
    assert {kind: len(which) for kind, which in listed.problems.items()} == {"videos missing": 139}
    bare, cut = next((take, cut) for take, cut in listed.clips if take.id == "gymnai/squat")
    assert bare.name == "Barbell Back Squat"
    (take,) = takes(bare, replace(cut, stop_s=2.0), Options(pose=False))
    assert take.video is not None
    assert take.video.shape == (8, 1280)
