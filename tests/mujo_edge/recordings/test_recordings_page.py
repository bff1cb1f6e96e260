"""docs/recordings.md shows the tables that the code uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mujo_edge.recordings import columns

PAGE = Path(__file__).parents[3] / "docs" / "recordings.md"


def table() -> str:
    """The table of the page. A failing test prints it; paste it between the two marks."""

    def names(*families: tuple[str, ...]) -> str:
        shown = [f"`{name.replace(' ', '_')}`" if name else "the axis alone" for family in families for name in family]
        return ", ".join(shown)

    def units(table: columns.Units) -> str:
        return "; ".join(f"**{unit}** ({', '.join(spellings)})" for unit, (_, spellings) in table.items())

    rows = [
        ("accelerometer x, y, z", names(columns.ACCELEROMETER), units(columns.ACCELEROMETER_UNITS)),
        ("linear acceleration, with ...", names(columns.LINEAR), "the same"),
        ("... gravity, added to it", names(columns.GRAVITY), "the same"),
        ("gyroscope x, y, z", names(columns.GYROSCOPE), units(columns.GYROSCOPE_UNITS)),
        ("time", names(columns.TIME), units(columns.TIME_UNITS) + "; or ISO 8601 date and time"),
        ("label", names(columns.LABEL), ""),
    ]
    lines = ["| column | names, the preferred first | units (spellings) |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)])


def test_documentation_shows_the_tables_of_the_code() -> None:
    match = re.search("<!-- columns -->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert match is not None
    assert match[1] == table()


@pytest.mark.parametrize("name", columns.CORE_MOTION)
def test_documentation_marks_names_of_core_motion(name: str) -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"`{name.replace(' ', '_')}`" in text.split("Apple's Core Motion")[1]
