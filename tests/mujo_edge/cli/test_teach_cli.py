"""`mujo-edge teach` as a program: from a recording, changed, refused, and a guided session on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from mujo_edge.sources.replay import shipped_recording

SPAR = shipped_recording()
Run = Callable[..., subprocess.CompletedProcess[str]]


def runner(data: Path) -> Run:
    """Runs mujo-edge with a data folder of its own."""

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mujo_edge", *map(str, args)]
        env = {**os.environ, "XDG_DATA_HOME": str(data), "COLUMNS": "200"}
        return subprocess.run(
            command, capture_output=True, text=True, env=env, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    return call


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path / "data")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the label set mine."""
    data = tmp_path_factory.mktemp("taught") / "data"
    taught(runner(data), "--from", SPAR)
    return data


def taught(run: Run, *args: object) -> dict[str, object]:
    done = run("teach", "mine", "--json", *args)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def labels(result: dict[str, object]) -> list[str]:
    movements = result["labels"]
    assert isinstance(movements, list)
    return [one["label"] for one in movements]


def test_recording_becomes_a_label_set_that_streams_and_exports_by_name(run: Run, tmp_path: Path) -> None:
    result = taught(run, "--from", SPAR, "--with", "gym-wrist: squat")
    assert len(labels(result)) == 7
    assert isinstance(result["macro_f1"], float)
    assert result["macro_f1"] > 0.8
    assert result["borrowed"] == [{"label_set": "gym-wrist", "label": "squat"}]
    lines = run("stream", "--labels", "mine", "--speed", "max", "--replay", SPAR).stdout.splitlines()
    summary = json.loads(lines[-1])
    assert summary["label_set"] == "mine"
    assert summary["labels"][-2:] == ["squat", "unknown"]
    assert summary["accuracy"]["share"] > 0.9
    assert "mine (taught, of mujo-student" in run("models", "list").stdout
    done = run("export", "--target", "mcu", "--labels", "mine", "--out", tmp_path / "kit")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "kit" / "mcu" / "mujo.json").read_text())["default_label_set"] == "mine"


def test_movements_are_removed_and_added(run: Run) -> None:
    before = labels(taught(run, "--from", SPAR))
    fewer = taught(run, "--remove", "pendulum", "--with", "gym-wrist: squat")
    assert labels(fewer) == [label for label in before if label != "pendulum"]
    more = taught(run, "--add", "pendulum", "--from", SPAR)
    assert sorted(labels(more)) == sorted(before)
    assert more["borrowed"] == [{"label_set": "gym-wrist", "label": "squat"}]
    assert taught(run, "--remove", "squat")["borrowed"] == []


def test_trial_saves_nothing(run: Run, tmp_path: Path) -> None:
    assert taught(run, "--from", SPAR, "--test")["file"] is None
    assert not list((tmp_path / "data").rglob("*.json"))


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("gym-wrist", "--from", SPAR), 2, "has a label set gym-wrist already"),
        (("../x", "--from", SPAR), 2, "cannot be the name"),
        (("new", "--add", "squat", "--from", SPAR), 2, "there is no label set new to change"),
        (("new", "--with", "gym-wrist", "--from", SPAR), 2, "gym-wrist: squat, lunge"),
        (("new", "--with", "gym-wrist: fly", "--from", SPAR), 2, "no label 'fly' in gym-wrist"),
        (("new", "--from", SPAR, "--out", "nowhere/x.json"), 2, "there is no folder nowhere"),
        (("new",), 2, "give a source for the session"),
        (("new", "--from", SPAR, "--replay", SPAR), 2, "leave --ble"),
        (("mine", "--from", SPAR), 2, "label set mine exists"),
        (("mine", "--remove", "fly"), 2, "has no 'fly'; it has: pendulum"),
        (("mine", "--add", "fly", "--from", SPAR), 4, "have no 'fly'; they have: pendulum"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(
    run: Run, mine: Path, tmp_path: Path, args: tuple[object, ...], code: int, words: str
) -> None:
    shutil.copytree(mine, tmp_path / "data")
    (file,) = (tmp_path / "data").rglob("*.json")
    before = file.read_bytes()
    done = run("teach", *args)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert words in done.stderr
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [file]
    assert file.read_bytes() == before


def test_damaged_file_and_one_of_another_bundle_are_explained(run: Run, mine: Path, tmp_path: Path) -> None:
    shutil.copytree(mine, tmp_path / "data")
    (file,) = (tmp_path / "data").rglob("*.json")
    whole = json.loads(file.read_text())
    cases: list[tuple[dict[str, object], str]] = [
        ({"bundle": whole["bundle"] | {"version": "9"}}, "was fitted with mujo-student 9"),
        ({"taught": whole["taught"] | {"takes": []}}, "is damaged"),
        ({"taught": whole["taught"] | {"takes": [whole["taught"]["takes"][0] | {"windows": [[1.0]]}]}}, "96 values"),
    ]
    for change, words in cases:
        file.write_text(json.dumps(whole | change))
        for args in (("teach", "mine", "--remove", "pendulum"), ("stream", "--labels", "mine", "--replay", SPAR)):
            done = run(*args)
            assert (done.returncode, words in done.stderr) == (4, True), done.stderr


def test_session_on_a_terminal_teaches_two_movements(run: Run, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    args = [sys.executable, "-m", "mujo_edge", "teach", "mine", "--replay", str(SPAR), "--speed", "4"]
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "TERM": "xterm-256color", "COLUMNS": "200"}
    began_s, shown = monotonic(), ""

    def until(words: str) -> None:
        nonlocal shown
        while words not in shown:
            shown += os.read(leader, 1 << 16).decode()
        shown = shown.partition(words)[2]

    with subprocess.Popen(args, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        for movement in ("swing", "lift"):
            until("Name of the movement")
            os.write(leader, f"{movement}\n".encode())
            until("go\r\n")
            until(" 9 windows")
            os.write(leader, b"\n")
            until(f"{movement}: ")
        until("Name of the movement")
        os.write(leader, b"\n")
        until("anything else")
        until("background: ")
        with suppress(OSError):  # the other end is closed
            while data := os.read(leader, 1 << 16):
                shown += data.decode()
    os.close(leader)
    assert (process.returncode, "Traceback" in shown) == (0, False)
    assert "macro-F1" in shown
    assert monotonic() - began_s < 110
    lines = run("stream", "--labels", "mine", "--speed", "max", "--replay", SPAR).stdout.splitlines()
    assert json.loads(lines[-1])["labels"] == ["swing", "lift", "background", "unknown"]


def test_keys_label_a_recording_that_teaches(run: Run, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    out = tmp_path / "session"
    source = ["--replay", str(SPAR), "--speed", "8", "--duration", "100"]
    args = [sys.executable, "-m", "mujo_edge", "record", str(out), *source, "--label-keys", "swing,lift"]
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(args, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        shown = ""
        pressed = 0
        with suppress(OSError):  # the other end is closed
            while data := os.read(leader, 1 << 16):
                shown += data.decode(errors="ignore")
                samples = out / "samples.csv"
                seconds = samples.read_text().count("\n") / 50 if samples.exists() else 0.0
                for key, at_s in zip("1120", (10.0, 30.0, 40.0, 60.0), strict=True):
                    due = [at for at in (10.0, 30.0, 40.0, 60.0) if seconds >= at]
                    if pressed < len(due) and at_s == due[pressed]:
                        os.write(leader, key.encode())
                        pressed += 1
    os.close(leader)
    assert (process.returncode, pressed, "Traceback" in shown) == (0, 4, False)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert all(f" label {label}" in plain for label in ("none", "swing", "lift"))
    result = taught(run, "--from", out)
    assert labels(result) == ["swing", "lift"]
    movements = result["labels"]
    assert isinstance(movements, list)
    assert all(10 < one["seconds"] < 30 and one["takes"] == 1 for one in movements)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("a,,b", "cannot be a label"),
        ("a,a", "there twice"),
        ("a,b,c,d,e,f,g,h,i,j", "nine keys"),
        ("unknown", "cannot"),
    ],
)
def test_unfit_label_keys_are_explained(run: Run, tmp_path: Path, keys: str, words: str) -> None:
    done = run("record", tmp_path / "session", "--replay", SPAR, "--label-keys", keys)
    assert (done.returncode, words in done.stderr) == (2, True)
    assert not (tmp_path / "session").exists()
