"""`python -m training.fimad` from the command line, and the pictures of `inspect`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_takes import in_turn, made_clip, made_source
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console
from typer.testing import CliRunner

from mujo_edge.core import DataError, UsageError
from training.corpora.registry import data_root
from training.fimad import __main__ as cli
from training.fimad import inspect as inspection
from training.fimad.clip import Source
from training.fimad.shards import encode, read, write_shards
from training.fimad.sources import sources

runner = CliRunner()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "console", Console(stderr=True, width=250))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Source:
    """The only source, in `tmp_path / "data"`."""
    source = made_source(tmp_path / "data", 3, p1="broken")
    monkeypatch.setattr(cli, "sources", lambda options=None, manifests=(): {"made": source})
    monkeypatch.setattr(cli, "engine", lambda name: in_turn)
    return source


def call(*arguments: object, code: int = 0) -> str:
    """Output of a command, stdout and stderr."""
    result = runner.invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def numbers(output: str) -> list[str]:
    """The row "made" of the table of numbers, not of the progress bar with its "3/3"."""
    lines = [line.split() for line in output.splitlines() if "/" not in line]
    return next(words[1:] for words in lines if words[:1] == ["made"])


def test_build_stats_and_inspect_commands_work(made, tmp_path):
    output = call("build", "out", "--jobs", "1", "--timings", "speed.json")
    assert "3/3" in output
    assert "9 clips, 1 left out" in output
    assert "left out: made: person 1:" in output
    assert "is cut off fetch it again" in output
    assert numbers(output) == ["9", "5", "4", "3", "2", "0.01", "9", "9", "0", "9"]
    assert numbers(call("stats", "out")) == numbers(output)

    speed = json.loads(Path("speed.json").read_text())
    assert (speed["clips"], speed["jobs"]) == (9, 1)
    assert speed["clips_per_s"] == pytest.approx(9 / speed["wall_s"], rel=0.05)
    built = json.loads(Path("out/build.json").read_text())
    assert built["config"]["sources"]["made"]["citation"] == "nobody 2026"
    assert {"git_commit", "packages", "created"} <= set(built)

    assert "Drew made/p2 t1 to made-p2 t1.png" in call("inspect", "P2 T1", "--shards", "out")
    assert imread("made-p2 t1.png").std() > 0.05


def test_progress_is_logged_as_lines_without_a_terminal(made, monkeypatch):
    monkeypatch.setattr(cli, "LOG_S", 0.0)
    output = call("build", "out")
    assert "made: 2 of 3 tasks, 5 clips" in output


def test_interrupted_build_says_how_to_resume(made, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.builder, "build", interrupted)
    assert "stopped; the same command resumes from here" in call("build", "out", code=130)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("build", "out", "--source", "tv"), 2, "no source is called 'tv'. Choose from: made"),
        (("build", "out", "--jobs", "0"), 2, "jobs"),
        (("stats", "nowhere"), 4, "nowhere holds no shards"),
        (("inspect", "x", "--shards", "nowhere"), 4, "nowhere holds no shards"),
    ],
)
def test_user_errors_are_one_line(made, arguments, code, message):
    output = call(*arguments, code=code)
    assert message in output
    assert "Traceback" not in output


def test_unknown_engine_is_a_usage_error(tmp_path):
    assert "Choose from: processes, ray" in call("build", "out", "--engine", "slurm", code=2)


def test_missing_sources_are_listed_and_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJO_DATA", str(tmp_path))
    output = call("list")
    for name, source in sources().items():
        line = next(line for line in output.splitlines() if line.split()[:1] == [name])
        assert "not here" in line
        assert source.license in line
    assert "was not found under" in call("build", "out", "--source", "hdm05", code=4)
    assert "no source of clips was found" in call("build", "out", code=4)


def test_damaged_list_is_reported_and_does_not_hide_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJO_DATA", str(tmp_path))
    (tmp_path / "gymnai").mkdir()
    (tmp_path / "gymnai" / "manifest.json").write_text('{"exercises": [')
    output = call("list")
    assert next(line for line in output.splitlines() if line.split()[:1] == ["gymnai"]).split()[4] == "damaged"
    assert "manifest.json cannot be read" in output
    assert "hdm05" in output
    output = call("build", "out", code=4)
    assert "manifest.json cannot be read" in output
    assert "not one clip could be made" in output


def test_real_photos_and_texts_reach_the_picture(tmp_path, monkeypatch):
    """Four exercises of the real set: texts and photos, through shards into a picture with both photos."""
    real = sources()["free_exercise_db"].find(data_root())
    if real is None:
        pytest.skip("free_exercise_db is not under MUJO_DATA")
    folder = tmp_path / "data" / "free_exercise_db"
    folder.mkdir(parents=True)
    for archive in real.parent.glob("*.zip"):
        shutil.copy(archive, folder)
    (folder / real.name).write_text(json.dumps(json.loads(real.read_text())[:4]))
    monkeypatch.setenv("MUJO_DATA", str(tmp_path / "data"))
    call("build", "out", "--tower", "none", "--jobs", "1")
    clips = list(read(Path("out")))
    assert len(clips) == 4
    assert all(clip.has("text") and not clip.has("imu") for clip in clips)
    source = sources()["free_exercise_db"]
    clip, task = inspection.find(Path("out"), clips[2].id)
    seen = inspection.pictures(source, source.find(tmp_path / "data"), task)
    assert len(seen) == 2
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for _, picture in seen)
    call("inspect", clip.id, "--shards", "out", "--out", "photos.png")
    assert imread("photos.png").std() > 0.05


def test_clips_are_found_by_id_or_unique_part(tmp_path):
    (tmp_path / "out").mkdir()
    write_shards(tmp_path / "out", "made", [encode([made_clip(i) for i in range(12)])], {})
    find = inspection.find
    assert find(tmp_path / "out", "made/clip 1")[0].id == "made/clip 1", "though clip 10 and 11 hold that name too"
    assert find(tmp_path / "out", "CLIP 7")[0].id == "made/clip 7"
    with pytest.raises(UsageError, match=r"12 clips are called 'clip': .* and 8 more. Name one"):
        find(tmp_path / "out", "clip")
    with pytest.raises(UsageError, match=r"no clip in .* is called 'dance'"):
        find(tmp_path / "out", "dance")


@pytest.mark.parametrize("number", [5, 6])
def test_pictures_for_every_combination_of_modalities(tmp_path, number):
    clip = made_clip(number)
    inspection.draw(clip, [], tmp_path / "clip.png")
    bare = replace(clip, pose=None, imu={}, real_imu={}, video=None)
    inspection.draw(bare, [], tmp_path / "bare.png")
    tall, short = (imread(tmp_path / name).shape[0] for name in ("clip.png", "bare.png"))
    assert tall > short


def test_title_with_math_characters_is_drawn(tmp_path):
    clip = replace(
        made_clip(2), pose=None, imu={}, title="lift $x_{ and more", texts=("$\\frac{ 50% \\", "a" * 500), id="made/$^$"
    )
    inspection.draw(clip, [("$_$", np.zeros((4, 6, 3), np.uint8))], tmp_path / "clip.png")


def test_unwritable_picture_is_an_error(tmp_path):
    clip = replace(made_clip(2), pose=None, imu={})
    with pytest.raises(DataError, match=r"Name a \.png"):
        inspection.draw(clip, [], tmp_path / "clip.docx")
    with pytest.raises(DataError, match="cannot be written"):
        inspection.draw(clip, [], tmp_path / "no" / "clip.png")


def test_skeleton_is_drawn_from_the_front(tmp_path):
    """A person facing the viewer has the left hand on the right of the picture, for any heading."""
    clip = made_clip(2)
    left, right = 6, 10
    for degrees in (0, 90, 200):
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        seen = inspection.project((clip.pose @ turn).astype(np.float32), flat=False)
        assert (seen[:, left, 0] > seen[:, right, 0]).all()
        np.testing.assert_array_equal(seen[..., 1], (clip.pose @ turn).astype(np.float32)[..., 2])
    figure = Figure()
    inspection.draw_skeleton(axes := figure.subplots(), np.full((20, 2), np.nan))
    assert len(axes.lines) == 19
