"""Exercises with two photos in both layouts, and damaged ones."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mujo_edge.core import DataError
from training.corpora import data_root
from training.fimad.clip import Take
from training.fimad.sources.free_exercise_db import source
from training.fimad.video import Options

ENTRY = {
    "id": "Air_Squat",
    "name": "Air Squat",
    "equipment": "dumbbell",
    "primaryMuscles": ["quadriceps", "glutes"],
    "instructions": ["Bend your knees.", "Stand up."],
    "images": ["Air_Squat/0.jpg", "Air_Squat/1.jpg"],
}


def jpeg(gray: int, size: tuple[int, int] = (40, 30)) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((*size[::-1], 3), gray, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def publish(root: Path, zipped: bool, photos: dict[str, bytes], entries: object = (ENTRY,)) -> Path:
    """The publisher's repository, or the list beside a zip of the photos."""
    listed = root / "db" / ("" if zipped else "dist") / "exercises.json"
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps(entries))
    if zipped:
        with zipfile.ZipFile(root / "db" / "images.zip", "w") as archive:
            for name, content in photos.items():
                archive.writestr(name, content)
    else:
        for name, content in photos.items():
            file = root / "db" / "exercises" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return listed


def takes(root: Path, tower: str | None = "efficientnet-lite0") -> list[Take]:
    made = source(Options(tower=tower))
    path = made.find(root)
    assert path is not None
    return [take for task in made.tasks(path) for take in task.read(*task.arguments)]


PHOTOS = {"Air_Squat/0.jpg": jpeg(0), "Air_Squat/1.jpg": jpeg(255)}


@pytest.mark.parametrize("zipped", [True, False])
def test_folder_and_zip_layouts_are_read(tmp_path: Path, zipped: bool) -> None:
    publish(tmp_path, zipped, PHOTOS)
    (take,) = takes(tmp_path)
    assert (take.id, take.name, take.subject) == ("free_exercise_db/Air_Squat", "Air Squat", "Air_Squat")
    about, *instructions = take.descriptions
    assert about == "An exercise for the quadriceps and glutes with dumbbell."
    assert instructions == ENTRY["instructions"]
    assert take.video is not None
    assert take.video.shape == (2, 1280)
    assert not np.allclose(take.video[0], take.video[1])
    (words,) = takes(tmp_path, tower=None)
    assert (words.video, words.tower) == (None, "")


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ({"Air_Squat/0.jpg": PHOTOS["Air_Squat/0.jpg"]}, "no photo Air_Squat/1.jpg"),
        (PHOTOS | {"Air_Squat/1.jpg": b"no photo"}, "not a complete photo"),
        (PHOTOS | {"Air_Squat/1.jpg": PHOTOS["Air_Squat/1.jpg"][:300]}, "not a complete photo"),
        (PHOTOS | {"Air_Squat/1.jpg": jpeg(9, (9000, 6000))}, "larger than 50,000,000 pixels"),
    ],
)
def test_damaged_photos_are_errors(tmp_path: Path, photos: dict[str, bytes], message: str) -> None:
    publish(tmp_path, True, photos)
    with pytest.raises(DataError, match=message):
        takes(tmp_path)


@pytest.mark.parametrize("change", [{"id": None}, {"name": 3}, {"images": "0.jpg"}])
def test_malformed_exercise_is_an_error(tmp_path: Path, change: dict[str, object]) -> None:
    publish(tmp_path, True, PHOTOS, [ENTRY | change])
    with pytest.raises(DataError, match="lacks a valid id, name or images"):
        takes(tmp_path)


def test_malformed_list_is_an_error(tmp_path: Path) -> None:
    publish(tmp_path, True, PHOTOS, {"name": "x"})
    with pytest.raises(DataError, match="not a list"):
        takes(tmp_path)


def test_real_list_is_read() -> None:
    made = source(Options())
    path = made.find(data_root())
    if path is None:
        pytest.skip(f"free_exercise_db is not under {data_root()}: set MUJO_DATA")
    tasks = list(made.tasks(path))
    assert len({task.id for task in tasks}) == len(tasks) == 873
    (take,) = tasks[0].read(*tasks[0].arguments)
    assert take.name == "3/4 Sit-Up"
    assert take.video is not None
    assert take.video.shape == (2, 1280)
