"""All data sets by name, their paths, and their windows with a disk cache."""

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
"""Fields of a `WindowSet` that are stored in the cache."""


def data_root() -> Path:
    """Folder of the data sets: $MUJO_DATA, or ../shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("MUJO_DATA") or default)


def get(name: str) -> Corpus:
    """The data set `name`. Raises `UsageError` listing the names if there is none."""
    if name not in CORPORA:
        raise UsageError(f"no data set is called {name!r}. Choose from: {', '.join(CORPORA)}")
    return CORPORA[name]


def present(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Name -> path of the data sets that are found, and error messages for damaged archives."""
    paths, damaged = {}, {}
    for name, corpus in CORPORA.items():
        try:
            if path := corpus.locate() or corpus.find(root):
                paths[name] = path
        except DataError as error:
            damaged[str(error)] = None
    return paths, list(damaged)


def find(name: str, root: Path | None = None) -> Path:
    """Path of a data set under `root` (default `data_root()`) or in a package. Raises `DataError` if not found."""
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
    """Windows of protocol v1 of a data set, cached on disk.

    The cache's key consists of the SHA-256 of the data and of the code that reads and cuts it, and `hop`.
    """
    corpus, path = get(name), find(name, root)
    with Tree.open(path) as tree:
        key = f"{name} {hop} {tree.sha256(corpus.marker)} {code_digest(corpus)}"
    cached = cache_folder() / "windows" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npz"
    try:
        with np.load(cached) as data:
            return WindowSet(corpus=name, classes=corpus.classes, **{field: data[field] for field in ARRAYS})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Not cached yet, or damaged.
        data_set = windows(corpus.load(path), corpus.classes, hop)
        store(cached, data_set)
        return data_set


def code_digest(corpus: Corpus) -> str:
    """SHA-256 of the modules that make windows of this data set."""
    reader = sys.modules[getattr(corpus.read, "func", corpus.read).__module__]
    sources = (Path(str(module.__file__)).read_bytes() for module in (mujo_edge.signal, base, files, reader))
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def store(path: Path, data: WindowSet) -> None:
    """Write the windows atomically: a killed run leaves no half-written file at `path`."""
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **{field: getattr(data, field) for field in ARRAYS})


def data_sha256(names: Iterable[str]) -> dict[str, str]:
    """Name -> SHA-256 of the files of a data set that its reader uses."""
    digests = {}
    for name in names:
        with Tree.open(find(name)) as tree:
            digests[name] = tree.sha256(get(name).marker)
    return digests
