"""MediaPipe Pose in a process and an environment of its own.

mediapipe 0.10.21 is the last release that sends no usage metrics (google-ai-edge/mediapipe#6291). Its wheel holds the
detector and the "full" landmark model, and it pins numpy < 2. So it gets its own environment, made from PyPI on first
use; after that nothing leaves the machine, which a test under strace checks.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mujo_edge.core import F32, DataError
from mujo_edge.doctor import POSE_NEWEST_PYTHON
from mujo_edge.environments import last_words, python_with
from training.fimad.pose.child import COUNT, HEADER, READY

MEDIAPIPE = "mediapipe==0.10.21"
NEEDS = (
    "numpy>=1.26,<2",
    "protobuf>=4.25.3,<5",
    "absl-py",
    "attrs",
    "flatbuffers",
    "matplotlib",
    "opencv-python-headless",
)
"""Packages that its Pose imports. The wheel also requires jax and others, 600 MB used only by other parts of it, and an
OpenCV that needs desktop libraries."""

LANDMARKS = 33
COLUMNS = 6
"""World x, y, z in meters; image x, y as fractions of width and height; visibility, a probability."""

LONGEST_S = 300.0
"""Timeout of a read, longer than any frame or the import takes on a busy machine with a cold disk."""


class Landmarker:
    """A process of mediapipe that takes one frame at a time. Ends with `close`, or when this process ends."""

    def __init__(self) -> None:
        """Raises `MissingExtraError` if mediapipe's environment cannot be made, `DataError` if it does not start."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        # -I ignores PYTHONPATH and the user's packages, which are for another Python.
        self._process = subprocess.Popen(
            [python(), "-I", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._read(len(READY))

    def start_video(self) -> None:
        """Reset the tracking of the previous video."""
        self._write(HEADER.pack(0, 0))

    def landmarks(self, rgb: npt.NDArray[np.uint8]) -> F32 | None:
        """(33, 6) of the person in a frame (h, w, 3), columns as in `COLUMNS`; None without a visible person.

        Raises `DataError` if the process ended.
        """
        self._write(HEADER.pack(*rgb.shape[:2]) + np.ascontiguousarray(rgb).tobytes())
        (count,) = COUNT.unpack(self._read(COUNT.size))
        if not count:
            return None
        return np.frombuffer(self._read(count * 4), "<f4").reshape(LANDMARKS, COLUMNS)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            self._ended()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        hung = threading.Timer(LONGEST_S, self._process.kill)
        hung.start()
        data = self._process.stdout.read(size)
        hung.cancel()
        if len(data) < size:
            self._ended()
        return data

    def _ended(self) -> None:
        code = self._process.wait()
        self._errors.seek(0)
        raise DataError(f"mediapipe's process ended ({code}): {last_words(self._errors.read())}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def python() -> str:
    """Path of the Python with mediapipe; its environment is made on first use. Raises `MissingExtraError`."""
    return python_with("mediapipe-0.10.21", NEEDS, POSE_NEWEST_PYTHON, alone=(MEDIAPIPE,))


@cache
def _of_process(pid: int) -> Landmarker:
    landmarker = Landmarker()
    atexit.register(landmarker.close)
    return landmarker


def landmarker() -> Landmarker:
    """The landmarker of this process, reset for a new video; a forked process gets its own. Raises as `Landmarker`."""
    mine = _of_process(os.getpid())
    mine.start_video()
    return mine


def discard() -> None:
    """Close the landmarker of this process, which has ended or stopped in the middle of an answer; the next is new."""
    if _of_process.cache_info().currsize:
        _of_process(os.getpid()).close()
        _of_process.cache_clear()
