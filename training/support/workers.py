"""Worker processes that never outlive the process that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """In a worker: ignore Ctrl-C, which the parent handles, and exit when the parent exits for any reason.

    A parent killed by SIGTERM or SIGKILL runs no handler, but its end of the sentinel's pipe is closed in any case.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        raise RuntimeError("end_with_parent() was called outside a worker process")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `jobs` new processes, terminated at once if the body raises or is interrupted."""
    before = set(active_children())
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(active_children()) - before:
                process.terminate()
            raise
