"""Tensors in files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mujo_edge.core import DataError
from mujo_edge.files import atomic_file


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """`torch.save`, atomically: a kill leaves no half-written file at `path`."""
    with atomic_file(path) as partial:
        torch.save(content, partial)


def load_tensors(path: Path) -> dict[str, Any]:
    """The content of a file that `save_tensors` wrote. Raises `DataError` for a damaged file."""
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"{path} is damaged. Delete it and give the same command again") from error
    return content
