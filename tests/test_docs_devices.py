"""docs/devices.md lists all profiles. `python tests/test_docs_devices.py` rewrites its table."""

from __future__ import annotations

import re
from pathlib import Path

from firmware_bridge.profiles import PROFILES

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"
PLACE = re.compile(r"<!-- profiles -->\n(.*?)<!-- end -->", re.DOTALL)


def rows() -> str:
    lines = ["| device | `--profile` | channels | rates Hz | clock |", "|---|---|---|---|---|"]
    for profile in PROFILES.values():
        rates = ", ".join(f"{rate:g}" for rate in profile.rates_hz) or "its own"
        device = f"[{profile.title}]({profile.source})" if profile.source.startswith("http") else profile.title
        lines.append(f"| {device} | `{profile.name}` | {len(profile.channels)} | {rates} | {profile.clock} |")
    return "\n".join(lines) + "\n"


def test_page_lists_every_profile() -> None:
    match = PLACE.search(PAGE.read_text(encoding="utf-8"))
    assert match
    assert match[1] == rows()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PLACE.sub(lambda _: f"<!-- profiles -->\n{rows()}<!-- end -->", text), encoding="utf-8")
