"""Public data sets in their publishers' own layouts -> recordings in SI units -> windows of protocol v1."""

from training.corpora.base import Corpus, Recording, WindowSet, windows
from training.corpora.registry import CORPORA, PROTOCOL_V1, data_root, find, get, load, load_windows
from training.corpora.splits import FRACTIONS, folds, label_fraction, labels_of_one

__all__ = [
    "CORPORA",
    "FRACTIONS",
    "PROTOCOL_V1",
    "Corpus",
    "Recording",
    "WindowSet",
    "data_root",
    "find",
    "folds",
    "get",
    "label_fraction",
    "labels_of_one",
    "load",
    "load_windows",
    "windows",
]
