"""Every collection of clips that the builder knows, by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mujo_edge.core import UsageError
from training.fimad.clip import Source
from training.fimad.sources import cmu, hdm05, manifest, mocap6, penn_action, ui_prmd, utd_mhad
from training.fimad.sources import fimad_release as metadata
from training.fimad.sources import free_exercise_db as photos
from training.fimad.video import Options


def sources(options: Options | None = None, manifests: Iterable[Path] = ()) -> dict[str, Source]:
    """All sources, with the user's own `manifests`; `options` say what is made of videos and photos.

    Raises `UsageError` for a manifest that is not there or is called as another source.
    """
    options = options or Options()
    every = {
        source.name: source
        for source in (
            metadata.source(options),
            manifest.gymnai_source(options),
            hdm05.SOURCE,
            cmu.SOURCE,
            mocap6.SOURCE,
            ui_prmd.SOURCE,
            utd_mhad.SOURCE,
            penn_action.SOURCE,
            photos.source(options),
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
"""Those that need nothing from the user but their data."""
