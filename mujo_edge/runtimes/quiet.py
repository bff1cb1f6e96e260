"""Suppression of messages that native libraries print to the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_lines(*prefixes: bytes) -> Iterator[None]:
    """Drop lines on file descriptor 2 that start with one of `prefixes`; write all others at the end."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            captured.seek(0)
            os.write(2, b"".join(line for line in captured if not line.startswith(prefixes)))
            os.close(stderr)
