"""Exercise sets with known repetitions in muvr and MM-Fit, with and without signals."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from mujo_edge.core import DataError
from training.corpora import CORPORA
from training.corpora.__main__ import app
from training.corpora.base import RepetitionSet
from training.corpora.mm_fit import label_sets


@pytest.fixture
def labels_alone(make):
    """MM-Fit's label files without the signals."""
    folder = make("mm_fit")
    for file in folder.rglob("*.npy"):
        file.unlink()
    return folder


def test_muvr_repetitions_are_per_file(make):
    assert [r.sets for r in CORPORA["muvr"].load(make("muvr"))] == [
        (RepetitionSet(0.0, 8.0, 15, "biceps curl"),),
        (RepetitionSet(0.0, 8.0, 15, "dumbbell chest fly"),),
    ]


@pytest.mark.parametrize("entered", ["", "0"])
def test_muvr_files_without_repetitions_have_no_set(entered, make):
    folder = make("muvr")
    file = next((folder / "arms").iterdir())
    file.write_text(file.read_text().replace(",15\n", f",{entered}\n"))
    assert [r.sets for r in CORPORA["muvr"].load(folder) if r.subject == "arms"] == [()]


@pytest.mark.parametrize("entered", ["many", "-3", "7.5"])
def test_muvr_malformed_repetitions_are_an_error(entered, make):
    folder = make("muvr")
    file = next((folder / "arms").iterdir())
    file.write_text(file.read_text().replace(",15\n", f",{entered}\n"))
    with pytest.raises(DataError, match=rf"{file.name}: biceps curl has repetitions \['{entered}'\]"):
        CORPORA["muvr"].load(folder)


def test_mm_fit_sets_are_on_the_recordings_clock(make):
    for recording in CORPORA["mm_fit"].load(make("mm_fit")):
        assert [(s.repetitions, s.exercise) for s in recording.sets] == [(10, "squats"), (12, "bicep curls")]
        runs = [(start / 50, stop / 50) for label, start, stop in recording.segments() if label != "non activity"]
        np.testing.assert_allclose([(s.start_s, s.end_s) for s in recording.sets], runs, atol=0.05)


def test_mm_fit_sets_cut_off_by_the_recording_are_left_out(make):
    folder = make("mm_fit")
    with (folder / "w12" / "w12_labels.csv").open("a") as file:
        file.write("1500,9000,30,lunges\n")
    sets = [r.sets for r in CORPORA["mm_fit"].load(folder) if r.session.startswith("w12")]
    assert [[s.exercise for s in own] for own in sets] == [["squats", "bicep curls"]] * 2


def test_mm_fit_labels_without_signals_are_on_the_cameras_clock(labels_alone):
    actual = label_sets(labels_alone)
    assert set(actual) == {"w00", "w12"}
    assert actual["w12"] == (
        RepetitionSet(1060 / 30, 1240 / 30, 10, "squats"),
        RepetitionSet(1330 / 30, 1480 / 30, 12, "bicep curls"),
    )


def test_mm_fit_labels_without_signals_are_not_the_data_set(labels_alone):
    assert CORPORA["mm_fit"].find(labels_alone.parent) is None
    assert not CORPORA["mm_fit"].recognizes(labels_alone)


def test_mm_fit_without_label_files_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no label file of MM-Fit"):
        label_sets(tmp_path)


@pytest.mark.parametrize("row", ["1240,1060,10,squats", "-3,60,10,squats", "0,60,0,squats", "0,60,9.5,squats"])
def test_mm_fit_invalid_sets_are_an_error(row, labels_alone):
    (labels_alone / "w12" / "w12_labels.csv").write_text(row + "\n")
    with pytest.raises(DataError, match=r"w12_labels\.csv has sets without frames or repetitions"):
        label_sets(labels_alone)


def test_sets_command_lists_and_writes_them(make, tmp_path):
    root = make("muvr").parent
    make("mm_fit")
    table = tmp_path / "sets.csv"
    result = CliRunner().invoke(
        app,
        ["sets", "muvr", "mm_fit", "mm_fit_labels", "--data", str(root), "--csv", str(table)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip()}
    assert lines["muvr"] == ["2", "2", "30", "15,", "15,", "15"]
    assert lines["mm_fit"] == ["8", "2", "88", "10,", "11,", "12"]
    assert lines["mm_fit_labels"] == ["4", "2", "44", "10,", "11,", "12"]
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 14
    session = CORPORA["muvr"].load(root / "muvr")[0].session
    assert rows[0] == {
        **{"data_set": "muvr", "person": "arms", "session": session, "placement": "wrist"},
        **{"start_s": "0.0", "end_s": "8.0", "repetitions": "15", "exercise": "biceps curl"},
    }


def test_sets_command_without_label_files(tmp_path):
    with pytest.raises(DataError, match="label files were not found"):
        CliRunner().invoke(app, ["sets", "mm_fit_labels", "--data", str(tmp_path)], catch_exceptions=False)


def test_sets_of_spar_and_metamotion_have_the_numbers_of_their_protocols(real):
    assert {one.repetitions for r in CORPORA["spar"].load(real("spar")) for one in r.sets} == {20}
    recordings = CORPORA["metamotion"].load(real("metamotion"))
    for recording in recordings:
        counts = [one.repetitions for one in recording.sets]
        assert counts == [n for load, n in (("heavy", 5), ("medium", 10)) if load in recording.session]
        assert all(one.end_s == recording.duration_s for one in recording.sets)
    assert sum(len(recording.sets) for recording in recordings) == 57


def test_counts_of_the_real_sets(real):
    sets = [one for r in CORPORA["muvr"].load(real("muvr")) for one in r.sets]
    assert (len(sets), sum(one.repetitions for one in sets)) == (284, 3042)


def test_counts_of_the_real_mm_fit_labels(real):
    path = real("muvr").parents[1] / "mm_fit_labels" / "mm_fit_labels.zip"
    if not path.is_file():
        pytest.skip(f"MM-Fit's label files are not at {path}")
    actual = label_sets(path)
    assert len(actual) == 21
    assert sum(len(sets) for sets in actual.values()) == 616
    assert sum(one.repetitions for sets in actual.values() for one in sets) == 6160
