"""Fine-tuning with few labels, and the random forest baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_motion import CLASSES
from motion_corpus import motion_set

import training.learn.finetune
import training.learn.loop
from mujo_edge.bundle import fit_prototypes, l2_normalize
from mujo_edge.signal import InputSpec, prepare
from training.evaluation.baselines import forest_predictions, hand_features
from training.evaluation.runs import nearest
from training.learn.finetune import FinetuneConfig, PrototypeClassifier, PseudoLabelConfig, PseudoLabels, finetune
from training.learn.loop import LoopConfig, Report
from training.models.inference import float_embeddings
from training.models.student import Student

SHORT = FinetuneConfig(loop=LoopConfig(batch=32, ema=0.9), least_steps=100, most_steps=100)


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    data = motion_set(40, seed=1)
    return prepare(data.x, InputSpec()), data.y


def fitted(seed: int, per_class: int = 6, config: FinetuneConfig = SHORT) -> PrototypeClassifier:
    data = motion_set(per_class, seed=0, people=1)
    torch.manual_seed(seed)
    chosen = config.for_windows(len(data), seed, chiral=False)
    return finetune(Student(), prepare(data.x, InputSpec()), data.y, len(CLASSES), chosen)


def test_few_windows_of_each_class_suffice(held_out):
    """From random weights, six labeled windows of each class: new windows are nearest to their prototype."""
    x, y = held_out
    model = fitted(0)
    actual = nearest(float_embeddings(model.encoder, x), model)
    assert (actual == y).mean() > 0.9
    with torch.no_grad():
        assert model(torch.from_numpy(x)).argmax(1).tolist() == actual.tolist(), "the classifier agrees"


def test_seed_gives_the_same_classifier_again():
    short = replace(SHORT, least_steps=6, most_steps=6)
    first, again, other = (fitted(seed, config=short).prototypes for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_fine_tuning_keeps_statistics_and_resets_the_projection():
    """Statistics are kept, the last layer is reinitialized, and all weights are trained."""
    data = motion_set(6, seed=0, people=1)
    x = prepare(data.x, InputSpec())
    before = Student().eval().state_dict()

    def moved(**settings) -> dict[str, float]:
        encoder = Student()
        encoder.load_state_dict(before)
        short = replace(SHORT, least_steps=8, most_steps=8, **settings).for_windows(len(data), 0, chiral=False)
        after = finetune(encoder, x, data.y, len(CLASSES), short).encoder.state_dict()
        return {name: float((after[name] - value).float().norm()) for name, value in before.items()}

    free, settings = moved(), moved(keep_statistics=True)
    assert all((settings[name] == 0) == ("running" in name or "tracked" in name) for name in before)
    assert all(free[name] for name in before if "running" in name)
    assert moved(fresh_projection=True)["project.weight"] > 2 * free["project.weight"]


def test_unlabeled_windows_improve_accuracy():
    """Two labeled windows of each class from a quiet sensor, and unlabeled windows from a noisy one."""

    def noisy(per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        data = motion_set(per_class, seed)
        noise = np.random.default_rng(seed).normal(0, 2.0, data.x.shape)
        return prepare((data.x + noise).astype(np.float32), InputSpec()), data.y

    few, (x, y), (others, _) = motion_set(2, seed=0, people=1), noisy(40, 1), noisy(60, 2)
    longer = replace(SHORT, pseudo_label=PseudoLabelConfig(begin=20, ramp=40), least_steps=150, most_steps=150)
    config = longer.for_windows(len(few), 0, chiral=False)

    def right(unlabeled: np.ndarray | None) -> float:
        torch.manual_seed(0)
        model = finetune(Student(), prepare(few.x, InputSpec()), few.y, len(CLASSES), config, unlabeled=unlabeled)
        return float((nearest(float_embeddings(model.encoder, x), model) == y).mean())

    assert right(None) < 0.7
    assert right(others) > 0.9


def test_statistics_are_updated_with_unlabeled_windows():
    data = motion_set(6, seed=0, people=1)
    x = prepare(data.x, InputSpec())
    settings = replace(SHORT, least_steps=4, most_steps=4, keep_statistics=True).for_windows(len(data), 0, chiral=False)
    for unlabeled in (None, x):
        encoder = Student()
        before = encoder.stem[1].running_mean.clone()
        after = finetune(encoder, x, data.y, len(CLASSES), settings, unlabeled=unlabeled).encoder.stem[1].running_mean
        assert torch.equal(before, after) == (unlabeled is None)


def test_pseudo_labels_are_aligned_and_sharpened_and_their_weight_grows():
    config = PseudoLabelConfig(weight=2.0, temperature=0.5, momentum=0.5, begin=2, ramp=4)
    pseudo_labels = PseudoLabels(config, torch.tensor([0.5, 0.5]))
    logits = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log()
    weights = [pseudo_labels(logits) for _ in range(9)]
    assert [round(float(actual.sum(1)[0]), 6) for actual in weights] == [0, 0, 0, 0.5, 1, 1.5, 2, 2, 2]
    # The mean prediction went from (.5, .5) almost to (.75, .25): after alignment both classes are equally likely.
    torch.testing.assert_close(weights[-1], torch.ones(2, 2), atol=0.02, rtol=0)
    still = PseudoLabels(replace(config, momentum=1.0, begin=-9), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(still(logits), torch.tensor([[1.8, 0.2], [1.8, 0.2]]))


def test_run_with_unlabeled_windows_that_was_killed_ends_with_the_same_weights(tmp_path, monkeypatch):
    data = motion_set(6, seed=0, people=1)
    x = prepare(data.x, InputSpec())
    short = replace(SHORT, pseudo_label=PseudoLabelConfig(begin=1, ramp=4), least_steps=8, most_steps=8)
    config = short.for_windows(len(data), 0, chiral=False)

    def end(checkpoint: Path | None = None, report: Report | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        return finetune(Student(), x, data.y, len(CLASSES), config, report, checkpoint, x).prototypes

    def kill(step: int, _: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.learn.loop, "CHECKPOINT_EVERY_S", -1.0)
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "checkpoint", kill)
    assert torch.equal(end(), end(tmp_path / "checkpoint"))


def test_logits_are_scaled_cosines():
    torch.manual_seed(0)
    model = PrototypeClassifier(Student(), torch.randn(4, 64), scale=16.0).eval()
    x = torch.randn(3, 6, 1, 150)
    with torch.no_grad():
        cosine = torch.cosine_similarity(model.encoder(x)[:, None], model.prototypes[None], dim=2)
        torch.testing.assert_close(model(x), 16 * cosine)


def test_fitted_prototypes_are_directions():
    e = np.array([[2, 0], [0, 5], [3, 0.0], [0, 0]], np.float32)
    means = fit_prototypes(l2_normalize(e), np.array([0, 1, 1, 0]), 3)
    half = np.float32(np.sqrt(0.5))
    np.testing.assert_allclose(means[:2], [[1, 0], [half, half]], atol=1e-6)
    np.testing.assert_allclose(means[2], l2_normalize(np.array([[2, 1.0]]))[0], atol=1e-6)


def test_class_without_windows_still_has_a_prototype(held_out):
    x, y = held_out
    some = y != 2
    short = replace(SHORT, least_steps=6, most_steps=6).for_windows(100, 0, chiral=False)
    torch.manual_seed(0)
    model = finetune(Student(), x[some], y[some], len(CLASSES), short)
    assert model.prototypes.shape == (4, 64)
    assert torch.isfinite(model.prototypes).all()


def test_steps_grow_with_the_windows_within_bounds():
    config = FinetuneConfig(loop=LoopConfig(batch=100), epochs=10, least_steps=50, most_steps=200)
    assert [config.for_windows(n, 0, False).loop.steps for n in (10, 500, 1000, 1999, 2000, 10**6)] == [
        *(50, 50, 100, 199, 200, 200)
    ]
    assert config.for_windows(10, 7, False).loop.seed == 7
    assert config.for_windows(10, 7, False).augment == config.augment
    assert config.for_windows(10, 7, True).augment == replace(config.augment, mirror_probability=0.0)


def test_random_forest_beats_chance():
    train, test = motion_set(15, seed=0), motion_set(25, seed=1)
    actual = forest_predictions(train.x, train.y, test.x, seed=0)
    assert (actual == test.y).mean() > 0.9
    np.testing.assert_array_equal(actual, forest_predictions(train.x, train.y, test.x, seed=0))
    shuffled = np.random.default_rng(0).permutation(train.y)
    assert (forest_predictions(train.x, shuffled, test.x, seed=0) == test.y).mean() < 0.6


def test_hand_features_equal_their_definitions():
    t = np.arange(150) / 50
    x = np.stack([3 + 2 * np.sin(2 * np.pi * t), -np.sin(2 * np.pi * t), np.full(150, 5.0)])[None].astype(np.float32)
    f = hand_features(x)[0]
    assert len(f) == 3 * (8 + 15) + 3
    assert f[:3] == pytest.approx([3, 0, 5], abs=1e-5)
    assert f[3:6] == pytest.approx([np.sqrt(2), np.sqrt(0.5), 0], abs=1e-5)
    assert f[6:9] == pytest.approx([1, -1, 5], abs=0.01)
    assert f[9:12] == pytest.approx([5, 1, 5], abs=0.01)
    assert f[15:18] == pytest.approx([3, 0, 5], abs=1e-5), "medians"
    spectrum = f[24:69].reshape(3, 15)
    assert spectrum[0].argmax() == 2, "1 Hz is the third multiple of 1/3 Hz"
    assert spectrum[0, 2] == pytest.approx(1, rel=1e-4), "half the amplitude"
    assert f[69:] == pytest.approx([-1, 0, 0], abs=1e-4), "correlations"


def test_constant_window_has_finite_features():
    assert np.isfinite(hand_features(np.full((2, 6, 150), 9.81, np.float32))).all()


def test_rare_class_is_drawn_with_the_square_root_of_its_count(monkeypatch):
    """900 windows of one class and 9 of another: 10 to 1."""
    y = np.repeat([0, 1], [900, 9])
    x = np.ones((909, 6, 1, 150), np.float32) * y[:, None, None, None].astype(np.float32)
    drawn: list[torch.Tensor] = []

    def spy(windows: torch.Tensor, *rest: object) -> torch.Tensor:
        drawn.append(windows[:, 0, 0, 0])
        return windows

    monkeypatch.setattr(training.learn.finetune, "augment", spy)
    config = replace(SHORT, least_steps=40, most_steps=40).for_windows(len(y), 0, chiral=False)
    finetune(Student(), x, y, 2, config)
    assert torch.cat(drawn).mean().item() == pytest.approx(1 / 11, rel=0.25)
