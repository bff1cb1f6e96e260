"""Keep a native library's own chatter off the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_lines(*prefixes: bytes) -> Iterator[None]:
    """Drop lines on file descriptor 2 that begin with one of `prefixes`; pass on all others afterwards."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(prefixes)))
            os.close(stderr)
