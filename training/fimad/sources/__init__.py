"""All sources of clips by name; one module per collection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mujo_edge.core import UsageError
from training.fimad.clip import Source
from training.fimad.sources import (
    cmu,
    fimad_release,
    free_exercise_db,
    hdm05,
    manifest,
    mocap6,
    penn_action,
    ui_prmd,
    utd_mhad,
)
from training.fimad.video import Options


def sources(options: Options | None = None, manifests: Iterable[Path] = ()) -> dict[str, Source]:
    """All sources, with the user's own `manifests`; `options` are for videos and photos.

    Raises `UsageError` for a manifest that does not exist or has the name of another source.
    """
    options = options or Options()
    every = {
        source.name: source
        for source in (
            fimad_release.source(options),
            manifest.gymnai_source(options),
            hdm05.SOURCE,
            cmu.SOURCE,
            mocap6.SOURCE,
            ui_prmd.SOURCE,
            utd_mhad.SOURCE,
            penn_action.SOURCE,
            free_exercise_db.source(options),
        )
    }
    for path in manifests:
        own = manifest.source(path, options)
        if not path.is_file():
            raise UsageError(f"{path} does not exist. Give a CSV or JSON manifest of clips")
        if own.name in every:
            raise UsageError(f"{path} would be a second source called {own.name!r}. Rename the file")
        every[own.name] = own
    return every


SOURCES = sources()
"""The sources without user manifests, with default options."""
