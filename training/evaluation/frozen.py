"""Frozen features of protocol v2 and the classifiers fitted to them: one method on one target, all shares of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from sklearn.metrics import f1_score

from mujo_edge.bundle import l2_normalize
from mujo_edge.core import F32
from mujo_edge.signal import DEFAULT_INPUT, prepare
from training.corpora import WindowSet, folds, label_fraction, load_windows
from training.evaluation.baselines import hand_features
from training.evaluation.few_windows import teachings
from training.evaluation.heads import Head, Scaling, forest, logistic, nearest, prototypes
from training.evaluation.set_groups import Protocol, pretraining_sets, read_protocol, target_windows
from training.learn.broad import BroadConfig, broad_pool, sample, whiten
from training.models.inference import float_embeddings
from training.models.student import Student
from training.release.quantize import quantized_embeddings
from training.support.tensors import load_tensors

Method = Literal["hand", "random", "broad", "broad_int8"]
"""hand: hand features. random: the student from random init. broad: the student pretrained on the other groups' sets,
as float and as the int8 file that would ship."""
METHODS: tuple[Method, ...] = get_args(Method)

FOLDS = 5
CALIBRATION_WINDOWS, SCALED_WINDOWS = 512, 3000
"""Windows of the pretraining sets that int8 ranges, and the scaling of hand features before `nearest`, come from."""
NETWORK_PENALTY, HAND_PENALTY = 10, 0.3
"""Inverse penalties of logistic regression, on embeddings of length one and on scaled hand features; both were chosen
on groups 0 and 1."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One method on one target: `channels` is 3 or 6, `seed` that of the network's weights."""

    method: Method
    target: str
    channels: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Macro-F1 of a trial with a head. `labels` is a fraction of the train people's labels ("0.02") or a number of
    windows of one person ("3 windows"); `scores` has one value per fold, draw or person."""

    trial: Trial
    head: str
    labels: str
    scores: tuple[float, ...]

    @property
    def macro_f1(self) -> float:
        """Their mean."""
        return float(np.mean(self.scores))


def run_trial(trial: Trial, encoders: Path) -> list[Result]:
    """All results of a trial; a pretrained network is at `encoder_path(encoders, ...)`."""
    torch.set_num_threads(1)
    protocol, data = read_protocol(), target_windows(trial.target)
    features, heads = features_of(trial, data, encoders)
    results = []
    for name, (scale, head) in heads.items():
        for fraction in protocol.fractions if protocol.targets[trial.target].folds else ():
            scores = tuple(by_fold(data, features, scale, head, fraction, protocol))
            results.append(Result(trial, name, f"{fraction:g}", scores))
        for count in protocol.shots:
            scores = tuple(by_person(data, features, scale, head, count, protocol))
            results.append(Result(trial, name, f"{count} windows", scores))
    return [result for result in results if result.scores]


Scale = Callable[[F32], Callable[[F32], F32]]
"""Features of the labeled windows -> how all features are scaled."""


def features_of(trial: Trial, data: WindowSet, encoders: Path) -> tuple[F32, Mapping[str, tuple[Scale, Head]]]:
    """Features (N, D) of a target's windows, and every head with the scaling before it."""
    group = read_protocol().group_of(trial.target)
    x = data.x[:, : trial.channels]
    sample, labels = pretraining_sample(group)
    if trial.method == "hand":
        some = np.random.default_rng(0).permutation(len(sample))[:SCALED_WINDOWS]
        known = Scaling.of(hand_features(unprepared(sample[some])[:, : trial.channels]))
        return hand_features(x), {
            "logistic": (Scaling.of, logistic(HAND_PENALTY)),
            "forest": (unscaled, forest),
            "nearest": (lambda _: known, nearest),
        }
    torch.manual_seed(trial.seed)
    student = Student(BroadConfig().student)
    if trial.method == "random":
        student = whiten(student, sample, labels)
    else:
        student.load_state_dict(load_tensors(encoder_path(encoders, group, trial.seed)))
    embeddings = embed(student.eval(), x, sample.numpy() if trial.method == "broad_int8" else None)
    return embeddings, {"logistic": (unscaled, logistic(NETWORK_PENALTY)), "prototypes": (unscaled, prototypes)}


def unscaled(_: F32) -> Callable[[F32], F32]:
    """Features as they are."""
    return lambda features: features


def unprepared(x: torch.Tensor) -> F32:
    """Prepared windows (N, 6, 1, T) in m/s2 and rad/s again."""
    scale = np.asarray(DEFAULT_INPUT.scale, np.float32)
    return np.asarray(x[:, :, 0].numpy() * scale[:, None], np.float32)


def embed(student: Student, x: F32, calibration: F32 | None) -> F32:
    """Windows (N, 3 or 6, T) in SI units -> embeddings of length one: of the float network, or of its int8 file with
    ranges from the prepared windows `calibration`."""
    prepared = prepare(x, DEFAULT_INPUT)
    if calibration is None:
        return l2_normalize(float_embeddings(student, prepared))
    some = calibration[np.random.default_rng(0).permutation(len(calibration))[:CALIBRATION_WINDOWS]]
    return l2_normalize(quantized_embeddings(student, some, prepared))


def encoder_path(folder: Path, group: int, seed: int) -> Path:
    """File of the pretrained network of a group."""
    return folder / f"group-{group}-seed-{seed}.pt"


@cache
def pretraining_sample(group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `sample` of the pool that a group's encoder learns from."""
    return sample(broad_pool([load_windows(name) for name in pretraining_sets(group)], DEFAULT_INPUT))


def by_fold(
    data: WindowSet, features: F32, scale: Scale, head: Head, fraction: float, protocol: Protocol
) -> Iterator[float]:
    """Macro-F1 of each fold (and draw of the smallest fraction) with a fraction of its train people's labels."""
    people = len(np.unique(data.subject))
    for number, (train, test) in enumerate(folds(data.y, data.subject, min(FOLDS, people))):
        for draw in range(protocol.draws if fraction == min(protocol.fractions) else 1):
            rows = label_fraction(data.y, train, fraction, number + FOLDS * draw)
            scaled = scale(features[rows])
            predicted = head(scaled(features[rows]), data.y[rows], scaled(features[test]))
            yield macro_f1(data.y[test], predicted, data.y[rows])


def by_person(
    data: WindowSet, features: F32, scale: Scale, head: Head, count: int, protocol: Protocol
) -> Iterator[float]:
    """Macro-F1 of each person and draw, taught by `count` windows of each class."""
    for draw in range(protocol.draws):
        for taught, tested in teachings(data, count, draw, protocol.people):
            scaled = scale(features[taught])
            predicted = head(scaled(features[taught]), data.y[taught], scaled(features[tested]))
            yield macro_f1(data.y[tested], predicted, data.y[taught])


def macro_f1(y: np.ndarray, predicted: np.ndarray, learned: np.ndarray) -> float:
    """Mean F1 over the classes that were learned and tested."""
    labels = np.intersect1d(y, learned)
    return float(f1_score(y, predicted, labels=labels, average="macro", zero_division=0))
