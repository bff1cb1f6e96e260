"""Function for workers in tests of the engines, with few imports."""

from __future__ import annotations

import os

from mujo_edge.core import MissingExtraError


def square(x: int) -> tuple[int, int]:
    """(x squared, process id); a negative number ends the process, one above 100 raises an error."""
    if x < 0:
        os._exit(7)
    if x > 100:
        raise MissingExtraError("a package is not installed")
    return x * x, os.getpid()
