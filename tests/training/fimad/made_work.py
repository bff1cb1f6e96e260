"""What workers are given in tests of the engines: they import no more than this."""

from __future__ import annotations

import os

from mujo_edge.core import MissingExtraError


def square(x: int) -> tuple[int, int]:
    """(x squared, the worker's process); a negative number ends the process, one above 100 is an error."""
    if x < 0:
        os._exit(7)
    if x > 100:
        raise MissingExtraError("a package is not installed")
    return x * x, os.getpid()
