"""Prototypes, temperature, threshold and smoothing of label sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from generated_motion import CLASSES
from motion_corpus import motion_set

from mujo_edge.bundle import l2_normalize
from mujo_edge.bundle.manifest import Label, LabelSet, Smoothing
from mujo_edge.signal import InputSpec
from training.corpora import WindowSet
from training.corpora.labels import LabelSetSpec, Vocabulary
from training.models.sentence_embedding import TextProjection, embed_text, text_prototypes
from training.models.student import Student
from training.recipes.splits import Data
from training.release.calibrate import (
    FALSE_UNKNOWN,
    SMOOTHINGS,
    calibrate,
    embed,
    fit_head,
    fit_temperature,
    likelihood,
    runs,
    smoothed_accuracy,
)

SPEC = LabelSetSpec("motion-wrist", "wrist", ("motion",))
SWINGS = LabelSetSpec("swings-wrist", "wrist", ("swings",))


def softmax(z: np.ndarray) -> np.ndarray:
    weights = np.exp(z - z.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def swings(data: WindowSet, corpus: str) -> WindowSet:
    """The swings of `data`, or its other windows, as the corpus `corpus`."""
    chosen = data.select(np.isin(data.y, (1, 2)) == (corpus == "swings"))
    return replace(chosen, corpus=corpus)


@pytest.fixture(scope="module")
def calibrated(student: Student, vocabulary: Vocabulary, motion_data: Data):
    return calibrate(student, SPEC, vocabulary, motion_data, InputSpec())


@pytest.fixture(scope="module")
def open_set(student: Student, vocabulary: Vocabulary):
    """A label set of two swings, with held-out windows of rest and twist as open set."""
    held_data = motion_set(40, seed=1)
    parts = tuple(swings(held_data, corpus) for corpus in ("swings", "other"))
    train = tuple(swings(motion_set(20, seed=0), corpus) for corpus in ("swings", "other"))
    return calibrate(student, SWINGS, vocabulary, Data(train, parts, parts), InputSpec())


@pytest.mark.parametrize("temperature", [0.03, 0.1, 0.4])
def test_fit_temperature_recovers_a_known_temperature(temperature):
    """Labels drawn from softmax(cosine / T) are likeliest at T."""
    rng = np.random.default_rng(0)
    cosine = rng.uniform(-0.3, 0.9, (20_000, 6))
    y = (softmax(cosine / temperature).cumsum(1) > rng.random((len(cosine), 1))).argmax(1)
    assert fit_temperature(cosine, y) == pytest.approx(temperature, rel=0.05)


def test_likelihood_equals_that_of_the_softmax():
    cosine, y = np.array([[0.9, 0.1, -0.5], [0.2, 0.3, 0.1]]), np.array([0, 2])
    by_hand = -np.log(softmax(cosine / 0.2)[[0, 1], y]).mean()
    assert likelihood(cosine, y, 0.2) == pytest.approx(by_hand)
    assert np.isfinite(likelihood(cosine, y, 1e-4)), "no overflow"


def test_prototypes_are_the_mean_direction_of_their_prompts():
    torch.manual_seed(0)
    project = TextProjection(16)
    prompts = [["walking", "a person walking", "going on foot"], ["sitting"]]
    prototypes = text_prototypes(project, [embed_text(words) for words in prompts])
    assert prototypes.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, rtol=1e-5)
    with torch.no_grad():
        each = [l2_normalize(project(embed_text(words)).numpy()) for words in prompts]
    np.testing.assert_allclose(prototypes[1], each[1][0], atol=1e-5)
    cosine = each[0] @ prototypes[0]
    assert cosine.sum() == pytest.approx(np.linalg.norm(each[0].sum(0)), rel=1e-4), (
        "the direction with the largest sum of cosines"
    )


def test_embeddings_are_unit_with_and_without_gyroscope(student: Student):
    x = motion_set(5, seed=2).x
    for channels in (3, 6):
        e = embed(student, x[:, :channels], InputSpec())
        np.testing.assert_allclose(np.linalg.norm(e, axis=1), 1, rtol=1e-5)
    still = x.copy()
    still[:, 3:] = 0
    np.testing.assert_allclose(embed(student, still, InputSpec()), embed(student, x[:, :3], InputSpec()), atol=1e-6)


def test_label_set_has_the_classes_and_prompts(calibrated, vocabulary: Vocabulary):
    labels, measured = calibrated
    assert labels.names == (*CLASSES, "unknown")
    assert [label.prompts for label in labels.labels] == list(vocabulary.prompts)
    assert (labels.name, labels.placement, labels.channels) == ("motion-wrist", "wrist", 6)
    np.testing.assert_allclose(np.linalg.norm(labels.prototypes, axis=1), 1, rtol=1e-5)
    assert measured["windows"] == 160
    assert measured["macro_f1_6ch"] > 0.95
    assert measured["macro_f1_3ch"] < measured["macro_f1_6ch"], "an accelerometer does not measure a twist"


def test_threshold_accepts_its_fraction_of_windows(calibrated, student: Student, motion_data: Data):
    labels, _ = calibrated
    x = motion_data.held_out[0].x
    accepted = [
        (embed(student, x[:, :channels], InputSpec()) @ labels.prototypes.T).max(1) >= labels.unknown_threshold
        for channels in (3, 6)
    ]
    share = np.concatenate(accepted).mean()
    assert share == pytest.approx(1 - FALSE_UNKNOWN, abs=1 / 160)
    assert FALSE_UNKNOWN == 0.05


def test_smoothing_has_the_best_stream_accuracy(calibrated, student: Student, motion_data: Data):
    """By the accuracy of each person's recordings played one after another, computed independently."""
    labels, measured = calibrated
    stream = motion_data.streams[0]
    embeddings = embed(student, stream.x, InputSpec())
    scores = {
        s: smoothed_accuracy(replace(labels, smoothing=s), embeddings, stream.y, stream.subject) for s in SMOOTHINGS
    }
    assert labels.smoothing in scores
    assert measured["stream_accuracy"] == pytest.approx(max(scores.values()))
    assert scores[labels.smoothing] == max(scores.values())
    assert measured["stream_accuracy_unsmoothed"] == pytest.approx(
        (labels.probabilities(embeddings).argmax(1) == stream.y).mean()
    )


def two_classes(smoothing: Smoothing) -> LabelSet:
    labels = tuple(Label(name, (name,)) for name in ("a", "b"))
    return LabelSet("two", labels, np.eye(2, dtype=np.float32), "wrist", 0.2, 0.0, smoothing, 3)


def test_filter_helps_with_lasting_labels_and_hurts_with_short_ones():
    """40 windows of each class with one window in five flipped; then classes that change every three."""
    lasting = np.repeat([0, 1, 0, 1], 40)
    seen = lasting.copy()
    seen[::5] = 1 - seen[::5]
    embeddings = np.eye(2, dtype=np.float32)[seen] * 0.4 + 0.1
    one = np.full(len(seen), "p1")
    score = {s: smoothed_accuracy(two_classes(s), embeddings, lasting, one) for s in SMOOTHINGS}
    assert score[Smoothing("none")] == pytest.approx(0.8)
    assert score[Smoothing("majority", windows=5)] > 0.9
    assert score[Smoothing("hmm", stay=0.95)] > 0.9
    hasty = np.arange(160) // 3 % 2
    embeddings = np.eye(2, dtype=np.float32)[hasty]
    assert smoothed_accuracy(two_classes(Smoothing("none")), embeddings, hasty, one) == 1
    assert smoothed_accuracy(two_classes(Smoothing("majority", windows=5)), embeddings, hasty, one) < 0.9


def test_filter_is_reset_for_each_person():
    y = np.array([0] * 20 + [1] * 20)
    embeddings, slow = np.eye(2, dtype=np.float32)[y], two_classes(Smoothing("majority", windows=7))
    apart = smoothed_accuracy(slow, embeddings, y, np.repeat(["p1", "p2"], 20))
    assert apart == 1
    assert smoothed_accuracy(slow, embeddings, y, np.repeat(["p1"], 40)) < 1


def test_fitted_prototypes_classify_the_windows():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 30])
    windows = l2_normalize((np.eye(8)[[0, 1]][y] + rng.normal(0, 0.3, (330, 8))).astype(np.float32))
    fitted = fit_head(windows, y, 2)
    right = (windows @ fitted.T).argmax(1) == y
    assert right[y == 0].mean() > 0.9
    assert right[y == 1].mean() > 0.9
    np.testing.assert_array_equal(fitted, fit_head(windows, y, 2))


def test_windows_of_background_corpora_become_a_label(student: Student, vocabulary: Vocabulary):
    def split(per_class: int, seed: int) -> tuple[WindowSet, WindowSet]:
        one, other = (swings(motion_set(per_class, seed), corpus) for corpus in ("swings", "other"))
        return one, other

    train, held_out_set = split(20, 0), split(120, 1)
    wanted = replace(SWINGS, background=("other",))
    labels, measured = calibrate(student, wanted, vocabulary, Data(train, held_out_set, held_out_set), InputSpec())
    assert labels.names == ("slow swing", "fast swing", "background", "unknown")
    other = embed(student, held_out_set[1].x, InputSpec()) @ labels.prototypes.T
    assert (other.argmax(1) == 2).mean() > 0.9
    assert measured["background_hours"] == pytest.approx(len(held_out_set[1]) * 0.5 / 3600)
    assert measured["false_announcements_per_hour"] == 0
    assert measured["bouts_announced"] == 1


def test_runs_end_at_a_change_of_label_or_recording():
    shown, recording = np.array([1, 1, 0, 0, 0]), np.array(["a", "a", "a", "a", "b"])
    assert runs(shown, recording) == [(1, 0, 2), (0, 2, 4), (0, 4, 5)]


def test_label_set_without_data_is_none(student, vocabulary, motion_data):
    elsewhere = LabelSetSpec("gym-wrist", "wrist", ("muvr",))
    assert calibrate(student, elsewhere, vocabulary, motion_data, InputSpec()) is None


def test_open_set_windows_are_rejected(open_set, student: Student):
    """Rest and twist, at the same wrist and not in the set: most are rejected; nothing was fitted to them."""
    labels, measured = open_set
    assert labels.names == ("slow swing", "fast swing", "unknown")
    others = swings(motion_set(40, seed=1), "other").x
    cosine = (embed(student, others, InputSpec()) @ labels.prototypes.T).max(1)
    assert measured["unknown_found"] == pytest.approx((cosine < labels.unknown_threshold).mean())
    assert measured["known_kept"] == pytest.approx(1 - FALSE_UNKNOWN, abs=1 / 80)
    assert measured["unknown_found"] > 0.8
    assert measured["unknown_auroc"] > 0.9


def test_without_open_set_windows_there_are_no_open_set_metrics(calibrated):
    assert "unknown_auroc" not in calibrated[1]


def test_corpus_without_gyroscope_makes_a_set_of_three_channels(student, vocabulary):
    def blind(data: WindowSet) -> WindowSet:
        x = data.x.copy()
        x[:, 3:] = 0
        return replace(data, x=x, has_gyro=np.zeros(len(data), bool))

    held_data = blind(motion_set(20, seed=1))
    data = Data((blind(motion_set(20, seed=0)),), (held_data,), (held_data,))
    labels, measured = calibrate(student, SPEC, vocabulary, data, InputSpec())
    assert labels.channels == 3
    assert "macro_f1_6ch" not in measured
