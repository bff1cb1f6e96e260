"""Which bundles there are: those that came with the package, and those that `mujo-edge models pull` got; their size."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mujo_edge.core import DataError, UsageError
from mujo_edge.folders import bundle_store
from mujo_edge.printable import shown

DEFAULT_BUNDLE = "mujo-student"
SHIPPED = Path(__file__).parents[1] / "assets" / "bundles"
PULLED = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
"""OWNER/NAME of a repository."""

MAX_MB, MAX_MB_VARIABLE = 256, "MUJO_EDGE_MAX_MB"
"""Size limit of a bundle, and the environment variable that changes it; the shipped bundle has 1.3 MB."""


def shipped_bundles() -> list[str]:
    """Names of the bundles inside the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/bundle.json"))


def pulled_bundles() -> list[str]:
    """OWNER/NAME of the bundles in the user's store."""
    return sorted(path.parent.relative_to(bundle_store()).as_posix() for path in bundle_store().glob("*/*/bundle.json"))


def find_bundle(path_or_name: str | Path | None = None) -> Path:
    """The folder of a bundle: a path, the name of a shipped one, OWNER/NAME of a pulled one, None for the default.

    Raises:
        UsageError: neither a bundle nor the name of one.
        DataError: a folder without bundle.json, or an installation without its bundle.
    """
    if path_or_name is None:
        if (SHIPPED / DEFAULT_BUNDLE / "bundle.json").is_file():
            return SHIPPED / DEFAULT_BUNDLE
        raise DataError(f"no bundle in {SHIPPED}: the installation is incomplete. Install mujo-edge again")
    places = [Path(path_or_name), SHIPPED / path_or_name]
    if pulled := PULLED.fullmatch(str(path_or_name)):
        places.append(bundle_store() / path_or_name)
    for folder in places:
        if (folder / "bundle.json").is_file():
            return folder
    if Path(path_or_name).is_dir():
        raise DataError(f"{path_or_name} is no model bundle: it has no bundle.json")
    names = ", ".join([*shipped_bundles(), *pulled_bundles()]) or "none"
    hint = f"; mujo-edge models pull {path_or_name} may get it" if pulled else ""
    raise UsageError(f"no bundle at {path_or_name}; give a folder with a bundle.json, or one of these: {names}{hint}")


def max_bundle_bytes() -> int:
    """Size limit of the files of a bundle together. Raises `UsageError` if the environment gives no number."""
    megabytes = os.environ.get(MAX_MB_VARIABLE, "").strip() or str(MAX_MB)
    if not (megabytes.isascii() and megabytes.isdigit() and 0 < len(megabytes) < 8):
        raise UsageError(f"{MAX_MB_VARIABLE}={shown(megabytes)}: set it to a whole number of MB")
    return int(megabytes) << 20


def max_file_bytes() -> int:
    """Size limit of one file of a bundle."""
    return max_bundle_bytes() // 4
