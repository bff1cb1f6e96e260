"""FiMAD's released files and a folder of its videos (github.com/R-tree/MuJo, README).

Layout: `train_val_split.json`, {"train": [...], "val": [...]} of clip ids `youtubeID___chapter`; `youtube_links.txt`,
one link per line; `language_data.json` (optional) maps a clip id to its chapter, normalized chapter, subtitles and
description. Titles and times of chapters are not released. They come from the videos: from yt-dlp's
`--embed-chapters`, or from its `--write-info-json` beside the video; chapters count from 0, as in the ids.

The folder `videos` beside the files (or their own folder) holds, at any depth, whole videos VIDEOID.mp4 (or yt-dlp's
"TITLE [VIDEOID].mp4"; other suffixes too), or clips already cut, VIDEOID___CHAPTER.mp4, which need
`language_data.json` for their titles.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, get_args

from mujo_edge.core import DataError
from training.fimad.clip import Source, Split, Take, Task
from training.fimad.sources.manifest import Listed
from training.fimad.titles import normalize_title
from training.fimad.video import SUFFIXES, Cut, Options, chapters

SPLIT, LINKS, LANGUAGE = "train_val_split.json", "youtube_links.txt", "language_data.json"
CLIP_ID = re.compile(r"(?P<video>[A-Za-z0-9_-]{11})___(?P<chapter>\d{1,4})")
LINK = re.compile(r"https?://(?:www\.)?(?:youtube\.com/watch\?v=|youtu\.be/)(?P<video>[A-Za-z0-9_-]{11})(?:&.*)?")
BRACKETS = re.compile(r".*\[(?P<video>[A-Za-z0-9_-]{11})\]")


@dataclass(frozen=True, slots=True)
class Language:
    """A clip's entry in `language_data.json`; absent parts are empty."""

    title: str
    descriptions: tuple[str, ...]


def read(path: Path) -> Listed:
    """All clips of FiMAD whose video is in the folder `path`. Raises `DataError` if one of FiMAD's files is damaged."""
    split, problems = clip_ids(path)
    language, videos = language_data(path), video_files(path)
    clips = []
    for clip_id, part in split.items():
        video, chapter = clip_id.split("___")
        if clip_id in videos:
            cut, title = Cut(videos[clip_id]), ""
        elif video in videos:
            try:
                listed = chapters_of(videos[video])
            except DataError as error:
                problems["chapters unreadable"].append(str(error))
                continue
            if int(chapter) >= len(listed):
                problems["chapters missing in their videos"].append(clip_id)
                continue
            title, cut = listed[int(chapter)]
        else:
            problems["clips without a video"].append(clip_id)
            continue
        words = language.get(clip_id, Language("", ()))
        name = words.title or title
        try:
            normalize_title(name)
        except DataError:
            problems["clips without a title"].append(clip_id)
            continue
        take = Take(f"fimad/{clip_id}", "fimad", name, video, words.descriptions, part)
        clips.append((take, cut))
    return Listed(tuple(clips), problems)


def clip_ids(path: Path) -> tuple[dict[str, Split], defaultdict[str, list[str]]]:
    """Well-formed clip ids with their split, and problems by kind. A video in both splits is kept in train only."""
    problems: defaultdict[str, list[str]] = defaultdict(list)
    content = read_json(path / SPLIT)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in get_args(Split)):
        raise DataError(f"{path / SPLIT} has no lists train and val. Fetch it again from github.com/R-tree/MuJo")
    split: dict[str, Split] = {}
    for part in get_args(Split):
        trained = {clip_id.split("___")[0] for clip_id in split} if part == "val" else set()
        for clip_id in content[part]:
            matched = CLIP_ID.fullmatch(clip_id) if isinstance(clip_id, str) else None
            if matched is None:
                problems["ids malformed"].append(str(clip_id)[:40])
            elif matched["video"] in trained:
                problems["val clips of a video in train"].append(clip_id)
            elif clip_id in split:
                problems["ids repeated"].append(clip_id)
            else:
                split[clip_id] = part
    for link in links(path):
        if LINK.fullmatch(link) is None:
            problems["links malformed"].append(link[-40:])
    return split, problems


def links(path: Path) -> list[str]:
    """The lines of `youtube_links.txt`; empty if it is absent."""
    file = path / LINKS
    return file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else []


def language_data(path: Path) -> dict[str, Language]:
    """Clip id -> its texts; empty without the file. Raises `DataError` if it does not map clip ids."""
    file = path / LANGUAGE
    if not file.is_file():
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file} does not map clip ids to texts. Ask the authors of FiMAD for it again")
    return {clip_id: language(entry) for clip_id, entry in content.items() if isinstance(entry, dict)}


def language(entry: Mapping[str, Any]) -> Language:
    """One clip's texts. The README lists the fields but not their exact keys, so keys are matched by their prefix."""
    chapter = normalized = ""
    descriptions: dict[str, str] = {}
    for key, value in entry.items():
        text = " ".join(part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str))
        match key.lower()[:4]:
            case "norm":
                normalized = text
            case "chap":
                chapter = text
            case "desc" | "subt" as kind:
                descriptions[kind] = text
    ordered = (descriptions.get(kind) for kind in ("desc", "subt"))
    return Language(normalized or chapter, tuple(text for text in ordered if text))


def video_files(path: Path) -> dict[str, Path]:
    """Video id or clip id -> file, for every video under `path`."""
    folder = path / "videos" if (path / "videos").is_dir() else path
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            bracketed = BRACKETS.fullmatch(file.stem)
            files[bracketed["video"] if bracketed else file.stem] = file
    return files


@lru_cache(maxsize=8)
def chapters_of(video: Path) -> list[tuple[str, Cut]]:
    """Title and cut of a video's chapters: from yt-dlp's .info.json beside it, otherwise from the video itself.

    Raises `DataError` if they cannot be read.
    """
    info = video.with_suffix(".info.json")
    if not info.is_file():
        return chapters(video)
    content = read_json(info)
    entries = content.get("chapters") if isinstance(content, dict) else None
    try:
        return [
            (str(entry["title"]), Cut(video, float(entry["start_time"]), float(entry["end_time"])))
            for entry in entries or ()
        ]
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{info} has malformed chapters. Fetch it again with yt-dlp --write-info-json") from None


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises `DataError` naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch the file again") from None


def find(root: Path) -> Path | None:
    """The folder with FiMAD's files: `root` or a subfolder."""
    return next((folder for folder in (*sorted(root.glob("*/")), root) if (folder / SPLIT).is_file()), None)


def source(options: Options) -> Source:
    """FiMAD, as far as the user has its videos."""
    return Source(
        name="fimad",
        title="FiMAD",
        license="none stated",
        open_license=False,
        citation="S. Fritsch et al. MuJo: Multimodal Joint Feature Space Learning for Human Activity Recognition. "
        "PerCom 2025, arXiv 2406.03857.",
        home="https://github.com/R-tree/MuJo",
        find=find,
        tasks=partial(_tasks, options=options),
        notes=_notes,
    )


def _tasks(path: Path, options: Options) -> Iterator[Task]:
    return read(path).tasks(options)


def _notes(path: Path) -> Iterator[str]:
    listed = read(path)
    yield f"clips with a video: {len(listed.clips):,}, links: {len(links(path)):,}"
    yield from listed.notes()
