"""MEx, Physical Therapy Exercises, Stress-Predict and emlearn's exercises on small generated files."""

from __future__ import annotations

import numpy as np
import pytest
from made_corpora import PTEX_HEADER, G, emlearn_file, motion

from mujo_edge.core import DataError
from training.corpora import CORPORA
from training.corpora.base import BACKGROUND, turned
from training.corpora.ptex import AXES, moving


def test_mex_sensors_exercises_and_measured_rate(make):
    folder = make("mex_thigh")
    thigh, wrist = (CORPORA[f"mex_{place}"].load(folder) for place in ("thigh", "wrist"))
    assert [(r.subject, r.session, r.placement, str(r.labels[0])) for r in (*thigh, *wrist)] == [
        ("1", "01/04_1", "thigh", "clamshell"),
        ("1", "01/04_2", "thigh", "clamshell"),
        ("2", "02/04_1", "thigh", "clamshell"),
        ("2", "02/04_2", "thigh", "clamshell"),
        ("1", "01/01_1", "wrist", "knee rolling"),
        ("2", "02/01_1", "wrist", "knee rolling"),
    ]
    assert {round(r.rate_hz, 2) for r in (*thigh, *wrist)} == {111.11}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:300], *lines[400:]], "do not increase evenly"),
        (lambda lines: [*lines[:300], *lines[200:]], "do not increase evenly"),
        (lambda lines: lines[:1], "do not increase evenly"),
        (lambda lines: [line.replace("2018-11", "2018-31") for line in lines], "cut off or malformed"),
    ],
    ids=["gap", "back", "one row", "no date"],
)
def test_mex_invalid_timestamps_are_an_error(change, message, make):
    folder = make("mex_thigh")
    file = folder / "act" / "02" / "04_act_1.csv"
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=rf"04_act_1\.csv.*{message}"):
        CORPORA["mex_thigh"].load(folder)


def test_mex_unknown_exercise_is_an_error(make):
    folder = make("mex_thigh")
    (folder / "act" / "02" / "04_act_1.csv").rename(folder / "act" / "02" / "08_act_1.csv")
    with pytest.raises(DataError, match=r"08_act_1\.csv: exercises are 1 to 7"):
        CORPORA["mex_thigh"].load(folder)


def test_ptex_sessions_units_and_moving_parts(make):
    recordings = CORPORA["ptex"].load(make("ptex"))
    assert [(r.subject, r.session, r.placement, r.side) for r in recordings] == [
        ("2", "s2/e1 template", "thigh", "right"),
        ("2", "s2/e1 test", "thigh", "right"),
        ("2", "s2/e6 template", "wrist", "right"),
        ("2", "s2/e6 test", "wrist", "right"),
    ]
    for recording, exercise in zip(
        recordings, ["seated knee extension"] * 2 + ["dumbbell biceps curl"] * 2, strict=True
    ):
        assert {label for label, *_ in recording.segments()} - {""} == {exercise}
    runs = [(label, start / 25, stop / 25) for label, start, stop in recordings[1].segments()]
    assert [label for label, *_ in runs] == ["seated knee extension", "", "seated knee extension"]
    np.testing.assert_allclose(runs[1][1:], [27, 42], atol=0.6)


def write_ptex(path, x):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack([np.arange(1, len(x) + 1), x, np.zeros((len(x), 3))])
    np.savetxt(path, rows, delimiter=";", fmt="%.6f", header=PTEX_HEADER, comments="")


def test_ptex_a_test_has_three_sets_of_ten(tmp_path):
    x = motion(25 * 200, 25)
    t = np.arange(len(x)) / 25
    moves = (t < 60) | ((t > 102) & (t < 131)) | (t > 163)
    x[:, 3:] = 0
    x[moves, 4] = np.sin(2 * np.pi * 0.4 * t[moves])
    write_ptex(tmp_path / "s1" / "e7" / "u2" / "test.txt", x)
    (recording,) = CORPORA["ptex"].load(tmp_path)
    assert [(s.repetitions, s.exercise) for s in recording.sets] == [(10, "lateral raise")] * 3
    spans = [(s.start_s, s.end_s) for s in recording.sets]
    np.testing.assert_allclose(spans, [(0, 60), (102, 131), (163, 200)], atol=0.6)


def test_ptex_units_on_parts_at_rest_are_unlabeled(make):
    folder = make("ptex")
    (folder / "s2" / "e6" / "u2").rename(folder / "s2" / "e6" / "u1")
    still = [r for r in CORPORA["ptex"].load(folder) if r.session.startswith("s2/e6")]
    assert [(r.placement, r.side, r.sets, set(r.labels)) for r in still] == [("thigh", "right", (), {""})] * 2


def test_ptex_annotated_executions_of_a_template_session(make):
    folder = make("ptex")
    times = folder / "s2" / "e1" / "template_times.txt"
    times.write_text("execution type;start;end\n1;76;200.5\n2;251;301\n3;350.5;500\n")
    template, test = CORPORA["ptex"].load(folder)[:2]
    assert [(s.start_s, s.end_s, s.repetitions, s.exercise) for s in template.sets] == [
        (3.0, 8.02, 1, "seated knee extension"),
        (10.0, 12.04, 1, "seated knee extension"),
        (13.98, 20.0, 1, "seated knee extension"),
    ]
    assert {s.repetitions for s in test.sets} == {10}
    times.write_text("execution type;start;end\n1;76;900\n")
    with pytest.raises(DataError, match=r"template_times\.txt has times outside its session's 575 samples"):
        CORPORA["ptex"].load(folder)


def test_ptex_only_long_pauses_are_rests():
    rate = np.zeros((25 * 60, 3))
    rate[:, 2] = 0.02  # the gyroscope's bias
    for start in (2, 10, 30):
        rate[25 * start : 25 * (start + 2), 1] = 1.0
    times = np.flatnonzero(moving(rate)) / 25
    assert np.isin(np.arange(4, 10), np.floor(times)).all()  # held for 6 s
    assert not np.isin(np.arange(14, 29), np.floor(times)).any()  # 18 s


@pytest.mark.parametrize("axes", AXES.values())
def test_ptex_axes_are_right_handed(axes):
    assert np.linalg.det(turned(np.eye(3), axes)) == pytest.approx(1)


@pytest.mark.parametrize(("line", "value"), [(7, "nan"), (7, "1x2"), (0, "time index;acc_x;acc_q")])
def test_ptex_broken_row_is_an_error(line, value, make):
    folder = make("ptex")
    file = folder / "s2" / "e1" / "u3" / "test.txt"
    lines = file.read_text().splitlines()
    lines[line] = ";".join([*lines[line].split(";")[:2], value, *lines[line].split(";")[3:]])
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"u3/test\.txt"):
        CORPORA["ptex"].load(folder)


def test_stress_predict_is_background_at_the_rate_of_its_header(make):
    recordings = CORPORA["stress_predict"].load(make("stress_predict"))
    assert [(r.subject, r.session, r.rate_hz, len(r.x)) for r in recordings] == [
        ("1", "S01", 32.0, 640),
        ("35", "S35", 32.0, 640),
    ]
    assert {label for r in recordings for label, *_ in r.segments()} == {BACKGROUND}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, "64.000000, 64.000000, 64.000000"),
        (0, "1,2,63"),
        (5, "1,nan,63"),
        (5, "1,x,63"),
        (5, "1,63"),
        (5, "1,2,3,4"),
    ],
)
def test_stress_predict_file_of_another_device_is_an_error(line, text, make):
    folder = make("stress_predict")
    file = folder / "Raw_data" / "S01" / "ACC.csv"
    lines = file.read_text().splitlines()
    lines[line] = text
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"S01/ACC\.csv"):
        CORPORA["stress_predict"].load(folder)


def test_stress_predict_file_truncated_inside_a_number_is_an_error(make):
    folder = make("stress_predict")
    file = folder / "Raw_data" / "S01" / "ACC.csv"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"S01/ACC\.csv is cut off"):
        CORPORA["stress_predict"].load(folder)


def test_emlearn_reads_all_rows_and_prefers_annotations(make):
    recordings = CORPORA["emlearn_exercises"].load(make("emlearn_exercises"))
    assert [(r.session, len(r.x), str(r.labels[0])) for r in recordings] == [
        ("2024-12-01T162337_jumpingjack", 450, "jumping jack"),
        ("2024-12-01T162428_lunge", 450, BACKGROUND),  # a person saw that it was something else
        ("2024-12-01T162541_squat", 450, "squat"),
    ]


def emlearn_paths(folder):
    root = folder / "data" / "raw" / "har_record_exercises_1"
    return next((root / "labels").iterdir()), root / "data" / "2024-12-01T162541_squat.npy"


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        (["squat", "squat"], "squat"),
        (["squat", "lunge"], ""),
        (["mixed"], ""),
        (["other", "squat"], ""),
    ],
)
def test_emlearn_file_with_two_annotations_is_read(rows, label, make):
    table, _ = emlearn_paths(folder := make("emlearn_exercises"))
    with table.open("a") as file:
        file.writelines(
            f'{i},"1","/data/upload/3/0a-2024-12-01T162541_squat.npy.csv","{row}"\n' for i, row in enumerate(rows)
        )
    (squat,) = (r for r in CORPORA["emlearn_exercises"].load(folder) if r.session.endswith("squat"))
    assert set(squat.labels) == {label}


@pytest.mark.parametrize(
    "content",
    [
        emlearn_file(np.ones((9, 3)))[:-1],
        emlearn_file(np.ones((0, 3))),
        emlearn_file(np.ones((9, 3))).replace(b"<i2", b"<f4"),
        b"something else",
        b"\x93NUMPY\x01\x00",
    ],
    ids=["half a row", "no row", "floats", "text", "magic alone"],
)
def test_emlearn_malformed_file_is_an_error(content, make):
    _, squat = emlearn_paths(folder := make("emlearn_exercises"))
    squat.write_bytes(content)
    with pytest.raises(DataError, match=r"T162541_squat\.npy is cut off or not an \.npy file"):
        CORPORA["emlearn_exercises"].load(folder)


@pytest.mark.parametrize("rows", ["1,2\n", '"x', "x,y\n"])
def test_emlearn_malformed_table_is_an_error(rows, make):
    table, _ = emlearn_paths(folder := make("emlearn_exercises"))
    table.write_text(f"timeseriesUrl,trend_forecast\n{rows}")
    with pytest.raises(DataError, match=r"is not a table of annotations"):
        CORPORA["emlearn_exercises"].load(folder)


def test_emlearn_unknown_label_is_an_error(make):
    _, squat = emlearn_paths(folder := make("emlearn_exercises"))
    squat.with_name("2024-12-01T170000_burpee.npy").write_bytes(emlearn_file(np.full((9, 3), G / 2)))
    with pytest.raises(DataError, match=r"burpee\.npy has an unknown label, 'burpee'"):
        CORPORA["emlearn_exercises"].load(folder)
