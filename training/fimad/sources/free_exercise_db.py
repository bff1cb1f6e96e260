"""free-exercise-db: names, instructions and two photos (start and end position) of 873 exercises.

Layout (github.com/yuhonas/free-exercise-db): a list of exercises in `dist/exercises.json` (or beside the photos), each
with `id`, `name`, `instructions`, `primaryMuscles`, `equipment` and `images`, paths under the folder `exercises` or
in a zip of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mujo_edge.core import DataError
from training.corpora.files import Tree
from training.fimad.clip import Source, Take, Task
from training.fimad.sources.fimad_release import read_json
from training.fimad.sources.manifest import objects
from training.fimad.video import Options

EXERCISES = "exercises.json"
LARGEST_PX = 50_000_000
"""Maximum number of pixels of a photo."""


def find(root: Path) -> Path | None:
    """The `exercises.json` in `root` or up to two folders below."""
    return next((path for depth in ("", "*/", "*/*/") for path in sorted(root.glob(depth + EXERCISES))), None)


def photo_tree(path: Path) -> Path:
    """Path of the photos: a zip beside `exercises.json`, otherwise the folder that contains them."""
    return next(
        iter(sorted(path.parent.glob("*.zip"))), path.parent.parent if path.parent.name == "dist" else path.parent
    )


def tasks(path: Path, options: Options) -> Iterator[Task]:
    """One task per exercise. Raises `DataError` if the list is damaged."""
    photos = photo_tree(path)
    for number, entry in enumerate(objects(read_json(path), path)):
        yield Task(f"free_exercise_db/{entry.get('id', number)}", read, (entry, photos, options))


def read(entry: Mapping[str, Any], photos: Path, options: Options) -> Iterator[Take]:
    """The take of one exercise. Raises `DataError` for a malformed entry or photos that cannot be read."""
    id_, name, images = entry.get("id"), entry.get("name"), entry.get("images") or []
    if not isinstance(id_, str) or not isinstance(name, str) or not isinstance(images, list):
        raise DataError(f"exercise {str(id_)[:40]!r} lacks a valid id, name or images. Fetch {EXERCISES} again")
    take = Take(f"free_exercise_db/{id_}", "free_exercise_db", name, id_, descriptions(entry))
    if options.tower and images:
        from training.fimad.towers import load

        with Tree.open(photos) as tree:
            pictures = [photo(tree, str(image)) for image in images]
        take = replace(take, video=load(options.tower, options.weights).embed(pictures), tower=options.tower)
    yield take


def descriptions(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence on muscles and equipment, and the instructions."""
    muscles = " and ".join(str(muscle) for muscle in entry.get("primaryMuscles") or ())
    tool = entry.get("equipment")
    tool = f" with {tool}" if tool and tool not in ("other", "body only") else ""
    about = (f"An exercise for the {muscles}{tool}.",) if muscles else ()
    return (*about, *(text for text in entry.get("instructions") or () if isinstance(text, str)))


def photo(tree: Tree, name: str) -> np.ndarray:
    """(h, w, 3) uint8 RGB. Raises `DataError` naming the file."""
    from PIL import Image, ImageOps

    path = next((path for path, _ in tree.match(re.escape(name))), None)
    if path is None:
        raise DataError(f"{tree.path} has no photo {name}. Fetch the photos again")
    try:
        with Image.open(BytesIO(tree.read(path))) as image:
            if image.width * image.height > LARGEST_PX:
                raise DataError(f"{tree.where(path)} is larger than {LARGEST_PX:,} pixels. Make it smaller")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{tree.where(path)} is not a complete photo ({error}). Fetch it again") from None


def source(options: Options) -> Source:
    """Exercises with texts and features of two photos, without motion."""
    return Source(
        name="free_exercise_db",
        title="Free Exercise DB",
        license="public domain (Unlicense)",
        open_license=True,
        citation="O. Yuhonas and contributors. Free Exercise DB.",
        home="https://github.com/yuhonas/free-exercise-db",
        find=find,
        tasks=partial(tasks, options=options),
    )
