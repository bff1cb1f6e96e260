"""All data sets in their publishers' layouts: SI units, people, labels, placements, zip and folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_corpora import TURN_RAD_S, G, zip_folder

from mujo_edge.core import DataError
from training.corpora import CORPORA, windows
from training.corpora.base import CORE_MOTION_G, join

TOGETHER = ({"sp_sw_watch", "sp_sw_phone"}, {"mex_thigh", "mex_wrist"})
"""Data sets that one publisher's folder holds."""


def same(a: list, b: list) -> bool:
    return [r.digest() + r.session.encode() for r in a] == [r.digest() + r.session.encode() for r in b]


def test_si_units_and_sign(layout):
    name, folder = layout
    for recording in CORPORA[name].load(folder):
        assert recording.x.dtype == np.float32
        assert recording.x.shape == (len(recording.labels), len(recording.channels))
        rest = recording.x[: round(0.8 * recording.rate_hz)].astype(float)
        np.testing.assert_allclose(rest[:, :3].mean(0), [0, 0, G], atol=0.05)
        if recording.has_gyro:
            np.testing.assert_allclose(recording.x[:, 3:].mean(0), [TURN_RAD_S, 0, 0], atol=1e-4)


def test_labels_are_the_corpus_classes(layout):
    name, folder = layout
    corpus = CORPORA[name]
    labels = {label for r in corpus.load(folder) for label, *_ in r.segments()}
    assert labels - {""} <= set(corpus.classes)
    assert labels - {""}


def test_zip_and_folder_give_equal_recordings(layout, tmp_path):
    name, folder = layout
    corpus = CORPORA[name]
    archive = zip_folder(folder, tmp_path / "download.zip")
    assert same(corpus.load(folder), corpus.load(archive))


def test_data_set_is_found_in_nested_folders(layout, tmp_path):
    name, folder = layout
    corpus = CORPORA[name]
    expected = corpus.load(folder)
    for root in (folder, folder.parent, folder.parent.parent):
        located = corpus.find(root)
        assert located is not None
        assert same(corpus.load(located), expected)


def test_no_other_corpus_matches_the_files(layout):
    name, folder = layout
    claims = {other for other, corpus in CORPORA.items() if corpus.find(folder)}
    together = next((both for both in TOGETHER if name in both), {name})
    assert claims == together


def test_windows_have_every_field(layout):
    name, folder = layout
    corpus = CORPORA[name]
    recordings = corpus.load(folder)
    data = windows(recordings, corpus.classes)
    assert data.x.shape == (len(data), 6, 150)
    assert data.x.dtype == np.float32
    assert len(data) > 0
    for i in range(len(data)):
        source = recordings[data.recording[i]]
        assert (data.subject[i], data.placement[i], bool(data.has_gyro[i])) == (
            source.subject,
            source.placement,
            source.has_gyro,
        )
        assert corpus.classes[data.y[i]] in source.labels
    assert not data.x[~data.has_gyro, 3:].any()


def test_identical_recordings_are_deduplicated(make):
    sessions = [r.session for r in CORPORA["motionsense"].load(make("motionsense"))]
    assert "sit_5/sub_1" in sessions
    assert "sit_13/sub_1" not in sessions
    assert len(sessions) == len(set(sessions)) == 18


def test_metamotion_copies_with_a_shifted_clock_are_deduplicated(make):
    folder = make("metamotion")
    (recording,) = CORPORA["metamotion"].load(folder)
    assert recording.subject == "A"
    assert recording.rate_hz == 25.0
    next(folder.glob("E-*Gyroscope*")).unlink()  # half of a copy is left out too
    assert len(CORPORA["metamotion"].load(folder)) == 1


def test_metamotion_missing_gyroscope_file_is_an_error(make):
    folder = make("metamotion")
    for file in folder.glob("*Gyroscope*"):
        file.unlink()
    with pytest.raises(DataError, match=r"Accelerometer.*no matching file of the other sensor"):
        CORPORA["metamotion"].load(folder)


def test_utd_mhad_wrist_and_thigh(make):
    placed = {(r.session.split("_")[0], r.placement, r.side) for r in CORPORA["utd_mhad"].load(make("utd_mhad"))}
    assert placed == {
        ("a1", "wrist", "right"),
        ("a21", "wrist", "right"),
        ("a22", "thigh", "right"),
        ("a27", "thigh", "right"),
    }


def test_sp_sw_rate_is_measured(make):
    folder = make("sp_sw_watch")
    watch, phone = (CORPORA[f"sp_sw_{d}"].load(folder) for d in ("watch", "phone"))
    assert watch[0].rate_hz == pytest.approx(104, abs=0.1)
    assert phone[0].rate_hz == pytest.approx(102, abs=0.1)
    assert {r.placement for r in watch} == {"wrist"}
    assert {r.placement for r in phone} == {"pocket"}
    runs = [label for label, *_ in watch[0].segments()]
    assert runs == ["seated", "standing up", "walking", "turning", "sitting down"]


def test_mm_fit_labels_follow_camera_frames(make):
    recordings = CORPORA["mm_fit"].load(make("mm_fit"))
    assert {(r.session, r.subject, r.placement, r.side) for r in recordings} == {
        ("w00 sw_l", "2", "wrist", "left"),
        ("w00 sp_r", "2", "pocket", "right"),
        ("w12 sw_l", "3", "wrist", "left"),
        ("w12 sp_r", "3", "pocket", "right"),
    }
    for recording in recordings:
        runs = [(label, start / 50, stop / 50) for label, start, stop in recording.segments()]
        assert [label for label, *_ in runs] == [
            "non activity",
            "squats",
            "non activity",
            "bicep curls",
            "non activity",
        ]
        # Frames 60 to 240 and 330 to 480 of 30 a second.
        np.testing.assert_allclose([runs[1][1:], runs[3][1:]], [[2, 8], [11, 16]], atol=0.1)


def test_mm_fit_missing_file_is_an_error(make):
    folder = make("mm_fit")
    (folder / "w12" / "w12_sp_r_gyr.npy").unlink()
    with pytest.raises(DataError, match=r"w12 lacks sp_r_gyr\.npy"):
        CORPORA["mm_fit"].load(folder)


def test_mhealth_null_is_unlabeled(make):
    recordings = CORPORA["mhealth"].load(make("mhealth"))
    assert {(r.placement, r.side, len(r.channels)) for r in recordings} == {
        ("chest", None, 3),
        ("ankle", "left", 6),
        ("wrist", "right", 6),
    }
    assert [label for label, *_ in recordings[0].segments()] == ["", "standing still", "walking"]


def test_myogym_drops_repeated_rows(make):
    recordings = CORPORA["myogym"].load(make("myogym"))
    assert [(r.subject, len(r.x)) for r in recordings] == [("1", 500), ("2", 500)]
    assert list(recordings[0].segments()) == [
        ("no exercise", 0, 100),
        ("seated cable rows", 100, 300),
        ("lying rear delt raise", 300, 500),
    ]


def test_fragments_leave_repeats_out(make):
    recordings = CORPORA["mhealth_fragments"].load(make("mhealth_fragments"))
    assert len(recordings) == 3 * 3
    assert {r.subject for r in recordings} == {"unknown"}
    assert not CORPORA["mhealth_fragments"].subjects


def test_core_motion_sign():
    # Face up at rest, Core Motion reports z = -1 g where specific force is +9.81 m/s2.
    assert CORE_MOTION_G == -9.80665


def test_join_resamples_sensors_to_a_common_grid():
    def tone(t_s):
        return np.sin(2 * np.pi * 0.7 * t_s)

    slow, fast = np.arange(0.33, 9, 1 / 12.5), np.arange(0, 8, 1 / 200)
    t_s, x = join([(slow, tone(slow)[:, None]), (fast, tone(fast)[:, None])], 25.0)
    assert t_s[0] == pytest.approx(0.33)
    assert t_s[-1] < 8
    np.testing.assert_allclose(np.diff(t_s), 1 / 25)
    np.testing.assert_allclose(x, np.column_stack([tone(t_s)] * 2), atol=0.03)


def test_join_without_common_time_is_empty():
    a, b = np.arange(0, 1, 0.02), np.arange(5, 6, 0.02)
    t_s, x = join([(a, a[:, None]), (b, b[:, None])], 50.0)
    assert len(t_s) == len(x) == 0


def test_spar_rejects_any_other_file(tmp_path: Path):
    file = tmp_path / "watch_dataset.npy"
    file.write_bytes(b"not the published file")
    with pytest.raises(DataError, match="not the published file"):
        CORPORA["spar"].load(tmp_path)


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=list(CORPORA))
def test_corpora_have_license_citation_and_home_page(corpus):
    assert corpus.title
    assert corpus.license
    assert corpus.citation
    assert corpus.home.startswith("https://")
    assert len(set(corpus.classes)) == len(corpus.classes)
    assert corpus.open_license == any(word in corpus.license for word in ("MIT", "BSD", "CC BY"))
