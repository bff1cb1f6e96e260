"""Worker processes end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from training.support.workers import end_with_parent, workers

PARENT = """
import os, sys, time
from pathlib import Path
from training.support.workers import workers

def wait(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    with workers(2) as pool:
        for future in [pool.submit(wait, sys.argv[1]) for _ in range(2)]:
            future.result()
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path):
    script, folder = tmp_path / "parent.py", tmp_path / "pids"
    script.write_text(PARENT)
    folder.mkdir()
    root = str(Path(__file__).resolve().parents[3])
    parent = subprocess.Popen(
        [sys.executable, script, folder], env=os.environ | {"PYTHONPATH": root}, stderr=subprocess.DEVNULL
    )
    try:
        assert until(lambda: len(list(folder.iterdir())) == 2)
        pids = [int(path.name) for path in folder.iterdir()]
        assert all(alive(pid) for pid in pids)
        parent.send_signal(how)
        parent.wait(60)
        assert until(lambda: not any(alive(pid) for pid in pids))
    finally:
        parent.kill()
        parent.wait()


def test_error_ends_the_workers_at_once():
    before = set(active_children())

    def fail() -> None:
        with workers(1) as pool:
            waiting = pool.submit(time.sleep, 600)
            assert until(waiting.running)
            assert set(active_children()) - before
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fail()
    assert until(lambda: not set(active_children()) - before)


def test_results_are_returned():
    with workers(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def test_end_with_parent_is_refused_outside_a_worker():
    with pytest.raises(RuntimeError, match="outside a worker"):
        end_with_parent()
