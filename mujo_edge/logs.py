"""Log records of `mujo_edge.*` on standard error, on request; without a request nothing is shown.

Every module logs to the standard logger of its own name: connection steps and retries at INFO, refused payloads,
timing and the like at DEBUG. A program with `logging` of its own needs nothing of this module.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from mujo_edge.printable import printable

VARIABLE = "MUJO_EDGE_LOG"
LEVELS = ("debug", "info", "warning", "error")
FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"


class PrintableFormatter(logging.Formatter):
    """Replaces hidden characters, as names and replies of devices are part of the messages."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines of text."""
        return "\n".join(map(printable, super().format(record).split("\n")))


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment: a running stream puts a writer that cannot block in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(PrintableFormatter(FORMAT, "%H:%M:%S"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def show(level: int) -> None:
    """Show records of `mujo_edge.*` from `level` on; a second call can only show more."""
    logger = logging.getLogger("mujo_edge")
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())
        logger.propagate = False
        logger.setLevel(level)
    logger.setLevel(min(level, logger.level))


def show_as_environment_says() -> None:
    """Obey `MUJO_EDGE_LOG`, if it is set. Raises `UsageError` if it is not one of `LEVELS`."""
    if not (wanted := os.environ.get(VARIABLE, "").strip().lower()):
        return
    if wanted not in LEVELS:
        from mujo_edge.core import UsageError

        raise UsageError(f"{VARIABLE}={wanted}: set it to one of {', '.join(LEVELS)}")
    show(logging.getLevelNamesMapping()[wanted.upper()])
