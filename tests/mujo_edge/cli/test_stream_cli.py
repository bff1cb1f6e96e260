"""`mujo-edge stream` and `record` as a user runs them, in separate processes, with good and bad input."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import AXES, motion, write_bundle
from syrupy.assertion import SnapshotAssertion

from mujo_edge.bundle.store import shipped_bundles
from mujo_edge.recordings.reader import open_recording

ROOT = Path(__file__).parents[3]
HEADER = "t_s,ax_m_s2,ay_m_s2,az_m_s2,gx_rad_s,gy_rad_s,gz_rad_s,label"


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "mujo_edge", *map(str, args)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONWARNINGS": "error::ResourceWarning"}


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), capture_output=True, text=True, env=environment(), timeout=120, check=False)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "axis")


def write_csv(path: Path, t_s: np.ndarray, x: np.ndarray, truth: tuple[str, ...], header: str = HEADER) -> Path:
    rows = [
        f"{t!r},{','.join(map(repr, row))},{label}"
        for t, row, label in zip(t_s.tolist(), x.tolist(), truth, strict=True)
    ]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s: each axis up for 4 s."""
    return write_csv(tmp_path_factory.mktemp("recordings") / "walk.csv", *motion([0, 1, 2], 4.0))


def stream(bundle: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return run("stream", "--bundle", bundle, "--runtime", "onnx", *args)


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "rich.live", "ai_edge_litert", "asyncio"}
    script = f"import sys, mujo_edge.cli\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["stream", "record"])
def test_help(name: str, snapshot: SnapshotAssertion) -> None:
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot


def test_version() -> None:
    from mujo_edge import __version__

    assert run("--version").stdout == f"mujo-edge {__version__}\n"


@pytest.mark.parametrize("speed", ["max", "20"])
def test_users_recording_is_recognized(bundle: Path, walk: Path, speed: str) -> None:
    done = stream(bundle, "--replay", walk, "--speed", speed)
    assert (done.returncode, done.stderr) == (0, "")
    *predictions, summary = records(done.stdout)
    assert [line["end_s"] for line in predictions] == [round(2.98 + i / 2, 2) for i in range(19)]
    assert [line["label"] for line in predictions if line["truth"]] == [axis for axis in AXES for _ in range(3)]
    assert (summary["type"], summary["ended"], summary["predictions"]) == ("summary", "end", 19)
    assert summary["accuracy"] == {"share": 1.0, "right": 9, "of": 9}
    assert (summary["bundle"], summary["runtime"], summary["source"]) == ("axis 1.0", "onnx", "walk.csv")


def test_duration_option_ends_the_stream(bundle: Path, walk: Path) -> None:
    summary = records(stream(bundle, "--replay", walk, "--speed", "max", "--duration", "4").stdout)[-1]
    assert (summary["ended"], summary["samples"], summary["predictions"]) == ("duration", 200, 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_with_a_summary(bundle: Path, walk: Path, number: signal.Signals) -> None:
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk)
    with subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    lines = records(first + rest)
    assert lines[0]["type"] == "prediction"
    assert (lines[-1]["type"], lines[-1]["ended"]) == ("summary", "interrupted")


def test_closed_pipe_ends_the_stream_quietly(bundle: Path, walk: Path) -> None:
    args = " ".join(command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "8"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{args} | head -1"],
        capture_output=True, text=True, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line["type"] for line in records(done.stdout)] == ["prediction"]


def test_terminal_gets_the_live_screen(bundle: Path, walk: Path) -> None:
    leader, follower = pty.openpty()
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "8")
    env = {**environment(), "TERM": "xterm-256color"}
    with subprocess.Popen(args, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                shown += os.read(leader, 1 << 16)
            except OSError:  # the other end is closed
                break
    os.close(leader)
    text = shown.decode()
    assert process.returncode == 0
    screen, _, after = text.rpartition("\x1b[?1049l")
    assert "X   U P" in screen
    assert "true label" in screen
    assert "19 predictions" in after


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_live_screen_works_in_any_encoding(bundle: Path, walk: Path, encoding: str) -> None:
    leader, follower = pty.openpty()
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "16")
    env = {**environment(), "TERM": "xterm-256color", "PYTHONIOENCODING": encoding}
    with subprocess.Popen(args, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        shown = b""
        with suppress(OSError):  # the other end is closed
            while data := os.read(leader, 1 << 16):
                shown += data
    os.close(leader)
    text = shown.decode(encoding)
    assert (process.returncode, "Traceback" in text) == (0, False)
    assert ("#" if encoding != "utf-8" else "█") in text
    assert "19 predictions" in text


def test_last_screen_is_saved_as_a_picture(bundle: Path, walk: Path, tmp_path: Path) -> None:
    done = stream(bundle, "--replay", walk, "--speed", "max", "--screenshot", tmp_path / "screen.svg")
    assert done.returncode == 0
    assert "<svg" in (tmp_path / "screen.svg").read_text(encoding="utf-8")


def samples(path: Path) -> tuple[bytes, bytes]:
    chunks = list(open_recording(path).chunks())
    return np.concatenate([chunk.t_s for chunk in chunks]).tobytes(), np.concatenate(
        [chunk.x for chunk in chunks]
    ).tobytes()


def test_recording_needs_no_option(bundle: Path, walk: Path) -> None:
    plain, replayed = stream(bundle, walk, "--speed", "max"), stream(bundle, "--replay", walk, "--speed", "max")
    assert (plain.returncode, plain.stderr) == (0, "")
    labels = [[line.get("label") for line in records(done.stdout)] for done in (plain, replayed)]
    assert labels[0] == labels[1]
    both = stream(bundle, walk, "--replay", walk)
    assert (both.returncode, both.stderr) == (2, f"mujo-edge: {walk} and --replay {walk}: give one recording\n")


def test_recording_of_two_devices_names_the_folder_of_each(bundle: Path, walk: Path, tmp_path: Path) -> None:
    for number in ("1", "2"):
        assert run("record", tmp_path / "both" / number, "--replay", walk, "--speed", "max").returncode == 0
    done = stream(bundle, tmp_path / "both")
    assert done.returncode == 2
    assert f"2 recordings, one of each device: {tmp_path / 'both' / '1'}, {tmp_path / 'both' / '2'}" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_recorded_session_replays_bit_for_bit(bundle: Path, walk: Path, tmp_path: Path) -> None:
    plain = run("record", tmp_path / "a", "--replay", walk, "--speed", "max")
    reference = stream(bundle, "--replay", walk, "--speed", "max", "--record", tmp_path / "b")
    assert (plain.returncode, plain.stderr, reference.returncode, reference.stderr) == (0, "", 0, "")
    assert samples(tmp_path / "a") == samples(tmp_path / "b") == samples(walk)
    again = stream(bundle, "--replay", tmp_path / "a", "--speed", "max")
    assert [line["label"] for line in records(again.stdout)[:-1]] == [
        line["label"] for line in records(reference.stdout)[:-1]
    ]


def test_session_is_never_overwritten(walk: Path, tmp_path: Path) -> None:
    run("record", tmp_path / "a", "--replay", walk, "--speed", "max")
    before = samples(tmp_path / "a")
    done = run("record", tmp_path / "a", "--replay", walk, "--speed", "max")
    assert done.returncode == 2
    assert "already holds a recording" in done.stderr
    assert samples(tmp_path / "a") == before


def test_killed_recording_loses_at_most_the_last_second(walk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    begun = time.monotonic()
    with subprocess.Popen(
        command("record", folder, "--replay", walk), stdout=subprocess.PIPE, env=environment()
    ) as process:
        while not (folder / "samples.csv").exists() or (folder / "samples.csv").stat().st_size < 10_000:
            assert time.monotonic() - begun < 30
            time.sleep(0.01)
        time.sleep(1)
        begun_s, size = time.monotonic(), (folder / "samples.csv").stat().st_size
        process.kill()
    assert process.returncode == -signal.SIGKILL
    t_s, x = samples(folder)
    whole_t_s, whole_x = samples(walk)
    assert whole_t_s.startswith(t_s)
    assert whole_x.startswith(x)
    assert len(t_s) // 8 >= 150
    assert size <= (folder / "samples.csv").stat().st_size
    assert time.monotonic() - begun_s < 30


def edit(walk: Path, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join(change(walk.read_text().splitlines())) + "\n") and None


def damaged(damage: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Callable[[Path], Any]:
    def write(path: Path) -> Path:
        t_s, x, truth = motion([0, 1, 2], 4.0)
        t_s, x = damage(t_s.copy(), x.copy())
        return write_csv(path, t_s, x, truth)

    return write


def long_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HEADER.encode() + b"\n")
        file.truncate(2 << 30)  # sparse: 2 GB without a line end that take no room


def with_rows(x: np.ndarray, rows: slice, value: float) -> np.ndarray:
    x[rows] = value
    return x


BAD = {
    "empty": (lambda path: path.write_bytes(b""), 4, "empty"),
    "header only": (lambda path: path.write_text(HEADER + "\n"), 4, "no samples"),
    "wrong column names": (lambda path: path.write_text("foo,bar\n1,2\n3,4\n"), 4, "Accepted: accelerometer ax ay az"),
    "no table": (lambda path: path.write_bytes(bytes(range(256)) * 100), 4, "binary data"),
    "a line of 2 GB": (long_line, 4, "a line is longer than"),
    "all NaN": (damaged(lambda t_s, x: (t_s, x * np.nan)), 4, "no finite number"),
    "constant": (damaged(lambda t_s, x: (t_s, x * 0 + 9.81)), 4, "repeats one value"),
    "all 1e9": (damaged(lambda t_s, x: (t_s, x * 0 + 1e9)), 4, "the stated unit is wrong"),
    "a second": (damaged(lambda t_s, x: (np.where(np.arange(600) < 50, t_s, t_s[49]), x)), 4, "time does not increase"),
    "words for numbers": (lambda path: path.write_text(HEADER + "\n0,a,b,c,d,e,f,g\n"), 4, "is not a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_unusable_recording_is_an_error_of_one_or_two_lines(bundle: Path, tmp_path: Path, name: str) -> None:
    write, code, message = BAD[name]
    write(tmp_path / "bad.csv")
    done = stream(bundle, "--replay", tmp_path / "bad.csv", "--speed", "max")
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("mujo-edge: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert [line["ended"] for line in records(done.stdout) if line["type"] == "summary"] in ([], ["error"])


FLAWED = {
    "NaN for a second": (lambda t_s, x: (t_s, with_rows(x, slice(200, 250), np.nan)), {"invalid": 50, "gaps": 1}),
    "1e9 once": (lambda t_s, x: (t_s, with_rows(x, slice(200, 201), 1e9)), {"invalid": 1, "gaps": 0}),
    "time back to zero": (lambda t_s, x: (np.where(np.arange(600) < 300, t_s, t_s - 6), x), {"gaps": 1}),
    "rows twice": (lambda t_s, x: (t_s[np.arange(600) // 2], x[np.arange(600) // 2]), {"repeated": 300, "gaps": 0}),
    "a pause": (lambda t_s, x: (np.where(np.arange(600) < 300, t_s, t_s + 60), x), {"gaps": 1}),
    "still for four seconds": (lambda t_s, x: (t_s, with_rows(x, slice(200, 400), 5.0)), {"gaps": 1}),
}


@pytest.mark.parametrize("name", FLAWED)
def test_flaws_of_a_recording_are_counted_and_skipped(bundle: Path, tmp_path: Path, name: str) -> None:
    damage, counts = FLAWED[name]
    damaged(damage)(tmp_path / "flawed.csv")
    done = stream(bundle, "--replay", tmp_path / "flawed.csv", "--speed", "max")
    assert (done.returncode, done.stderr) == (0, "")
    lines = records(done.stdout)
    summary = lines[-1]
    assert {key: summary[key] for key in counts} == counts
    assert len([line for line in lines if line["type"] == "gap"]) == summary["gaps"]
    assert summary["predictions"] > 0


def test_truncated_file_is_replayed_to_its_end(bundle: Path, walk: Path, tmp_path: Path) -> None:
    whole = walk.read_bytes()
    (tmp_path / "half.csv").write_bytes(whole[: len(whole) // 2 + 7])
    done = stream(bundle, "--replay", tmp_path / "half.csv", "--speed", "max")
    assert done.returncode == 0
    summary = records(done.stdout)[-1]
    assert 290 <= summary["samples"] <= 310
    assert any("incomplete" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--labels", "yoga"], 2, "has no label set 'yoga'; it has: axes"),
        (["--speed", "fast"], 2, "give a number such as 1 or 8, or max"),
        (["--speed", "0"], 2, "the speed must be a positive number"),
        (["--replay", "nowhere.csv"], 2, "nowhere.csv"),
        (["--runtime", "abacus"], 2, "choose one of: auto, litert"),
        (["--bundle", "nowhere"], 2, "no bundle at nowhere"),
    ],
)
def test_usage_errors_say_what_to_do(bundle: Path, walk: Path, args: list[str], code: int, message: str) -> None:
    done = stream(bundle, "--replay", walk, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize("name", ["bundle.json", "axis.onnx", "prototypes/axes.npy", "reference.npz", "CARD.md"])
def test_flipped_byte_in_the_bundle_is_detected(bundle: Path, walk: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    done = stream(copy, "--replay", walk, "--record", tmp_path / "kept")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("mujo-edge: ")
    assert name in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "kept").exists()


@pytest.mark.skipif(
    not shipped_bundles(), reason="this checkout ships no bundle yet: python -m training.run --recipe base"
)
def test_stream_without_arguments_recognizes_the_shipped_recording() -> None:
    done = run("stream", "--speed", "max")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, summary = records(done.stdout)
    predictions = [line for line in lines if line["type"] == "prediction"]
    assert summary["label_set"] == "physio-wrist"
    assert summary["signal_s"] >= 120
    assert {line["truth"] for line in predictions} == {*summary["labels"], None} - {"unknown", "background"}
    assert summary["accuracy"]["share"] >= 0.85
    assert summary["gaps"] == summary["invalid"] == 0
