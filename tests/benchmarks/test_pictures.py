"""Pictures and texts show the version of the shipped bundle. After a new bundle run `make pictures`."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import chromium, pictures
from mujo_edge.core import MissingExtraError
from mujo_edge.export.web import build

STALE = "shows another bundle than the one that ships; run: make pictures"


def test_stream_picture_shows_the_shipped_bundle() -> None:
    words = "".join(ET.fromstring(pictures.STREAM.read_text("utf-8")).itertext()).replace("\xa0", " ")
    assert f"{pictures.shown_bundle()} · litert" in words, f"{pictures.STREAM} {STALE}"


def test_web_picture_shows_the_shipped_bundle() -> None:
    with Image.open(pictures.WEB) as image:
        assert image.info["Bundle"] == pictures.shown_bundle(), f"{pictures.WEB} {STALE}"


def test_summary_in_readme_is_that_of_the_shipped_bundle() -> None:
    match = pictures.SUMMARY.search(pictures.README.read_text("utf-8"))
    assert match
    assert f"\n{pictures.shown_bundle()} · litert" in match[0], f"README {STALE}"


@pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")
async def test_web_picture_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        build()
    except MissingExtraError as error:
        pytest.skip(f"what the page is built with is not installed: {error}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(pictures, "WEB", tmp_path / "web.png")
    await pictures.draw_web()
    with Image.open(tmp_path / "web.png") as image:
        assert image.info["Bundle"] == pictures.shown_bundle()
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 50
