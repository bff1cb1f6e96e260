"""FiMAD's released files with videos of every kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fuzz import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_videos import write_video

from mujo_edge.core import DataError
from training.corpora import data_root
from training.fimad import shards
from training.fimad.build import build
from training.fimad.sources.fimad_release import LANGUAGE, LINKS, SPLIT, chapters_of, clip_ids, read, source
from training.fimad.video import Cut, Options

A, B, C, D = "aaaaaaaaaaa", "-b_bbbbbbbb", "ccccccccccc", "ddddddddddd"
CHAPTERS = [("Warm up", 0.0, 1.0), ("Push Ups", 1.0, 2.5), ("💪", 2.5, 4.0)]


def release(folder: Path, split: Mapping[str, Any], language: Mapping[str, Any] | None = None) -> Path:
    """FiMAD's files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPLIT).write_text(json.dumps(split))
    (folder / LINKS).write_text(f"https://www.youtube.com/watch?v={A}\nttps://www.youtube.com/watch?v=sit-ups_1\n")
    if language is not None:
        (folder / LANGUAGE).write_text(json.dumps(language))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release with malformed ids and four videos: one with chapters inside, one with chapters beside it, two cut."""
    split = {
        "train": [f"{A}___0", f"{A}___1", f"{A}___2", f"{A}___9", "sit-ups_1", f"{A}___1", 7, f"{D}___0"],
        "val": [f"{B}___1", f"{C}___3", f"{C}___4", f"{A}_f303___0", f"{A}___0"],
    }
    words = {
        f"{C}___3": {
            "chapter": "3. SQUATS!!",
            "normalized_chapter": "squat",
            "subtitles": ["go down", "and up"],
            "description": "A man bends his knees.",
        },
        f"{A}___1": {"Chapter": "Press-ups", "Subtitles": None},
        f"{A}___2": "not an object",
    }
    folder = release(tmp_path / "FiMAD", split, words)
    write_video(folder / "videos" / f"{A}.mkv", chapters=CHAPTERS)
    write_video(folder / "videos" / "deep" / f"Best workout [{B}].mp4")
    info = [{"title": title, "start_time": start, "end_time": stop} for title, start, stop in CHAPTERS]
    (folder / "videos" / "deep" / f"Best workout [{B}].info.json").write_text(json.dumps({"chapters": info}))
    write_video(folder / "videos" / f"{C}___3.mp4")
    write_video(folder / "videos" / f"{C}___4.mp4")
    (folder / "videos" / "notes.txt").write_text("x")
    return folder


def test_clips_of_available_videos_are_listed(folder: Path) -> None:
    listed = read(folder)
    actual = {take.id: (take.name, take.subject, take.split, cut) for take, cut in listed.clips}
    video_a, video_b = folder / "videos" / f"{A}.mkv", folder / "videos" / "deep" / f"Best workout [{B}].mp4"
    assert actual == {
        f"fimad/{A}___0": ("Warm up", A, "train", Cut(video_a, 0.0, 1.0)),
        f"fimad/{A}___1": ("Press-ups", A, "train", Cut(video_a, 1.0, 2.5)),
        f"fimad/{B}___1": ("Push Ups", B, "val", Cut(video_b, 1.0, 2.5)),
        f"fimad/{C}___3": ("squat", C, "val", Cut(folder / "videos" / f"{C}___3.mp4")),
    }
    (squat,) = (take for take, _ in listed.clips if take.subject == C)
    assert squat.descriptions == ("A man bends his knees.", "go down and up")


def test_unusable_clips_are_counted_by_kind(folder: Path) -> None:
    assert {kind: sorted(which) for kind, which in read(folder).problems.items()} == {
        "ids malformed": sorted(["sit-ups_1", "7", f"{A}_f303___0"]),
        "ids repeated": [f"{A}___1"],
        "val clips of a video in train": [f"{A}___0"],
        "links malformed": ["ttps://www.youtube.com/watch?v=sit-ups_1"],
        "chapters missing in their videos": [f"{A}___9"],
        "clips without a title": sorted([f"{A}___2", f"{C}___4"]),
        "clips without a video": [f"{D}___0"],
    }
    notes = list(source(Options()).notes(folder))
    assert notes[0] == "clips with a video: 4, links: 2"
    assert f"clips without a video: 1 ({D}___0)" in notes


def test_takes_are_cut_at_the_chapters(folder: Path) -> None:
    made = source(Options(tower=None, pose=False))
    assert made.find(folder.parent) == made.find(folder) == folder
    assert made.find(folder / "videos") is None
    tasks = {task.id: task for task in made.tasks(folder)}
    (take,) = tasks[f"fimad/{B}___1"].read(*tasks[f"fimad/{B}___1"].arguments)
    assert (take.id, take.corpus, take.split) == (f"fimad/{B}___1", "fimad", "val")


def test_damaged_video_affects_only_its_clips(folder: Path) -> None:
    video = folder / "videos" / f"{A}.mkv"
    video.write_bytes(video.read_bytes()[:100])
    listed = read(folder)
    assert {take.subject for take, _ in listed.clips} == {B, C}
    assert len(listed.problems["chapters unreadable"]) == 4
    info = folder / "videos" / "deep" / f"Best workout [{B}].info.json"
    for content in ("{", '{"chapters": [{"title": "x"}]}', '{"chapters": [3]}'):
        info.write_text(content)
        chapters_of.cache_clear()
        assert {take.subject for take, _ in read(folder).clips} == {C}


def test_chapters_are_the_titles_without_language_data(folder: Path) -> None:
    (folder / LANGUAGE).unlink()
    (folder / LINKS).unlink()
    names = {take.id: take.name for take, _ in read(folder).clips}
    assert names[f"fimad/{A}___1"] == "Push Ups"
    assert f"fimad/{C}___3" not in names


def test_release_is_built_to_shards(folder: Path, tmp_path: Path) -> None:
    """Chapters become clips with the publisher's split; a truncated video is one line of the log."""
    whole = write_video(folder / "videos" / f"{D}.mp4", chapters=[("Plank", 0.0, 4.0)])
    (folder / "videos" / f"{C}___3.mp4").write_bytes(whole.read_bytes()[:200])
    (progress,) = build([(source(Options(pose=False)), folder)], tmp_path / "shards")
    clips = {clip.id: clip for clip in shards.read(tmp_path / "shards")}
    assert {name: (clip.title, clip.split) for name, clip in clips.items()} == {
        f"fimad/{A}___0": ("warm-up", "train"),
        f"fimad/{A}___1": ("push-up", "train"),
        f"fimad/{B}___1": ("push-up", "val"),
        f"fimad/{D}___0": ("plank", "train"),
    }
    assert {name: clip.video.shape for name, clip in clips.items() if clip.video is not None} == {
        f"fimad/{A}___0": (4, 1280),
        f"fimad/{A}___1": (6, 1280),
        f"fimad/{B}___1": (6, 1280),
        f"fimad/{D}___0": (16, 1280),
    }
    assert [name for name, _ in progress.failures] == [f"fimad/{C}___3"]
    log = [json.loads(line) for line in (tmp_path / "shards" / "failures.jsonl").read_text().splitlines()]
    assert [(line["id"], "cannot be decoded" in line["what"]) for line in log] == [(f"fimad/{C}___3", True)]


@pytest.mark.parametrize("content", ["", "[]", '{"train": []}', '{"train": [], "val": {}}', "\xff"])
def test_damaged_split_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / SPLIT).write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=SPLIT):
        read(tmp_path)


def test_random_bytes_are_metadata_or_an_error(tmp_path: Path) -> None:
    words = {f"{A}___0": {"chapter": ["x"], "description": "A squat."}}
    folder = release(tmp_path, {"train": [f"{A}___0"], "val": [f"{B}___0"]}, words)
    files = [folder / name for name in (SPLIT, LINKS, LANGUAGE)]
    whole = {file: file.read_bytes() for file in files}

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(files), damaged(list(whole.values())))
    def try_one(file: Path, content: bytes) -> None:
        file.write_bytes(content)
        with suppress(DataError):
            assert not read(folder).clips
        file.write_bytes(whole[file])

    try_one()


def test_damaged_language_data_is_an_error(folder: Path) -> None:
    for content in ("[]", "{"):
        (folder / LANGUAGE).write_text(content)
        with pytest.raises(DataError, match=LANGUAGE):
            read(folder)


def test_real_release_is_read() -> None:
    path = data_root() / "fimad"
    if not (path / SPLIT).is_file():
        pytest.skip(f"fimad is not under {data_root()}: set MUJO_DATA")
    split, problems = clip_ids(path)
    assert list(split.values()).count("train") == 8227 - 4
    assert list(split.values()).count("val") == 1584
    assert problems["ids malformed"] == ["8BEJ24Le8Rk_f303___0", "8BEJ24Le8Rk_temp___0", "sit-ups_1", "sit-ups_2"]
    assert {kind: len(which) for kind, which in problems.items()} == {"ids malformed": 4, "links malformed": 4}
    assert next(iter(source(Options()).notes(path))).endswith(", links: 1,388")
