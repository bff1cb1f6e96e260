"""The data sets by name, where they lie, and their windows from a disk cache."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import mujo_edge.signal
from mujo_edge.core import DataError, UsageError
from mujo_edge.files import atomic_file
from mujo_edge.folders import cache_folder
from training.corpora import (
    base,
    dsads,
    emlearn_exercises,
    files,
    hapt,
    metamotion,
    mex,
    mhealth,
    mhealth_fragments,
    mm_fit,
    motionsense,
    muvr,
    myogym,
    ptex,
    sp_sw,
    spar,
    stress_predict,
    utd_mhad,
    wisdm,
)
from training.corpora.base import TRAIN_HOP, Corpus, Recording, WindowSet, windows
from training.corpora.files import Tree

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        motionsense.CORPUS,
        spar.CORPUS,
        utd_mhad.CORPUS,
        sp_sw.WATCH,
        sp_sw.PHONE,
        muvr.CORPUS,
        metamotion.CORPUS,
        mm_fit.CORPUS,
        mhealth.CORPUS,
        myogym.CORPUS,
        mhealth_fragments.CORPUS,
        wisdm.CORPUS,
        hapt.CORPUS,
        dsads.CORPUS,
        mex.THIGH,
        mex.WRIST,
        ptex.CORPUS,
        stress_predict.CORPUS,
        emlearn_exercises.CORPUS,
    )
}
PROTOCOL_V1 = ("motionsense", "spar", "utd_mhad", "sp_sw_watch")
"""Data sets of the evaluation protocol; all others are for training."""
ARRAYS = ("x", "has_gyro", "y", "subject", "placement", "recording", "side", "start_s")
"""Fields of a `WindowSet` that the cache holds."""


def data_root() -> Path:
    """$MUJO_DATA, or ../shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("MUJO_DATA") or default)


def get(name: str) -> Corpus:
    """The data set of that name. Raises `UsageError` listing the names."""
    if name not in CORPORA:
        raise UsageError(f"no data set is called {name!r}. Choose from: {', '.join(CORPORA)}")
    return CORPORA[name]


def present(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Where the data sets lie that are here, by name; and what is wrong with archives that cannot be opened."""
    paths, damaged = {}, {}
    for name, corpus in CORPORA.items():
        try:
            if path := corpus.locate() or corpus.find(root):
                paths[name] = path
        except DataError as error:
            damaged[str(error)] = None
    return paths, list(damaged)


def find(name: str, root: Path | None = None) -> Path:
    """Where the data set lies, under `root` (default `data_root()`) or in a package. Raises `DataError` if nowhere."""
    corpus, root = get(name), root or data_root()
    path = corpus.locate() or corpus.find(root)
    if path is None:
        raise DataError(
            f"{corpus.title} was not found under {root}. Set MUJO_DATA to the folder that holds it, "
            f"or get it with: python -m training.corpora download {name}"
        )
    return path


def load(name: str, root: Path | None = None) -> list[Recording]:
    """All recordings of a data set; see `Corpus.load`."""
    return get(name).load(find(name, root))


def load_windows(name: str, root: Path | None = None, hop: int = TRAIN_HOP) -> WindowSet:
    """Protocol v1's windows of a data set, kept on disk from the second call on.

    The cache's key is the SHA-256 of the data, of the code that reads and cuts it, and `hop`.
    """
    corpus, path = get(name), find(name, root)
    with Tree.open(path) as tree:
        key = f"{name} {hop} {tree.sha256(corpus.marker)} {code_digest(corpus)}"
    cached = cache_folder() / "windows" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npz"
    try:
        with np.load(cached) as data:
            return WindowSet(corpus=name, classes=corpus.classes, **{field: data[field] for field in ARRAYS})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Not there yet, or damaged: it is only a cache.
        made = windows(corpus.load(path), corpus.classes, hop)
        store(cached, made)
        return made


def code_digest(corpus: Corpus) -> str:
    """Digest of the sources that make windows of this data set."""
    reader = sys.modules[getattr(corpus.read, "func", corpus.read).__module__]
    sources = (Path(str(module.__file__)).read_bytes() for module in (mujo_edge.signal, base, files, reader))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def store(path: Path, data: WindowSet) -> None:
    """Write the windows atomically: a killed run leaves no half-written file at `path`."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **{field: getattr(data, field) for field in ARRAYS})


def data_sha256(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files of every data set that its reader uses."""
    digests = {}
    for name in names:
        with Tree.open(find(name)) as tree:
            digests[name] = tree.sha256(get(name).marker)
    return digests
