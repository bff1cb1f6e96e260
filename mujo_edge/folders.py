"""The user's folders for caches and data, on every system; on Linux those of the XDG Base Directory specification 0.8.

platformdirs is imported on use: runtimes are measured in environments that have numpy and the runtime alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platformdirs.api import PlatformDirsABC


def cache_folder() -> Path:
    """Files that take long to make and can be made again: $MUJO_CACHE, else mujo-edge's folder in the user's cache."""
    return Path(os.environ.get("MUJO_CACHE") or _folders().user_cache_path)


def bundle_store() -> Path:
    """Bundles from `mujo-edge models pull`, as OWNER/NAME."""
    return _folders().user_data_path / "bundles"


def label_store() -> Path:
    """Label sets that the user taught, as NAME.json."""
    return _folders().user_data_path / "labels"


def state_folder() -> Path:
    """State that outlives a run but is not the user's work."""
    return _folders().user_state_path


def _folders() -> PlatformDirsABC:
    from platformdirs import PlatformDirs

    return PlatformDirs("mujo-edge", appauthor=False)
