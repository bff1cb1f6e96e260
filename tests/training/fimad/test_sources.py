"""Registry of sources: names, metadata, search, and tasks that can be pickled."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import pytest

from mujo_edge.core import UsageError
from training.corpora import CORPORA, data_root
from training.fimad.clip import Clip
from training.fimad.convert import to_clip
from training.fimad.sources import SOURCES, sources
from training.fimad.video import Options


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_sources_are_registered_by_name_with_metadata(name: str) -> None:
    source = SOURCES[name]
    assert source.name == name
    assert name.isidentifier()
    assert source.title
    assert source.license
    assert source.citation
    assert source.home.startswith("http")
    assert set(source.shares_people_with) <= set(CORPORA)


def test_nothing_is_found_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    assert SOURCES[name].find(tmp_path) is None
    assert SOURCES[name].find(tmp_path / "absent") is None


def test_utd_mhad_shares_people_with_its_corpus() -> None:
    assert SOURCES["utd_mhad_skeleton"].shares_people_with == ("utd_mhad",)


def test_first_tasks_of_the_real_source(name: str) -> None:
    """Task ids are unique, tasks can be pickled, and their clips are of the source's corpus."""
    source = sources(Options(tower=None, pose=False))[name]
    path = source.find(data_root())
    if path is None:
        pytest.skip(f"{name} is not under {data_root()}: set MUJO_DATA")
    tasks = list(source.tasks(path))
    assert len({task.id for task in tasks}) == len(tasks)
    assert bool(tasks) is (name != "fimad")  # its videos are the user's
    for task in islice(tasks, 1):
        sent = pickle.loads(pickle.dumps(task))
        clips: list[Clip] = [to_clip(take, source.license) for take in sent.read(*sent.arguments)]
        assert clips
        for clip in clips:
            assert clip.id.startswith(f"{clip.corpus}/")
            assert clip.corpus == source.name
            assert clip.subject
            assert clip.title
            assert len(clip.texts) >= 4


def test_manifests_of_users_are_sources(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    one, two = tmp_path / "mine.csv", tmp_path / "home" / "manifest.json"
    for path in (one, two):
        path.write_text("[]")
    assert set(sources(manifests=[one, two])) - set(SOURCES) == {"mine", "home"}
    again = tmp_path / "home" / "mine.json"
    again.write_text("[]")
    with pytest.raises(UsageError, match="second source called 'mine'"):
        sources(manifests=[one, again])
    with pytest.raises(UsageError, match="does not exist"):
        sources(manifests=[tmp_path / "absent.csv"])
