"""Held-out people, recordings and the person of the demo recording are not trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from corpora.made_corpora import LAYOUTS
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.core import DataError
from mujo_edge.sources.replay import shipped_recording
from training.corpora import CORPORA, WindowSet, data_root
from training.recipes.recipe import Recipe, read_recipe
from training.recipes.splits import RESERVED, by_people, held_out, load_data, reserved, thin


def windows_of(corpus: str, rows: list[tuple[str, int, int]]) -> WindowSet:
    """Windows of (person, recording, class)."""
    subject, recording, y = zip(*rows, strict=True)
    n, place = len(rows), np.full(len(rows), "wrist")
    x = np.arange(n, dtype=np.float32)[:, None, None] * np.ones((6, 150), np.float32)
    names = np.asarray(subject, str)
    classes, gyro = CORPORA[corpus].classes, np.ones(n, bool)
    side, start_s = np.full(n, ""), np.zeros(n, np.float32)
    return WindowSet(corpus, classes, x, gyro, np.array(y), names, place, np.array(recording), side, start_s)


def test_every_fifth_person_in_natural_order_is_held_out():
    rows = [(str(person), 10 * person + y, y) for person in range(1, 13) for y in range(3)]
    data = windows_of("spar", rows[::-1])
    assert by_people(data)
    assert set(data.subject[held_out(data)]) == {"5", "10"}


def test_recordings_are_held_out_if_people_would_take_a_class_with_them():
    """Only person 5 shows class 2, so every fifth recording of each class is held out instead."""
    rows = [(str(person), 100 * person + 10 * y + i, y) for person in range(1, 7) for y in range(2) for i in range(3)]
    rows += [("5", 900 + i, 2) for i in range(6)]
    data = windows_of("spar", rows)
    out = held_out(data)
    assert not by_people(data)
    assert not set(data.recording[out]) & set(data.recording[~out])
    assert set(data.y[out]) == set(data.y[~out]) == {0, 1, 2}
    assert Counter(data.y[out].tolist()) == {0: 3, 1: 3, 2: 1}


def test_corpus_without_subjects_is_held_out_by_recording():
    assert not CORPORA["mhealth_fragments"].subjects
    data = windows_of("mhealth_fragments", [(str(i), i, i % 2) for i in range(30)])
    assert not by_people(data)
    assert sorted(data.recording[held_out(data)].tolist()) == [8, 9, 18, 19, 28, 29]


table = st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(table)
def test_recording_is_never_in_both_parts(rows):
    """No held-out recording is trained on, nor any recording of a held-out person."""
    rows = [(person, 10 * ord(person) + recording, y) for person, recording, y in rows]
    data = windows_of("spar", rows)
    out = held_out(data)
    assert not set(data.recording[out]) & set(data.recording[~out])
    if by_people(data):
        assert not set(data.subject[out]) & set(data.subject[~out])
        assert set(data.y[out]) <= set(data.y[~out])


def test_shipped_recording_is_of_the_reserved_person():
    assert shipped_recording().name == f"spar-{RESERVED['spar']}"
    data = windows_of("spar", [("1", 0, 0), ("10", 1, 0), ("0", 2, 0)])
    assert reserved(data).tolist() == [False, True, False]
    assert not reserved(windows_of("muvr", [("10", 1, 0)])).any()


def test_thin_keeps_evenly_spread_windows_of_each_class():
    data = windows_of("spar", [("1", i, i % 3 // 2) for i in range(300)])
    few = thin(data, 10)
    assert Counter(few.y.tolist()) == {0: 10, 1: 10}
    for label in (0, 1):
        recordings = few.recording[few.y == label]
        assert recordings.min() < 10
        assert recordings.max() > 290
        assert np.diff(recordings).max() < 40
    assert thin(data, 0) is data
    assert len(thin(data, 150)) == 250


@pytest.fixture(scope="module")
def tiny():
    return load_data(read_recipe("tiny"))


def test_no_spar_subject_is_in_both_parts(tiny):
    (train,), (held_out,), (stream,) = tiny.train, tiny.held_out, tiny.streams
    people = [set(part.subject.tolist()) for part in (train, held_out, stream)]
    assert people[0] == {"1", "2", "3", "4", "6", "7", "8", "9"}
    assert people[1] == people[2] == {"5"}
    assert max(Counter(train.y.tolist()).values()) == read_recipe("tiny").max_windows_per_class
    assert set(held_out.y) == set(train.y) == set(range(7))


def test_streams_are_the_held_out_recordings_at_the_live_hop(tiny):
    (held_out,), (stream,) = tiny.held_out, tiny.streams
    assert set(stream.recording) == set(held_out.recording)
    for recording in set(held_out.recording):
        slow, fast = held_out.x[held_out.recording == recording], stream.x[stream.recording == recording]
        np.testing.assert_array_equal(fast[::3][: len(slow)], slow)
        assert len(fast) // 3 in (len(slow) - 1, len(slow))


def test_no_window_of_a_held_out_recording_is_trained_on(tmp_path, monkeypatch):
    """Several data sets together, one of them without people and one with several labels per recording."""
    names = ("muvr", "mhealth_fragments", "sp_sw_watch", "motionsense")
    for name in names:
        LAYOUTS[name](tmp_path / name)
    monkeypatch.setenv("MUJO_DATA", str(tmp_path))
    data = load_data(Recipe("made", ("spar", *names)))
    for train, withheld in zip(data.train, data.held_out, strict=True):
        assert train.corpus == withheld.corpus
        assert not set(train.recording) & set(withheld.recording)
        assert len(train)


def test_permissive_loads_only_open_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJO_DATA", str(tmp_path))
    data = load_data(Recipe("made", ("muvr", "spar"), licenses="permissive"))
    assert [s.corpus for s in data.train] == ["spar"]
    with pytest.raises(DataError, match="was not found under"):
        load_data(Recipe("made", ("muvr", "spar")))


@pytest.mark.skipif(not Path(data_root()).is_dir(), reason=f"no data under {data_root()}: set MUJO_DATA")
@pytest.mark.parametrize("corpus", ["metamotion", "muvr"])
def test_gym_corpora_hold_out_recordings_of_every_class(corpus):
    """As documented: not subject-disjoint, but no recording is on both sides."""
    data = load_data(Recipe("gym", (corpus,)))
    train, held_out = data.train[0], data.held_out[0]
    assert not set(train.recording) & set(held_out.recording)
    assert set(held_out.y) <= set(train.y)
    assert 0.1 < len(held_out) / (len(held_out) + len(train)) < 0.35


@pytest.mark.skipif(not Path(data_root()).is_dir(), reason=f"no data under {data_root()}: set MUJO_DATA")
def test_phone_and_watch_of_a_person_are_held_out_together():
    """They recorded the same movements at the same time."""
    data = load_data(Recipe("pair", ("sp_sw_watch", "sp_sw_phone")))
    watch, phone = (set(part.subject.tolist()) for part in data.held_out)
    assert watch == phone
    assert not watch & {s for part in data.train for s in part.subject.tolist()}


def test_reserved_person_is_excluded_even_if_not_held_out(monkeypatch):
    monkeypatch.setitem(RESERVED, "spar", "3")
    data = load_data(read_recipe("tiny"))
    seen = {s for side in (data.train, data.held_out, data.streams) for part in side for s in part.subject.tolist()}
    assert seen == {"1", "2", "4", "5", "6", "7", "8", "9", "10"}
