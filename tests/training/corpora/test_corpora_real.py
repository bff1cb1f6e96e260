"""Real data sets, where present: published counts, and windows equal to the evaluation protocol's own code."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from operator import itemgetter

import numpy as np
import pytest

from training.corpora import CORPORA, PROTOCOL_V1, folds, label_fraction, windows
from training.corpora.base import Recording, WindowSet, runs
from training.corpora.utd_mhad import WRIST_ACTIONS

COUNTS = {
    # recordings (identical ones once), people, classes, windows
    "motionsense": (359, 24, 6, 18171),
    "spar": (140, 10, 7, 3046),
    "utd_mhad": (861, 8, 27, 962),
    "sp_sw_watch": (223, 23, 5, 1619),
    "sp_sw_phone": (223, 23, 5, 1628),
    "muvr": (390, 6, 30, 6306),
    "metamotion": (61, 4, 6, 709),
    "mhealth_fragments": (875 * 3, 1, 12, 875 * 3),
    "wisdm_v1": (465, 36, 6, 35976),
    "hapt": (61, 30, 12, 9158),
    "dsads": (19 * 8 * 15 * 5, 8, 19, 22455),
    "mex_thigh": (239, 30, 7, 8712),
    "ptex": (110, 5, 8, 5712),
    "stress_predict": (18, 18, 1, 39489),
    "emlearn_exercises": (133, 1, 4, 588),
}


@pytest.fixture(scope="module", params=COUNTS)
def corpus(request, real) -> tuple[str, list[Recording], WindowSet]:
    """(name, recordings, windows), read once."""
    recordings = CORPORA[request.param].load(real(request.param))
    return request.param, recordings, windows(recordings, CORPORA[request.param].classes)


def test_counts_equal_the_published_ones(corpus):
    name, recordings, data = corpus
    classes = {label for r in recordings for label, *_ in r.segments()} - {""}
    assert (len(recordings), len({r.subject for r in recordings}), len(classes), len(data)) == COUNTS[name]
    assert classes == set(CORPORA[name].classes)


def test_windows_equal_the_protocol(corpus, protocol):
    name, recordings, data = corpus
    expected, y = [], []
    for recording in recordings:
        x = protocol.resample(recording.x.astype(np.float64), recording.rate_hz)
        at = np.minimum(np.rint(np.arange(len(x)) * recording.rate_hz / 50).astype(int), len(recording.x) - 1)
        for label, start, stop in filter(itemgetter(0), runs(recording.labels[at])):
            cut = protocol.windows(x[start:stop])
            expected += cut
            y += [CORPORA[name].classes.index(label)] * len(cut)
    expected = np.stack(expected)
    np.testing.assert_array_equal(data.y, y)
    channels = data.x[:, : expected.shape[1]]
    if all(recording.rate_hz <= 50 for recording in recordings):
        np.testing.assert_array_equal(channels, expected.astype(np.float32))
    else:
        # Another order of summing in the low-pass: one float32 step, of 1e-6 at the least.
        assert (np.abs(channels - expected) <= np.spacing(np.maximum(np.abs(expected), 1e-6).astype(np.float32))).all()


@pytest.mark.parametrize("corpus", PROTOCOL_V1, indirect=True)
def test_folds_and_fractions_equal_the_protocol(corpus, protocol):
    _, _, data = corpus
    pairs = zip(folds(data.y, data.subject), protocol.folds(data.y, data.subject), strict=True)
    for seed, (ours, theirs) in enumerate(pairs):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
        for share in protocol.FRACTIONS:
            ours_part, theirs_part = (f(data.y, ours[0], share, seed) for f in (label_fraction, protocol.fraction))
            np.testing.assert_array_equal(ours_part, theirs_part)


def test_motionsense_duplicate_is_dropped(real):
    sessions = {r.session for r in CORPORA["motionsense"].load(real("motionsense"))}
    assert "sit_5/sub_1" in sessions
    assert "sit_13/sub_1" not in sessions


def test_number_of_short_trials_is_that_of_the_protocol(real):
    trials = CORPORA["utd_mhad"].load(real("utd_mhad"))
    assert sum(len(r.x) < 150 for r in trials) == 166
    assert {r.placement for r in trials if r.labels[0] in WRIST_ACTIONS} == {"wrist"}
    assert {r.placement for r in trials if r.labels[0] not in WRIST_ACTIONS} == {"thigh"}
    watch = CORPORA["sp_sw_watch"].load(real("sp_sw_watch"))
    lengths = np.array([stop - start for r in watch for _, start, stop in r.segments()])
    assert np.mean(lengths < 300) == pytest.approx(0.96, abs=0.001)  # the page takes the watch's 104 Hz as 100


def test_spar_people_sides_and_exercises(real):
    recordings = CORPORA["spar"].load(real("spar"))
    assert len({(r.subject, r.side, str(r.labels[0])) for r in recordings}) == 10 * 2 * 7


def test_apple_and_android_watches_agree_on_the_sign(real):
    """On a hanging left arm a watch's x axis points to the ground: its specific force is negative."""
    pendulum = [r for r in CORPORA["spar"].load(real("spar")) if r.side == "left" and r.labels[0] == "pendulum"]
    walking = CORPORA["sp_sw_watch"].load(real("sp_sw_watch"))
    apple = np.median(np.concatenate([r.x[:, 0] for r in pendulum]))
    android = np.median(np.concatenate([r.x[r.labels == "walking", 0] for r in walking]))
    assert apple < -8
    assert android < -6


def up(recordings: list[Recording], placement: str, side: str | None, label: str) -> np.ndarray:
    """Median over people of the mean acceleration, in g."""
    people: dict[str, list[np.ndarray]] = {}
    for r in recordings:
        if (r.placement, r.side) == (placement, side) and (r.labels == label).any():
            people.setdefault(r.subject, []).append(r.x[r.labels == label, :3])
    return np.median([np.concatenate(x).mean(0) for x in people.values()], 0) / 9.80665


def test_axes_of_daily_and_sports_activities_are_those_of_the_body(real):
    recordings = CORPORA["dsads"].load(real("dsads"))
    for placement, side, label, axis, least in (
        ("chest", None, "standing", 1, 0.9),
        ("chest", None, "lying on back", 2, 0.9),
        ("chest", None, "lying on right side", 0, 0.85),
        ("thigh", "right", "standing", 1, 0.95),
        ("thigh", "left", "standing", 1, 0.95),
        ("thigh", "right", "sitting", 2, 0.85),
        ("thigh", "left", "sitting", 2, 0.85),
        ("thigh", "left", "lying on right side", 0, 0.9),
        ("wrist", "right", "standing", 0, 0.85),
    ):
        assert up(recordings, placement, side, label)[axis] > least, (placement, side, label)
    assert up(recordings, "wrist", "left", "standing")[0] < -0.85


def test_wrists_of_daily_and_sports_activities_agree_with_a_watch(real):
    """Sitting and walking, the left wrist's gravity is within 30 degrees of sp-sw's watch, also on the left."""
    recordings, watch = (CORPORA[name].load(real(name)) for name in ("dsads", "sp_sw_watch"))
    for theirs, ours in (("seated", "sitting"), ("walking", "walking")):
        a, b = up(watch, "wrist", "left", theirs), up(recordings, "wrist", "left", ours)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > np.cos(np.deg2rad(30))


def test_axes_of_waist_pocket_and_physical_therapy(real):
    assert up(CORPORA["hapt"].load(real("hapt")), "waist", None, "standing")[1] > 0.95
    assert up(CORPORA["wisdm_v1"].load(real("wisdm_v1")), "pocket", None, "standing")[1] > 0.9
    therapy = CORPORA["ptex"].load(real("ptex"))
    assert up(therapy, "thigh", "right", "seated knee extension")[2] > 0.9
    assert up(therapy, "thigh", "right", "prone hip extension")[2] < -0.9
    assert up(therapy, "thigh", "right", "side-lying hip abduction")[0] < -0.9


@pytest.mark.parametrize("name", ["hapt", "ptex", "dsads"])
def test_acceleration_and_angular_rate_share_one_right_handed_frame(name, real):
    """Gravity rotates opposite to the sensor: da/dt = a x w, in 5 s of slow motion."""
    sums = np.zeros(2)
    for r in CORPORA[name].load(real(name)):
        second = round(r.rate_hz)
        for start in range(0, len(r.x) - 5 * second + 1, 5 * second):
            x = r.x[start : start + 5 * second].astype(float)
            if np.linalg.norm(x[:, :3], axis=1).std() > 1:
                continue
            smooth = np.stack([np.convolve(column, np.ones(second) / second, "valid") for column in x.T], 1)
            turning = np.cross(smooth[:, :3], smooth[:, 3:])
            change = np.gradient(smooth[:, :3], 1 / r.rate_hz, axis=0)
            sums += (turning * change).sum(), (turning**2).sum()
    assert sums[0] / sums[1] == pytest.approx(1, abs=0.35)


def test_emlearn_full_files_are_ten_seconds_apart(real):
    """This determines the rate of 100 Hz."""
    recordings = CORPORA["emlearn_exercises"].load(real("emlearn_exercises"))
    times = [datetime.strptime(r.session.split("_")[0], "%Y-%m-%dT%H%M%S") for r in recordings if len(r.x) == 1000]
    steps = [(b - a).total_seconds() for a, b in pairwise(t for t in times if t.year == 2024)]
    assert np.isin(steps, (9, 10, 11)).mean() > 0.8
