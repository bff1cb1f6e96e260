"""WISDM, HAPT and Daily and Sports Activities on small generated files: defects and axes."""

from __future__ import annotations

import numpy as np
import pytest
from made_corpora import G, wisdm_records, write_csv

from mujo_edge.core import DataError
from training.corpora import CORPORA
from training.corpora.base import turned
from training.corpora.dsads import PLACES


def axes_of(x: np.ndarray) -> list[int]:
    """Mean acceleration over g, rounded."""
    return np.rint(x[:, :3].mean(0) / G).astype(int).tolist()


def test_turned_rotates_acceleration_and_rate():
    x = np.arange(6.0)[None]
    np.testing.assert_array_equal(turned(x, "-y x z"), [[-1, 0, 2, -4, 3, 5]])
    np.testing.assert_array_equal(turned(x[:, :3], "z -x -y"), [[2, 0, -1]])


@pytest.mark.parametrize("axes", [axes for *_, axes in PLACES])
def test_axes_of_all_placements_are_right_handed(axes):
    assert np.linalg.det(turned(np.eye(3), axes)) == pytest.approx(1)


WISDM = "WISDM_ar_v1.1_raw.txt"


def wisdm_lines(folder):
    return (folder / WISDM).read_text().splitlines()


def load_wisdm(folder, lines):
    (folder / WISDM).write_text("\n".join(lines) + "\n")
    return CORPORA["wisdm_v1"].load(folder)


def test_wisdm_lost_and_repeated_rows_do_not_change_the_signal(make):
    folder = make("wisdm_v1")
    recordings = CORPORA["wisdm_v1"].load(folder)
    assert [(r.subject, r.session, len(r.x), r.placement) for r in recordings] == [
        ("33", "person 33 part 1", 399, "pocket"),
        ("1", "person 1 part 1", 399, "pocket"),
    ]
    rows = [line.rstrip(";").split(",") for line in wisdm_lines(folder)]
    written = np.array([[float(v) for v in row[3:]] for row in rows if row[0] == "33" and row[2] != "0"])
    _, first = np.unique(written, axis=0, return_index=True)
    np.testing.assert_allclose(recordings[0].x, written[np.sort(first)][:-1], atol=1e-5)
    assert [(label, stop - start) for label, start, stop in recordings[0].segments()] == [
        ("walking", 200),
        ("walking downstairs", 199),
    ]


def test_wisdm_publishers_file_and_csv_per_person_are_equal(make, tmp_path):
    folder = make("wisdm_v1")
    together = CORPORA["wisdm_v1"].load(folder)
    for user in ("33", "1"):
        rows = [line.rstrip(";") for line in wisdm_lines(folder) if line.startswith(f"{user},")]
        path = tmp_path / "people" / f"wisdm_subject{user}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["user,activity,timestamp,x,y,z", *rows]) + "\n")
    apart = CORPORA["wisdm_v1"].load(tmp_path / "people")
    assert {(r.session, r.digest()) for r in apart} == {(r.session, r.digest()) for r in together}


def test_wisdm_skips_a_few_broken_records(make):
    folder = make("wisdm_v1")
    many = [line for user in range(100, 110) for line in wisdm_records(user)]
    many[50] = many[50].rpartition(",")[0] + ",;"  # no z
    many[60:62] = [many[60] + many[61]]  # two on a line
    many[70] += ";"
    recordings = load_wisdm(folder, many)
    assert [len(r.x) for r in recordings] == [399] * 10
    many[80] = many[80].rstrip(";") + ",7;"
    many[90] = many[91] = many[90][:20] + ";"
    many[95] = "Walking;"
    with pytest.raises(DataError, match=rf"{WISDM} is cut off or malformed \(5 of \d+ records\)"):
        load_wisdm(folder, many)


def test_wisdm_splits_recordings_at_gaps_and_clock_jumps(make):
    lines = wisdm_lines(folder := make("wisdm_v1"))[:402]
    rows = [line.split(",") for line in lines]
    for i, row in enumerate(rows):
        if row[2] != "0":
            row[2] = str(int(row[2]) + (10_000_000_000 if 150 <= i < 300 else 0))
    recordings = load_wisdm(folder, [",".join(row) for row in rows])
    assert [r.session for r in recordings] == [f"person 33 part {n}" for n in (1, 2, 3)]
    assert sum(len(r.x) for r in recordings) == 400 - 3
    assert len({r.subject for r in recordings}) == 1


def test_wisdm_resamples_uneven_timestamps_to_an_even_grid(make, tmp_path):
    t_s = np.cumsum(np.tile([0.04, 0.08, 0.04, 0.04], 60))
    x = np.column_stack([np.sin(2 * np.pi * t_s), np.full(len(t_s), G), np.zeros(len(t_s))])
    rows = [
        f"5,Sitting,{int((100 + t) * 1e9)},{','.join(map(repr, row))};" for t, row in zip(t_s, x.tolist(), strict=True)
    ]
    (recording,) = load_wisdm(tmp_path, rows)
    at = np.arange(len(recording.x)) / 20 + t_s[0]
    np.testing.assert_allclose(recording.x[:, 0], np.sin(2 * np.pi * at), atol=0.04)


def test_wisdm_unknown_activity_is_an_error(make):
    lines = wisdm_lines(folder := make("wisdm_v1"))
    with pytest.raises(DataError, match=r"unknown activities \['Flying'\]"):
        load_wisdm(folder, [line.replace("Walking", "Flying") for line in lines])


def test_hapt_ranges_start_at_one_and_are_inclusive(make):
    recordings = CORPORA["hapt"].load(make("hapt"))
    assert [(r.subject, r.session, r.placement) for r in recordings] == [
        ("1", "exp01_user01", "waist"),
        ("1", "exp02_user01", "waist"),
        ("2", "exp03_user02", "waist"),
    ]
    assert list(recordings[0].segments()) == [
        ("", 0, 100),
        ("standing", 100, 300),
        ("stand to sit", 300, 360),
        ("", 360, 400),
        ("walking", 400, 600),
    ]


@pytest.mark.parametrize(
    "row", ["1 1 5 590 601", "1 1 5 0 60", "1 1 13 1 60", "1 2 5 1 60", "1 1 5 60 1"], ids=lambda row: row
)
def test_hapt_range_outside_the_recording_is_an_error(row, make):
    folder = make("hapt")
    with (folder / "RawData" / "labels.txt").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=rf"labels\.txt has a row {row}, which does not fit user 1 and 600 samples"):
        CORPORA["hapt"].load(folder)


def test_hapt_missing_file_is_an_error(make):
    folder = make("hapt") / "RawData"
    (folder / "gyro_exp03_user02.txt").unlink()
    with pytest.raises(DataError, match=r"acc_exp03_user02\.txt has no matching file"):
        CORPORA["hapt"].load(folder.parent)
    (folder / "acc_exp03_user02.txt").unlink()
    (folder / "labels.txt").unlink()
    with pytest.raises(DataError, match=r"labels\.txt cannot be read"):
        CORPORA["hapt"].load(folder.parent)


def test_hapt_experiment_without_annotation_is_an_error(make):
    folder = make("hapt") / "RawData"
    rows = (folder / "labels.txt").read_text().splitlines()
    (folder / "labels.txt").write_text("\n".join(row for row in rows if not row.startswith("3 ")) + "\n")
    with pytest.raises(DataError, match=r"labels\.txt has no row of experiment 3"):
        CORPORA["hapt"].load(folder.parent)


def test_dsads_joins_only_consecutive_segments(make):
    recordings = CORPORA["dsads"].load(make("dsads"))
    assert {(r.session, len(r.x)) for r in recordings} == {
        ("a09/p1/s01-s03", 375),
        ("a09/p1/s07-s07", 125),
        ("a17/p8/s01-s03", 375),
        ("a17/p8/s07-s07", 125),
    }
    assert {(r.placement, r.side) for r in recordings} == {
        ("chest", None),
        ("wrist", "right"),
        ("wrist", "left"),
        ("thigh", "right"),
        ("thigh", "left"),
    }
    assert {(r.subject, str(r.labels[0])) for r in recordings} == {("1", "walking"), ("8", "rowing machine")}


def test_dsads_zeros_at_the_end_of_a_segment_end_the_recording(make):
    folder = make("dsads")
    file = folder / "a09" / "p1" / "s02.txt"
    rows = np.loadtxt(file, delimiter=",")
    rows[100:] = 0
    np.savetxt(file, rows, delimiter=",", fmt="%.6f")
    recordings = [r for r in CORPORA["dsads"].load(folder) if r.subject == "1" and r.placement == "chest"]
    assert [(r.session, len(r.x)) for r in recordings] == [
        ("a09/p1/s01-s02", 225),
        ("a09/p1/s03-s03", 125),
        ("a09/p1/s07-s07", 125),
    ]


def test_dsads_axes_of_a_standing_person(tmp_path):
    """Up is x at torso and wrists and -x at the legs; in the frame of the placement it is y, along the arm x."""
    up = np.zeros((125, 5, 9))
    up[:, :3, 0], up[:, 3:, 0] = G, -G
    write_csv(tmp_path / "a02" / "p3" / "s01.txt", None, up.reshape(125, 45))
    actual = {(r.placement, r.side): axes_of(r.x) for r in CORPORA["dsads"].load(tmp_path)}
    assert actual == {
        ("chest", None): [0, 1, 0],
        ("wrist", "right"): [1, 0, 0],
        ("wrist", "left"): [-1, 0, 0],
        ("thigh", "right"): [0, 1, 0],
        ("thigh", "left"): [0, 1, 0],
    }


def test_dsads_unknown_activity_is_an_error(make):
    folder = make("dsads")
    (folder / "a17").rename(folder / "a20")
    with pytest.raises(DataError, match=r"a20/p8/s01\.txt: activities are 1 to 19"):
        CORPORA["dsads"].load(folder)
