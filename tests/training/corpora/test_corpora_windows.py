"""Windows, splits and cache: rules of protocol v1 on generated recordings."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_corpora import motion

from mujo_edge.core import DataError, UsageError
from training.corpora import CORPORA, find, folds, get, label_fraction, load_windows, registry, windows
from training.corpora.base import Recording, runs


def recording(labels: list[str], rate_hz: float = 50.0, channels: int = 6) -> Recording:
    names = ("ax", "ay", "az", "gx", "gy", "gz")[:channels]
    x = motion(len(labels), rate_hz)[:, :channels].astype(np.float32)
    return Recording("made", "7", "s", "wrist", rate_hz, x, np.asarray(labels), channels=names)


def test_window_never_crosses_a_label_or_a_recording():
    one = recording(["a"] * 200 + ["b"] * 149 + [""] * 300 + ["a"] * 24)
    data = windows([one, one], ("b", "a"))
    # a: 200 samples -> 1 window; b: 149 -> 1 padded; "" none; 24 -> too short.
    assert data.y.tolist() == [1, 0, 1, 0]
    assert data.recording.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data.x[0], one.x[:150].T)
    np.testing.assert_array_equal(data.x[1, :, :149], one.x[200:349].T)
    np.testing.assert_array_equal(data.x[1, :, 149], one.x[348])


@pytest.mark.parametrize(("length", "expected"), [(24, 0), (25, 1), (149, 1), (150, 1), (224, 1), (225, 2), (300, 3)])
def test_number_of_windows(length, expected):
    assert len(windows([recording(["a"] * length)], ("a",))) == expected


def test_hop_sets_the_distance_of_windows():
    assert len(windows([recording(["a"] * 300)], ("a",), hop=25)) == 7


def test_accelerometer_only_leaves_the_gyroscope_zero():
    data = windows([recording(["a"] * 150, channels=3), recording(["a"] * 150)], ("a",))
    assert data.has_gyro.tolist() == [False, True]
    assert not data.x[0, 3:].any()
    assert data.x[1, 3:].any()


def test_other_labels_give_no_windows():
    data = windows([recording(["c"] * 300)], ("a", "b"))
    assert data.x.shape == (0, 6, 150)
    assert len(data) == 0


def test_labels_are_resampled_with_the_signal():
    """At 100 Hz and at 25 Hz a label that starts at 4 s starts there after resampling to 50 Hz."""
    for rate_hz in (100.0, 25.0):
        change = round(4 * rate_hz)
        one = recording(["a"] * change + ["b"] * change, rate_hz)
        data = windows([one], ("a", "b"))
        assert np.bincount(data.y).tolist() == [1, 1]


def test_select_keeps_classes_and_selects_all_fields():
    data = windows([recording(["a"] * 300), recording(["b"] * 300, channels=3)], ("a", "b"))
    chosen = data.select(data.has_gyro)
    assert (len(chosen), chosen.classes, set(chosen.y)) == (3, ("a", "b"), {0})


@given(st.lists(st.sampled_from("aab "), min_size=1, max_size=60))
def test_runs_cover_the_labels(labels):
    actual = list(runs(np.asarray(labels)))
    assert [label for label, start, stop in actual for _ in range(stop - start)] == labels
    assert all(left[0] != right[0] and left[2] == right[1] for left, right in pairwise(actual))


people = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 13)), min_size=30, max_size=120)


@settings(max_examples=50)
@given(people)
def test_folds_share_no_person_and_test_everyone_once(pairs):
    y, subject = np.array([p[0] for p in pairs]), np.array([str(p[1]) for p in pairs])
    tested: list[str] = []
    for train, test in folds(y, subject):
        assert not set(subject[train]) & set(subject[test])
        assert set(y[test]) <= set(y[train])
        tested += sorted(set(subject[test]))
    assert len(tested) == len(set(tested))


@settings(max_examples=50)
@given(people, st.integers(0, 4))
def test_fractions_are_nested_and_contain_every_class(pairs, seed):
    y = np.array([p[0] for p in pairs])
    train = np.arange(0, len(y), 2)
    small, large, whole = (set(label_fraction(y, train, f, seed).tolist()) for f in (0.02, 0.10, 1.0))
    assert small <= large <= whole == set(train.tolist())
    assert {y[i] for i in small} == set(y[train])


def test_cached_windows_are_equal_and_the_data_is_not_read_again(make, monkeypatch):
    root = make("utd_mhad").parent
    first = load_windows("utd_mhad", root)
    monkeypatch.setattr(registry, "windows", lambda *_: pytest.fail("cut again although cached"))
    second = load_windows("utd_mhad", root)
    for field in registry.ARRAYS:
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert (second.corpus, second.classes) == ("utd_mhad", CORPORA["utd_mhad"].classes)


def test_changed_data_is_read_again(make):
    folder = make("utd_mhad")
    before = load_windows("utd_mhad", folder.parent)
    next(iter(sorted(folder.glob("*.mat")))).unlink()
    assert len(load_windows("utd_mhad", folder.parent)) == len(before) - 1


def test_each_hop_has_its_own_cache_entry(make):
    root = make("utd_mhad").parent
    assert len(load_windows("utd_mhad", root, hop=10)) > len(load_windows("utd_mhad", root))


def test_damaged_cache_is_rebuilt(make):
    root = make("utd_mhad").parent
    first = load_windows("utd_mhad", root)
    (file,) = (registry.cache_folder() / "windows").glob("*.npz")
    file.write_bytes(file.read_bytes()[:500])
    np.testing.assert_array_equal(load_windows("utd_mhad", root).x, first.x)
    np.testing.assert_array_equal(load_windows("utd_mhad", root).x, first.x)


def test_cache_has_no_partial_files(make):
    load_windows("utd_mhad", make("utd_mhad").parent)
    assert not list(registry.cache_folder().rglob("*.tmp*"))


def test_unknown_name_is_a_usage_error():
    with pytest.raises(UsageError, match=r"'wisdm'\. Choose from: motionsense, spar"):
        get("wisdm")


def test_missing_data_set_error_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"python -m training\.corpora download motionsense"):
        find("motionsense", tmp_path)
