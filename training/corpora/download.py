"""Download of a data set from its publisher."""

from __future__ import annotations

import sys
from pathlib import Path

from mujo_edge.core import DataError, UsageError, require_extra
from training.corpora.base import Corpus


def fetch(corpus: Corpus, folder: Path) -> Path:
    """Download the data set's file into `folder`, unless it is there already; returns its path.

    Raises `UsageError` if there is no public URL, `DataError` if the download fails, its hash is wrong or it holds no
    file of the data set.
    """
    source = corpus.download
    if source is None:
        raise UsageError(
            f"{corpus.title} cannot be downloaded by a program: its publisher requires a form or a request. "
            f"Get it from {corpus.home} and put it into {folder}"
        )
    pooch = require_extra("pooch", "train")
    requests = require_extra("requests", "train")
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
    try:
        saved = pooch.retrieve(source.url, source.sha256, source.filename, folder, downloader=downloader)
    except (requests.RequestException, OSError) as error:
        answer = getattr(error, "response", None)
        reason = type(error).__name__ if answer is None else f"the server says {answer.status_code} {answer.reason}"
        raise DataError(
            f"{source.url} could not be fetched ({reason}). "
            f"Try again, or get it from {corpus.home} and put it into {folder}"
        ) from None
    except ValueError:
        raise DataError(
            f"{source.url} or the file in {folder} is not the published one (its SHA-256 differs). "
            f"Delete that file and try again, or get it from {corpus.home}"
        ) from None
    path = Path(saved)
    try:
        recognized = corpus.recognizes(path)
    except DataError:
        recognized = False
    if not recognized:
        path.unlink()
        raise DataError(f"{source.url} is cut off or no longer {corpus.title}. Try again, or get it from {corpus.home}")
    return path
