"""On-device recognition on a Cortex-M4 in QEMU: samples arrive at 50 Hz on one serial line, labels leave on another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.protocol import packet
from firmware_bridge.simulator import qemu
from firmware_bridge.simulator.motion import recording, rest
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import CHANNELS, Chunk, Prediction, StreamInfo
from mujo_edge.export import export
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources.replay import shipped_recording

MISSING = ", ".join(qemu.missing())
pytestmark = [pytest.mark.qemu, pytest.mark.skipif(MISSING != "", reason=f"not installed: {MISSING}")]

PROGRAM = str(Path(sys.executable).parent / "mujo-edge")
PLAYED = recording(shipped_recording())
SHIFT_S = 31.0
"""Where in the recording the motion begins: within seconds one exercise ends and another begins."""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (folder,) = export("mcu", None, tmp_path_factory.mktemp("export"))
    return folder


def motion(t_s: np.ndarray) -> np.ndarray:
    return PLAYED(t_s + SHIFT_S)


def stream(*arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    done = subprocess.run([PROGRAM, "stream", "--json", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *events, summary = map(json.loads, done.stdout.splitlines())
    return events, summary


@contextmanager
def board(student: Path, forward: bool) -> Iterator[str]:
    with qemu.board(motion, tcp=True, student=student, forward=forward) as port:
        yield port


def by_python(seconds: float) -> list[Prediction]:
    """Predictions of the Python recognizer for the same packets."""
    packets = [each for i in range(round(seconds * 50)) for each in packet.decode(qemu.sample(motion, i))]
    t_s = np.array([each.tick or 0 for each in packets]) / packet.TICK_HZ
    recognizer = Recognizer(ModelBundle.load(), StreamInfo("test", CHANNELS, 50.0))
    return recognizer.update(Chunk(t_s, np.concatenate([each.x for each in packets]), 0.0))


def test_labels_equal_python_and_are_replayed_from_a_recording(student: Path, tmp_path: Path) -> None:
    out = tmp_path / "session"
    with board(student, forward=True) as port:
        events, summary = stream(f"--serial={port}", "--duration=8", f"--record={out}")
    assert {event["by"] for event in events} == {"device"}
    assert summary["runtime"] == "on the device"
    assert summary["labels"] == list(ModelBundle.load().manifest.label_set().names)
    assert (summary["label_set"], summary["gaps"], summary["lost"]) == ("physio-wrist", 0, 0)
    assert summary["rate_hz"] == pytest.approx(50, abs=0.1)
    assert summary["windows"] == summary["predictions"] == len(events) >= 9
    assert all(event["latency_ms"]["inference"] > 0 for event in events)

    expected = by_python(20)
    steps = np.diff([event["end_s"] for event in events])
    np.testing.assert_allclose(steps, 0.5, atol=1e-3)
    scores = np.array([event["score"] for event in events])
    offsets = [
        float(np.abs(scores - [each.score for each in expected[k : k + len(events)]]).max())
        for k in range(len(expected) - len(events) + 1)
    ]
    first = int(np.argmin(offsets))  # windows that had ended when the port was opened
    agree = [
        (event["label"], event["raw_label"]) == (each.label, each.raw_label)
        for event, each in zip(events, expected[first:], strict=False)
    ]
    assert np.mean(agree) >= 0.9, agree  # on a border the reference kernels may decide otherwise than XNNPACK
    assert offsets[first] < 0.25

    again, about = stream(f"--replay={out}", "--decode-again", "--speed=max")
    fields = ("end_s", "label", "raw_label", "score", "by")
    assert [[event[name] for name in fields] for event in again][: len(events)] == [
        [event[name] for name in fields] for event in events
    ]
    assert (about["runtime"], about["labels"]) == (summary["runtime"], summary["labels"])
    # Its samples are as good as any other recording's.
    host, about = stream(f"--replay={out}", "--speed=max")
    assert about["runtime"] == "litert"
    assert all("by" not in event for event in host)
    assert json.loads((out / "session.json").read_text())["stream"]["names"]["label_set"] == "physio-wrist"


def test_board_can_send_labels_without_samples(student: Path) -> None:
    with board(student, forward=False) as port:
        events, summary = stream(f"--serial={port}", "--duration=4")
    assert len(events) >= 7
    assert {event["by"] for event in events} == {"device"}
    assert (summary["samples"], summary["runtime"], summary["gaps"]) == (0, "on the device", 0)
    np.testing.assert_allclose(np.diff([event["end_s"] for event in events]), 0.5, atol=2e-3)


def test_named_label_set_is_recognized_on_the_host(student: Path) -> None:
    with board(student, forward=True) as port:
        events, summary = stream(f"--serial={port}", "--duration=5", "--labels=daily-wrist")
    assert (summary["runtime"], summary["label_set"]) == ("litert", "daily-wrist")
    assert all("by" not in event for event in events)


def test_still_sensor_is_a_gap(student: Path) -> None:
    with qemu.board(rest, tcp=True, student=student) as port:
        done = subprocess.run(
            [PROGRAM, "stream", "--json", f"--serial={port}", "--duration=5"], capture_output=True, text=True
        )
    gap, summary = map(json.loads, done.stdout.splitlines())
    assert (gap["type"], gap["reason"]) == ("gap", "constant")
    assert gap["end_s"] - gap["start_s"] == pytest.approx(2.98, abs=1e-3)
    assert summary["predictions"] == 0


def test_program_fits_its_size_limits(student: Path, tmp_path: Path) -> None:
    program = qemu.build(rest, tmp_path, student)
    sizes = subprocess.run(["arm-none-eabi-size", program], capture_output=True, text=True, check=True).stdout
    text, data, bss, *_ = map(int, sizes.splitlines()[1].split()[:3])
    assert text + data <= 102_400
    assert data + bss + 4096 <= 24_000  # with a stack of more than twice the required size


def test_folder_without_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not an export of mujo-edge export --target mcu"):
        qemu.build(rest, tmp_path, tmp_path)
