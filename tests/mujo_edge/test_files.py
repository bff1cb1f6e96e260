"""Files are replaced atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from mujo_edge.files import atomic_file


def test_atomic_file_replaces_the_old_file_at_the_end(tmp_path: Path):
    path = tmp_path / "new" / "x.txt"
    for text in ("first", "second"):
        with atomic_file(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_atomic_file_keeps_the_old_file_after_an_error(tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
