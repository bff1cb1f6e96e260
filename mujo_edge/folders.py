"""The user's folders that mujo-edge keeps things in, on every system; on Linux as XDG Base Directory 0.8 has them."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import PlatformDirs

_DIRS = PlatformDirs("mujo-edge", appauthor=False)


def cache_folder() -> Path:
    """What takes long to make and can be made again: $MUJO_CACHE, else mujo-edge's folder in the user's cache."""
    return Path(os.environ.get("MUJO_CACHE") or _DIRS.user_cache_path)


def bundle_store() -> Path:
    """The bundles that `mujo-edge models pull` got, as OWNER/NAME."""
    return _DIRS.user_data_path / "bundles"


def state_folder() -> Path:
    """What should outlive a run but is not the user's work."""
    return _DIRS.user_state_path
