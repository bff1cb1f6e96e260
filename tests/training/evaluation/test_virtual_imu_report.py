"""Virtual IMU compared with real: known lags, rotations and scales are recovered, and tested people are not fitted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from mujo_edge.core import STANDARD_GRAVITY, DataError
from training.corpora.registry import data_root
from training.evaluation import virtual_imu as validation
from training.evaluation.virtual_imu import (
    COPIES,
    Condition,
    Pair,
    Settings,
    agreement,
    band_ratios,
    best_lag,
    by_fold,
    correlation,
    digest,
    fit,
    macro_f1,
    mounting,
    mountings,
    read_pairs,
    scores,
    shifted,
    spectra,
    turned,
    window_sets,
    worn,
)
from training.evaluation.virtual_imu_report import MARK, markdown, summary, typical
from training.fimad.__main__ import app
from training.fimad.clip import JOINTS, Motion
from training.fimad.sources import utd_mhad as skeletons
from training.fimad.virtual_imu import virtual_imu

TURN = Rotation.from_euler("xyz", [160, -10, 175], degrees=True)
"""Mounting of the simulated sensor."""
SWINGS = {"wave": 1.0, "clap": 2.0}
"""Frequency of the arm in each action of the generated trials, Hz."""
RATE_HZ, SECONDS = 20.0, 4.0


def swinging(hertz: float, seed: int = 0) -> np.ndarray:
    """(n, 20, 3) a person who stands and swings the bent right arm."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(SECONDS * RATE_HZ) + 1) / RATE_HZ
    places = {"pelvis": (0, 1.0), "spine": (0, 1.2), "neck": (0, 1.5), "head": (0, 1.7), "shoulder": (0.2, 1.45)}
    places |= {"elbow": (0.2, 1.15), "wrist": (0.2, 0.9), "hand": (0.2, 0.82), "hip": (0.1, 0.95)}
    places |= {"knee": (0.1, 0.5), "ankle": (0.1, 0.1), "foot": (0.1, 0.02)}
    x = np.zeros((len(t), len(JOINTS), 3))
    for i, name in enumerate(JOINTS):
        side, _, part = name.rpartition("_")
        y, z = places[part]
        x[:, i] = (0, -y if side == "right" else y, z)
    phase, size = rng.uniform(0, 6), rng.uniform(0.6, 0.8)
    angle = size * np.sin(2 * np.pi * hertz * t + phase) + 0.5 * np.sin(2 * np.pi * 0.4 * t)
    swing = Rotation.from_rotvec(np.stack([0.4 * angle, -angle, 0 * angle], 1))
    shoulder = x[0, JOINTS.index("right_shoulder")]
    for name, arm in {"elbow": (0, 0, -0.3), "wrist": (0.2, 0, -0.42), "hand": (0.26, 0, -0.46)}.items():
        x[:, JOINTS.index(f"right_{name}")] = shoulder + swing.apply(arm)
    return x + np.array([0, 0, 0.3 * rng.uniform()])


def made_pair(action: str, subject: int, trial: int) -> Pair:
    """A trial whose real sensor has the virtual one's values in another mounting, with some noise."""
    seed = 10 * subject + trial
    x = swinging(SWINGS[action], seed).astype(np.float32)
    virtual = virtual_imu(Motion(x, RATE_HZ), "right_wrist")
    noise = np.random.default_rng(seed).normal(0, 0.05, virtual.shape).astype(np.float32)
    return Pair(action, str(subject), "right_wrist", virtual, turned(virtual, TURN) + noise, 0)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [made_pair(action, subject, trial) for action in SWINGS for subject in range(1, 6) for trial in (1, 2)]


def write(root: Path, subjects: int = 5) -> None:
    """The same trials as files in the publisher's layout."""
    for folder in ("Skeleton", "Inertial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbers = {"wave": 3, "clap": 4}
    for action, number in numbers.items():
        for subject in range(1, subjects + 1):
            seed = 10 * subject + 1
            x = swinging(SWINGS[action], seed)
            virtual = turned(virtual_imu(Motion(x.astype(np.float32), RATE_HZ), "right_wrist"), TURN)
            name = f"a{number}_s{subject}_t1"
            joints = dict(zip(JOINTS, x.transpose(1, 0, 2), strict=True)) | {"hip_center": x[:, JOINTS.index("pelvis")]}
            # Kinect: x to the right of the person, y up, z away from the sensor that the person faces.
            rows = np.stack([joints[row] @ np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]]) for row in skeletons.KINECT])
            savemat(root / "Skeleton" / f"{name}_skeleton.mat", {"d_skel": rows.transpose(0, 2, 1)})
            imu = np.concatenate([virtual[:, :3] / STANDARD_GRAVITY, np.rad2deg(virtual[:, 3:])], 1)
            savemat(root / "Inertial" / f"{name}_inertial.mat", {"d_iner": imu.astype(np.float64)})


@pytest.mark.parametrize("lag", [-20, -3, 0, 1, 12])
def test_lag_is_estimated_and_removed(pairs: list[Pair], lag: int):
    signal, other = pairs[0].virtual, pairs[0].real
    virtual, real = (signal[: len(signal) - lag], other[lag:]) if lag >= 0 else (signal[-lag:], other[:lag])
    assert best_lag(virtual, real) == lag
    a, b = shifted(virtual, real, lag)
    assert len(a) == len(b) == len(signal) - 2 * abs(lag)
    np.testing.assert_allclose(turned(a, TURN), b, atol=0.3)


def test_too_short_or_silent_signals_have_no_lag():
    assert best_lag(np.zeros((10, 6), np.float32), np.ones((10, 6), np.float32)) == 0
    assert correlation(np.ones(5), np.arange(5)) == 0


def test_sensor_mounting_is_estimated(pairs: list[Pair]):
    assert (mounting(pairs) * TURN.inv()).magnitude() < 0.01
    assert set(mountings(pairs)) == {"right_wrist"}


def test_fold_shares_no_person(pairs: list[Pair]):
    seen = []
    for train, test in by_fold(pairs):
        assert not {p.subject for p in train} & {p.subject for p in test}
        seen += [p.subject for p in test]
    assert sorted(seen) == sorted(p.subject for p in pairs)


def test_agreement_separates_equal_and_different_signals(pairs: list[Pair]):
    same = agreement(pairs)["right_wrist"]
    assert min(same["pooled"][:3]) > 0.97
    np.testing.assert_allclose(same["size"], 1, atol=0.1)
    assert max(same["rms"]) < 0.2
    rng = np.random.default_rng(0)
    noise = [replace(p, real=rng.normal(size=p.real.shape).astype(np.float32)) for p in pairs]
    assert np.abs(agreement(noise)["right_wrist"]["pooled"]).max() < 0.15


def test_mounting_is_fitted_without_the_tested_person(pairs: list[Pair]):
    """One person wears the sensor differently: only that person's trials disagree with the common mounting."""
    odd = [
        replace(p, real=turned(p.real, Rotation.from_rotvec([0, 0, np.pi])), placement="right_thigh")
        if p.subject == "5"
        else replace(p, placement="right_thigh")
        for p in pairs
    ]
    whole, rest = agreement(odd)["right_thigh"], agreement([p for p in odd if p.subject != "5"])["right_thigh"]
    assert whole["rms"][0] > 3 > 0.5 > rest["rms"][0]


def test_bands_separate_signals_by_size(pairs: list[Pair]):
    half = [replace(p, virtual=p.real / 2) for p in pairs]
    ratios = band_ratios(spectra(half)["right_wrist"])
    for kind in ("force", "rate"):
        np.testing.assert_allclose(ratios[kind], 0.5, atol=1e-3)


def test_virtual_windows_are_rotated_into_the_sensor_frame(pairs: list[Pair]):
    turns = mountings(pairs)
    real, virtual = window_sets(pairs, "real", turns), window_sets(pairs, "virtual", turns)
    assert real.x.shape == (len(pairs), 6, 150)
    np.testing.assert_allclose(virtual.x, real.x, atol=0.5)
    assert set(real.y.tolist()) == {2, 3}


def test_rotated_copies_keep_the_norm_and_the_axis_along_the_limb(pairs: list[Pair]):
    turns = mountings(pairs)
    data = window_sets(pairs, "virtual", turns)
    x, y = worn(data, turns, seed=0)
    assert x.shape == (COPIES * len(data), 6, 150)
    assert y.tolist() == data.y.tolist() * COPIES
    axis = turns["right_wrist"].apply([1, 0, 0])
    along = np.einsum("nct,c->nt", x[:, :3], axis).reshape(COPIES, len(data), 150)
    before = np.einsum("nct,c->nt", data.x[:, :3], axis)
    assert correlation(along.mean(0), before) > 0.95
    assert np.abs(x - np.tile(data.x, (COPIES, 1, 1))).max() > 1


def test_scores_are_reused_only_for_the_same_signals(pairs: list[Pair], tmp_path: Path):
    """Finished scores are read from the file; other signals or settings have another digest."""
    settings = Settings(("forest",), (3,), pairs=(("virtual", "real"),))
    score_file = tmp_path / "scores.jsonl"
    first = scores(pairs, settings, score_file)
    assert len(first) == 5
    assert min(first.values()) > 0.9
    marked = [json.dumps(json.loads(line) | {"macro_f1": 0.123}) for line in score_file.read_text().splitlines()]
    score_file.write_text("\n".join(marked) + "\n")
    assert set(scores(pairs, settings, score_file).values()) == {0.123}
    score_file.write_text("\n".join(marked[:3]) + "\n")
    assert sorted(scores(pairs, settings, score_file).values()).count(0.123) == 3
    same = digest(pairs, settings, False)
    assert same != digest([replace(p, virtual=p.virtual + 1) for p in pairs], settings, False)
    assert same != digest(pairs, replace(settings, steps=7), False)
    assert same != digest(pairs, settings, True)


def test_student_learns_from_virtual_signals(pairs: list[Pair]):
    train, test = next(by_fold(pairs))
    turns = mountings(train)
    seen = window_sets(test, "real", turns)
    condition = Condition("student", 6, "virtual", "real", 0)
    predict = fit(condition, window_sets(train, "virtual", turns), turns, Settings(steps=60))
    assert macro_f1(seen.y, predict(seen.x)) > 0.9


def test_table_shows_the_results():
    scored = {Condition("forest", 3, "virtual", "real", fold): 0.4 + 0.1 * fold for fold in range(5)}
    row = summary(scored)[0]
    assert row["mean"] == pytest.approx(0.6)
    assert row["sd"] == pytest.approx(np.std([0.4, 0.5, 0.6, 0.7, 0.8]))
    values = dict.fromkeys(("pooled", "within", "rms", "size"), [0.5] * 6)
    bands = {"hip": {"force": [1.0] * 5, "rate": [0.25] * 5}}
    results = {"trials": 7, "trials_without": 2, "lag_ms": [-20, 0, 40, 60, 80], "scores": [row]}
    text = markdown({**results, "agreement": {"hip": values}, "bands": bands})
    assert "7 trials; 2 have no virtual IMU" in text
    assert "lags behind the sensor by 40 ms" in text
    assert "| virtual → real | 0.600 ± 0.141 |" in text
    assert "| hip, rate | 0.25 |" in text


def test_typical_trial_is_of_the_placement(pairs: list[Pair]):
    pair, real = typical(pairs, "right_wrist")
    assert pair in pairs
    assert real.shape == pair.virtual.shape


def test_command_writes_the_page_from_files(tmp_path: Path):
    write(tmp_path / "data")
    out = tmp_path / "docs" / "virtual-imu"
    out.parent.mkdir()
    out.with_suffix(".md").write_text(f"# Before\n{MARK}\nold\n")
    arguments = ["validate", "--out", str(out), "--data", str(tmp_path / "data"), "--models", "none"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    page = out.with_suffix(".md").read_text()
    assert page.startswith("# Before\n")
    assert "old" not in page
    assert (out / "table.md").read_text() in page
    results = json.loads((out / "results.json").read_text())
    assert results["trials"] == 10
    # Made of the same virtual IMU, so that reader, span, turn and lag must all be right to agree.
    assert min(results["agreement"]["right_wrist"]["pooled"][:3]) > 0.9
    assert abs(results["lag_ms"][2]) <= 20
    assert set(json.loads((out / "run.json").read_text())["data_sha256"]) == {"utd_mhad_skeleton"}
    for name in ("trials.png", "spectrum.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--channels", "9"), 2, "--channels takes 3, 6 or 3,6"),
        (("--models", "forest,oracle"), 2, "no model 'oracle'"),
        ((), 4, "was not found under"),
    ],
)
def test_user_errors_are_reported(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str):
    result = CliRunner().invoke(app, ["validate", "--data", str(tmp_path), *arguments])
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_skeletons_without_the_sensor_are_an_error(tmp_path: Path):
    write(tmp_path, subjects=1)
    for file in (tmp_path / "Inertial").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"Put Inertial\.zip beside"):
        read_pairs(tmp_path)


def test_virtual_imu_follows_the_sensor_on_the_real_set(monkeypatch: pytest.MonkeyPatch):
    """Trials of two people: the virtual IMU follows the sensor on the axes that a skeleton can show."""
    root = data_root()
    if skeletons.SOURCE.find(root) is None:
        pytest.skip(f"UTD-MHAD's skeletons are not under {root}")
    every = skeletons.SOURCE.tasks
    some = [
        t for t in every(skeletons.SOURCE.find(root)) if t.id.split("_t")[0].endswith(("_s1", "_s4")) and "_t1" in t.id
    ]
    monkeypatch.setattr(validation.skeletons, "SOURCE", replace(skeletons.SOURCE, tasks=lambda path: some))
    pairs, without = read_pairs(root)
    assert len(pairs) + without == len(some) == 54
    assert without <= 3
    scored = agreement(pairs)
    assert scored["right_wrist"]["within"][0] > 0.7  # force along the forearm
    assert scored["right_wrist"]["within"][5] > 0.7  # rate about the elbow's hinge
    assert scored["right_thigh"]["within"][3] > 0.6  # rate about the hip's
