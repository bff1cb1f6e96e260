"""Every example as a user runs it, in a separate process; the wearables are simulated on a virtual radio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from bluetooth import StartWorld, bluetooth
from generated_motion import ROOT

__all__ = ["bluetooth"]

EXAMPLES = ROOT / "examples"
SPAR = ("--motion", str(ROOT / "mujo_edge" / "assets" / "recordings" / "spar-10"))


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


def run(name: str, *arguments: object, folder: Path) -> str:
    done = subprocess.run(
        command(name, *arguments), capture_output=True, text=True, cwd=folder, timeout=180, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_example_is_one_page_and_listed() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert len(files) == 5
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for file in files:
        assert len(file.read_text("utf-8").splitlines()) <= 60
        assert f"[{file.name}]({file.name})" in listed


def test_live_example_recognizes_a_stream(bluetooth: StartWorld, tmp_path: Path) -> None:
    bluetooth("witmotion", options=SPAR)
    lines = run("live.py", "WT901", 6, folder=tmp_path).splitlines()
    predictions = [line for line in lines if line[9:12] == " s "]
    assert 4 <= len(predictions) <= 8
    assert "pendulum" in predictions[-1]
    assert any(line.startswith("pendulum ") and "bouts: " in line for line in lines)
    assert lines[-1].startswith("mujo-student ")


def test_live_ends_with_the_counts_on_ctrl_c(bluetooth: StartWorld, tmp_path: Path) -> None:
    bluetooth("witmotion", options=SPAR)
    process = subprocess.Popen(
        command("live.py"), stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout
    assert " s " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.splitlines()[-1].startswith("mujo-student ")


def test_live_example_without_a_device_is_a_one_line_error(bluetooth: StartWorld, tmp_path: Path) -> None:
    bluetooth("microbit")
    done = subprocess.run(
        command("live.py", "nobody"), capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("live.py: no device that matches 'nobody'")
    assert "Traceback" not in done.stderr


def test_own_device_example_without_the_device_is_a_one_line_error(bluetooth: StartWorld, tmp_path: Path) -> None:
    bluetooth("microbit")
    done = subprocess.run(
        command("own_device.py", 5), capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("own_device.py: ")
    assert "Traceback" not in done.stderr


def test_classify_array_example_runs(tmp_path: Path) -> None:
    lines = run("classify_array.py", folder=tmp_path).splitlines()
    assert lines[0].startswith("window from   0 s: pendulum")
    streamed = [line.partition(": ")[2] for line in lines if line.startswith("stream")]
    assert streamed[0] == "pendulum"
    assert {"abduction", "external rotation", "bent-over row"} <= {*streamed}


def test_own_labels_example_writes_a_file_for_the_command_line(tmp_path: Path) -> None:
    out = run("own_labels.py", "mine.json", folder=tmp_path)
    assert "fitted to " in out
    assert "lifting" in out
    done = subprocess.run(
        [sys.executable, "-m", "mujo_edge", "stream", "--labels", "mine.json", "--speed", "max", "--json"],
        capture_output=True, text=True, cwd=tmp_path, timeout=180, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert '"label_set": "my-exercises"' in done.stdout.splitlines()[-1]


def test_own_device_example_runs(bluetooth: StartWorld, tmp_path: Path) -> None:
    bluetooth("thingy52", options=SPAR)
    lines = run("own_device.py", 6, folder=tmp_path).splitlines()
    assert 4 <= len(lines) <= 8
    assert "pendulum" in lines[-1]


def test_embeddings_example_runs(tmp_path: Path) -> None:
    lines = run("embeddings.py", folder=tmp_path).splitlines()
    assert lines[0].startswith("(152, 96)")
    assert lines[1].startswith("most like pendulum: pendulum")
    assert lines[-1].startswith("(55, 96)")
