"""The documentation index, and the links in it and in README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "README.md"


def links(page: Path) -> set[Path]:
    """Local files that a page links to."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


def test_index_lists_every_page() -> None:
    assert {*(ROOT / "docs").glob("*.md")} - {INDEX} <= links(INDEX)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_to_files(page: Path) -> None:
    assert [str(path) for path in links(page) if not path.exists()] == []


def test_readme_links_the_index() -> None:
    assert INDEX in links(ROOT / "README.md")


def test_changelog_has_the_version() -> None:
    version = re.search(r'"(\d+\.\d+\.\d+)"', (ROOT / "mujo_edge" / "version.py").read_text())
    assert version
    assert f"\n## {version[1]}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
