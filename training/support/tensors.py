"""Tensors on disk, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mujo_edge.core import DataError


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """`torch.save` under another name, then rename: a kill leaves nothing half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    partial.replace(path)


def load_tensors(path: Path) -> dict[str, Any]:
    """What `save_tensors` wrote. Raises `DataError` for a damaged file."""
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"{path} is damaged. Delete it and give the same command again") from error
    return content
