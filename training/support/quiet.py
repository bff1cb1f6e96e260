"""Suppression of the progress lines and warnings that converters print."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from mujo_edge.runtimes.quiet import without_lines


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the progress lines and warnings that the converters print for every model."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    notices = (b"I0000 ", b"WARNING: All log messages", b"Failed to load ", b"W0", b"W1", b"[cpuinfo_utils")
    native = without_lines(*notices, b"\rConverting PyTorch Frontend", b"\rRunning MIL ")
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), native:
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
