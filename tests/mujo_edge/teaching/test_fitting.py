"""Label sets taught from labeled recordings: what the file keeps, the estimate, and refused input."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import AXES, bundle, motion

from mujo_edge.bundle import LabelSet, ModelBundle
from mujo_edge.bundle.taught import Borrowed, Take
from mujo_edge.core import DataError, UsageError
from mujo_edge.recordings.reader import open_recording
from mujo_edge.teaching.fitting import advice, fit_takes, macro_f1
from mujo_edge.teaching.takes import takes_of


def recording(path: Path, axes: list[int], seconds: float = 8.0, seed: int = 0, *, labels: bool = True) -> Path:
    t_s, x, truth = motion(axes, seconds, seed=seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        names = ["t_s", "ax_m_s2", "ay_m_s2", "az_m_s2", "gx_rad_s", "gy_rad_s", "gz_rad_s"]
        rows.writerow([*names, "label"] if labels else names)
        for t, row, label in zip(t_s, x, truth, strict=True):
            rows.writerow([t, *row, label] if labels else [t, *row])
    return path


def takes(*paths: Path, model: ModelBundle | None = None) -> list[Take]:
    return takes_of(model or bundle(), [open_recording(path) for path in paths], 6)


def made(label: str, direction: list[float], n: int = 13, seed: int = 0) -> Take:
    z = np.array(direction) + np.random.default_rng(seed).normal(0, 0.02, (n, 3))
    return Take(label, "made", 9.0, 3, False, (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32))


def test_every_stretch_of_one_label_is_a_take(tmp_path: Path) -> None:
    actual = takes(recording(tmp_path / "a.csv", [0, 1, 0]), recording(tmp_path / "b.csv", [1]))
    assert [(take.label, take.recording) for take in actual] == [
        ("x up", "a.csv"),
        ("y up", "a.csv"),
        ("x up", "a.csv"),
        ("y up", "b.csv"),
    ]
    assert all(7 < take.seconds <= 8.1 and len(take.embeddings) >= 9 for take in actual)


def test_taught_set_survives_its_file_and_refits_to_the_same_prototypes(tmp_path: Path) -> None:
    model = bundle()
    fitted = fit_takes(model, takes(recording(tmp_path / "a.csv", [0, 1, 0, 1])), name="mine", channels=6)
    fitted.save(tmp_path / "mine.json")
    read = LabelSet.load(tmp_path / "mine.json")
    assert read.taught
    assert fitted.taught
    assert [len(take.embeddings) for take in read.taught.takes] == [
        len(take.embeddings) for take in fitted.taught.takes
    ]
    again = fit_takes(model, read.taught.takes, name="mine", channels=6)
    np.testing.assert_array_equal(again.prototypes, fitted.prototypes)
    assert (again.temperature, again.unknown_threshold) == (fitted.temperature, fitted.unknown_threshold)


def test_estimate_holds_out_one_take_at_a_time() -> None:
    apart = [made("a", [1, 0, 0], seed=i) for i in range(3)] + [made("b", [0, 1, 0], seed=i) for i in range(3, 6)]
    taught = fit_takes(bundle(), apart, name="s", channels=6).taught
    assert taught
    assert (taught.held_out, taught.macro_f1, taught.confused) == ("takes", 1.0, ())
    # The third take of b was another movement, which is nearer to a: only leaving it out shows that.
    odd = [*apart[:5], made("b", [0.9, 0.1, 0], seed=9)]
    taught = fit_takes(bundle(), odd, name="s", channels=6).taught
    assert taught
    assert taught.macro_f1 is not None
    assert taught.macro_f1 < 0.9
    assert (taught.confused[0].truth, taught.confused[0].label) == ("b", "a")
    assert taught.confused[0].fraction == pytest.approx(1 / 3)
    assert any("look alike: b and a, 33 % confused" in line for line in advice(taught))


def test_windows_that_overlap_a_held_out_piece_are_not_fitted() -> None:
    short = [made("a", [1, 0, 0], n=6), made("b", [0, 1, 0], n=6)]
    taught = fit_takes(bundle(), short, name="s", channels=6).taught
    assert taught
    assert (taught.held_out, taught.macro_f1) == ("none", None)
    taught = fit_takes(
        bundle(), [replace(take, embeddings=np.repeat(take.embeddings, 5, 0)) for take in short], name="s", channels=6
    ).taught
    assert taught
    assert (taught.held_out, taught.macro_f1) == ("pieces", 1.0)


def test_two_names_for_one_movement_are_reported() -> None:
    same = [made(name, [1, 0, 0], seed=i) for i, name in enumerate(["squat", "knee bend"] * 3)]
    taught = fit_takes(bundle(), same, name="s", channels=6).taught
    assert taught
    assert any("If they are one movement, remove one name" in line for line in advice(taught))


def test_borrowed_labels_keep_their_prototypes() -> None:
    model = bundle()
    only = [made("diagonal", [1, 1, 0])]
    fitted = fit_takes(model, only, name="s", channels=6, borrowed=[Borrowed("axes", "z up")])
    assert [label.name for label in fitted.labels] == ["diagonal", "z up"]
    np.testing.assert_array_equal(fitted.prototypes[1], model.label_sets["axes"].prototypes[2])
    assert fitted.unknown_threshold <= model.label_sets["axes"].unknown_threshold
    with pytest.raises(UsageError, match="no label 'w up' in axes; it has: x up, y up, z up"):
        fit_takes(model, only, name="s", channels=6, borrowed=[Borrowed("axes", "w up")])
    with pytest.raises(UsageError, match="no label set 'nothing'"):
        fit_takes(model, only, name="s", channels=6, borrowed=[Borrowed("nothing", "w up")])


def test_unusable_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no labels"):
        takes(recording(tmp_path / "plain.csv", [0], labels=False))
    short = recording(tmp_path / "short.csv", [1], seconds=2.0)
    with pytest.raises(DataError, match=r"'y up' has 2\.0 s in all and nowhere 3 s"):
        takes(recording(tmp_path / "a.csv", [0]), short)
    with pytest.raises(DataError, match="'a' was taught with one window"):
        fit_takes(bundle(), [made("a", [1, 0, 0], n=1), made("b", [0, 1, 0])], name="s", channels=6)


def test_still_take_is_named_in_the_advice(tmp_path: Path) -> None:
    taught = fit_takes(bundle(), takes(recording(tmp_path / "a.csv", [0, 1])), name="s", channels=6).taught
    assert taught
    assert all(take.still is False for take in taught.takes)
    quiet = [replace(take, still=take.label == AXES[0]) for take in taught.takes]
    lines = advice(replace(taught, takes=tuple(quiet)))
    assert [line for line in lines if "no motion" in line] == ["x up has no motion in 8 s: is the sensor worn?"]


def test_macro_f1_weighs_classes_alike() -> None:
    assert macro_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])) == pytest.approx((6 / 7 + 0) / 2)
