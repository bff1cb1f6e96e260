"""Log records on standard error."""

from __future__ import annotations

import logging

from mujo_edge.logs import FORMAT, PrintableFormatter


def test_log_lines_hide_control_characters_of_devices() -> None:
    record = logging.LogRecord("mujo_edge.sources", logging.INFO, "", 1, "%s at %s", ("\x1b[31mBoard", "a\nb"), None)
    text = PrintableFormatter(FORMAT).format(record)
    assert text.endswith("INFO mujo_edge.sources: ?[31mBoard at a\nb")
