"""Accessibility of the web app on every screen size, and its installation."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import web_pages
from contrast import CONTRAST
from web_pages import opened, recorded

from benchmarks import chromium

pytestmark = [
    pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed"),
    pytest.mark.usefixtures("state"),
]

SMALL = """[...document.querySelectorAll("button, select, a, input")].filter((one) => one.checkVisibility())
  .map((one) => [one.textContent.slice(0, 20), one.getBoundingClientRect().width, one.getBoundingClientRect().height])
  .filter(([, width, height]) => width < 44 || height < 44)"""


async def test_page_is_accessible(site: Path, tmp_path: Path) -> None:
    t_s, x = recorded(14.0, 30.0)
    async with opened(site, tmp_path / "profile") as page:
        await usable(page, {("button", "Start"), ("combobox", "Recognize"), ("link", "Self-test")})
        await page.start()
        await page.feed(t_s, x)
        await page.wait_for_events(20)
        await usable(page, {("button", "Pause"), ("button", "Stop"), ("meter", "Confidence"), ("status", "")})
        assert await page.tab.run("document.getElementById('label').getAttribute('aria-live')") == "polite"
        assert await page.tab.run("document.activeElement.id") == "pause"
        assert await page.tab.run("document.getAnimations().length") > 0
        await page.tab.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}]
        )
        await page.tab.until("document.getAnimations().length === 0")  # those that run come to their end
        assert await page.tab.run("getComputedStyle(document.getElementById('score-bar')).transitionDuration") == "0s"
        await page.click("stop")
        await page.sessions(1)
        await page.press("Delete")
        await usable(page, {("dialog", "Delete this session?"), ("button", "Delete"), ("button", "Keep")})
        assert await page.tab.run("document.activeElement.textContent") == "Keep"
        await page.key("Escape", 27)
        await page.tab.until("!document.getElementById('remove').open")
        await page.tab.run("document.getElementById('problem').hidden = false; problem.textContent = 'x'")
        roles = await usable(page, {("alert", "")})
        actions = [name.split(" ", 1) for role, name in roles if role == "button" and " " in name]
        assert [action for action, _ in actions] == ["Export", "Rename", "Delete"]
        assert len({session for _, session in actions}) == 1


async def usable(page: web_pages.Page, wanted: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Check the page as it is now, on a phone, a small phone and a watch, light and dark -> its roles and names."""
    for scheme in ("light", "dark"):
        for width, height in ((390, 844), (320, 568), (200, 200)):
            await page.size(width, height, scheme)
            assert await page.tab.run("document.documentElement.scrollWidth") <= width
        poor = [(what, ratio) for what, ratio in await page.tab.run(CONTRAST) if ratio < 4.5]
        assert not poor, scheme
        assert not await page.tab.run(SMALL)
    roles = await page.tab.accessible()
    assert wanted <= set(roles)
    assert not [role for role, name in roles if role in ("button", "combobox", "link", "meter", "textbox") and not name]
    assert await page.tab.run("document.documentElement.lang") == "en"
    return roles


async def test_page_is_installable(site: Path, tmp_path: Path) -> None:
    manifest = json.loads((site / "manifest.webmanifest").read_text())
    assert (manifest["start_url"], manifest["scope"], manifest["display"]) == ("./", "./", "standalone")
    sizes = {}
    for icon in manifest["icons"]:
        content = (site / icon["src"]).read_bytes()
        if icon["type"] == "image/png":
            assert content.startswith(b"\x89PNG")
            width, height = struct.unpack(">II", content[16:24])
            assert icon["sizes"] == f"{width}x{height}"
            sizes[width, icon["purpose"]] = icon["src"]
    assert {(192, "any"), (512, "any"), (512, "maskable")} <= sizes.keys()
    async with opened(site, tmp_path / "profile") as page:
        web_manifest = await page.tab.call("Page.getAppManifest")
        assert not web_manifest["errors"]
        assert web_manifest["url"] == page.server.url + "manifest.webmanifest"
        assert not (await page.tab.call("Page.getInstallabilityErrors"))["installabilityErrors"]
        await page.says("offline", "ready")
        cached = await page.tab.run(
            "caches.keys().then(([name]) => caches.open(name)).then((cache) => cache.keys())"
            ".then((keys) => keys.map((key) => key.url))"
        )
        files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
        assert {url.removeprefix(page.server.url) for url in cached} == files
        assert not page.complaints()
        assert not page.foreign_requests()
