"""The user's own list of video clips in CSV or JSON, and gymnai's manifest.

CSV: a header with `video` and `title`, and any of `start`, `end` (seconds, or h:mm:ss), `description`, `subject` and
`split` (train or val). JSON: a list of objects with these keys, alone or under "clips". gymnai-exercise-images
(github.com/mmuno/gymnai-exercise-images, `manifest.json`): "exercises", each with `id`, `display_names`,
`description` and, unless it is `id`.mp4, `video_filename`. Paths of videos are relative to the manifest.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from mujo_edge.core import DataError
from training.fimad.clip import Source, Split, Take, Task
from training.fimad.titles import normalize_title
from training.fimad.video import Cut, Options, takes

LONGEST_S = 1e6
"""Maximum time in a video."""
SHOWN = 3
"""Number of problems of each kind that are listed individually."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of clips: those whose video exists, and the problems of the others by kind."""

    clips: tuple[tuple[Take, Cut], ...]
    problems: Mapping[str, Sequence[str]]

    def notes(self) -> Iterator[str]:
        """One line per kind of problem: the count and the first `SHOWN`."""
        for kind, which in self.problems.items():
            more = ", ..." if len(which) > SHOWN else ""
            yield f"{kind}: {len(which):,} ({', '.join(which[:SHOWN])}{more})"

    def tasks(self, options: Options) -> Iterator[Task]:
        """One task per clip."""
        return (Task(take.id, takes, (take, cut, options)) for take, cut in self.clips)


def read(path: Path, corpus: str) -> Listed:
    """All clips of a manifest. Raises `DataError` if the file as a whole is not a manifest."""
    problems, clips, names = defaultdict(list), [], Counter[str]()
    for number, row in enumerate(rows(path), 1):
        where = f"entry {number}"
        try:
            take, cut = clip(row, path.parent, corpus)
        except (ValueError, TypeError, DataError) as error:
            problems["entries malformed"].append(f"{where} ({error})")
            continue
        names[take.id] += 1
        if names[take.id] > 1:
            problems["entries repeated"].append(f"{where} ({take.id})")
        elif not cut.path.is_file():
            problems["videos missing"].append(cut.path.name)
        else:
            clips.append((take, cut))
    return Listed(tuple(clips), problems)


def rows(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a manifest; those of a CSV have at least `video` and `title`. Raises `DataError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            table = csv.DictReader(StringIO(text, newline=""), skipinitialspace=True)
            entries: Any = list(table)
            if missing := {"video", "title"} - set(table.fieldnames or ()):
                raise DataError(f"{path} has no column {' and '.join(sorted(missing))}. Name the columns in line 1")
            return entries
        content = json.loads(text)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Give a CSV or JSON manifest") from None
    if isinstance(content, dict) and "exercises" in content:
        return [gymnai(entry) for entry in objects(content["exercises"], path)]
    return objects(content["clips"] if isinstance(content, dict) and "clips" in content else content, path)


def objects(entries: Any, path: Path) -> list[Mapping[str, Any]]:
    """`entries` if they are a list of objects. Raises `DataError`."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is not a list of clips. Give objects with video, start, end, title and description")
    return entries


def gymnai(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An exercise of gymnai's manifest as an entry; its alternative names become descriptions."""
    title, *others = entry.get("display_names") or [None]
    return {
        "video": entry.get("video_filename") or f"{entry.get('id')}.mp4",
        "title": title,
        "description": [entry.get("description"), *others],
    }


def clip(row: Mapping[str, Any], folder: Path, corpus: str) -> tuple[Take, Cut]:
    """The take and cut of one entry. Raises `ValueError`, `TypeError` or `DataError` describing the problem."""
    video, title = row.get("video"), row.get("title")
    if not isinstance(video, str) or not video.strip() or "\0" in video:
        raise ValueError("it names no video")
    if not isinstance(title, str):
        raise ValueError("it has no title")
    normalize_title(title)
    start_s, stop_s = seconds(row.get("start")) or 0.0, seconds(row.get("end"))
    if stop_s is not None and stop_s <= start_s:
        raise ValueError("it ends before it starts")
    split = row.get("split") or None
    if split not in (None, *get_args(Split)):
        raise ValueError(f"its split is {split!r}, neither train nor val")
    texts = row.get("description") or ()
    texts = [texts] if isinstance(texts, str) else list(texts)
    path = folder / video.strip()
    take = Take(
        id=f"{corpus}/{path.stem}" + (f"@{start_s:g}" if start_s else ""),
        corpus=corpus,
        name=title,
        subject=str(row.get("subject") or path.stem),
        descriptions=tuple(text for text in texts if isinstance(text, str) and text.strip()),
        split=split,
    )
    return take, Cut(path, start_s, stop_s)


def seconds(value: Any) -> float | None:
    """Seconds from a number, "12.5" or "1:02:03"; None for None and "". Raises `ValueError`."""
    if value is None or value == "":
        return None
    try:
        *larger, last = (float(part) for part in str(value).split(":"))
    except ValueError:
        raise ValueError(f"{value!r} is not a time in seconds or h:mm:ss") from None
    total = last
    for power, part in enumerate(reversed(larger), 1):
        total += part * 60**power
    if not 0 <= total < LONGEST_S or len(larger) > 2:
        raise ValueError(f"{value!r} is not a time in seconds or h:mm:ss")
    return total


def source(path: Path, options: Options) -> Source:
    """The user's manifest at `path` as a source, named after the file, or after its folder if that is "manifest"."""
    name = path.resolve().parent.name if path.stem == "manifest" else path.stem
    return Source(
        name=name,
        title=f"the manifest {path.name}",
        license="the user's",
        open_license=True,
        citation="none",
        home=str(path),
        find=lambda root: path if path.is_file() else None,
        tasks=partial(_tasks, corpus=name, options=options),
        notes=partial(_notes, corpus=name),
    )


def gymnai_source(options: Options) -> Source:
    """gymnai's named exercises, in `gymnai/manifest.json` under the data folder."""
    return Source(
        name="gymnai",
        title="gymnai exercise images",
        license="MIT",
        open_license=True,
        citation="mmuno. gymnai-exercise-images. 2025.",
        home="https://github.com/mmuno/gymnai-exercise-images",
        find=lambda root: path if (path := root / "gymnai" / "manifest.json").is_file() else None,
        tasks=partial(_tasks, corpus="gymnai", options=options),
        notes=partial(_notes, corpus="gymnai"),
    )


def _tasks(path: Path, corpus: str, options: Options) -> Iterator[Task]:
    return read(path, corpus).tasks(options)


def _notes(path: Path, corpus: str) -> Iterator[str]:
    return read(path, corpus).notes()
