"""Validation of the virtual IMU against a real one: `python -m training.fimad validate`.

UTD-MHAD has a Kinect skeleton and a worn sensor in the same recordings. Everything that is fitted (the mounting
rotation of the sensor, one per placement, and classifiers) uses the train people of a fold of protocol v1; all numbers
are of its test people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track
from scipy.signal import welch
from scipy.spatial.transform import Rotation

from mujo_edge.core import CHANNELS, F32, F64, DataError
from mujo_edge.signal import DEFAULT_INPUT, prepare
from training.corpora import Recording, WindowSet, folds, utd_mhad, windows
from training.corpora.base import constant
from training.fimad.clip import IMU_RATE_HZ
from training.fimad.sources import utd_mhad as skeletons
from training.fimad.virtual_imu import virtual_imus

SCALE = np.array(DEFAULT_INPUT.scale)
MOST_LAG = 25
"""Largest lag in samples that is searched between skeleton and sensor: half a second."""
BANDS_HZ = ((0.4, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 20.0))
COPIES = 4
"""Draws of `training.learn.sensor_noise` for every virtual train window."""

Signal = Literal["virtual", "real", "virtual + sensor"]
Model = Literal["forest", "student"]
WORN: Signal = "virtual + sensor"
"""Virtual signals with the errors of `training.learn.sensor_noise`."""
PAIRS: tuple[tuple[Signal, Signal], ...] = (
    ("real", "real"),
    ("virtual", "real"),
    (WORN, "real"),
    ("virtual", "virtual"),
)
"""(signal that a classifier is trained on, signal that it is tested on)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both signals of one recording, (n, 6) each, aligned: the first `lag` samples of the later one are cut off.

    `lag` is positive if the skeleton lags behind the sensor.
    """

    action: str
    subject: str
    placement: str
    virtual: F32
    real: F32
    lag: int


def best_lag(virtual: F32, real: F32) -> int:
    """The lag with the highest correlation of |specific force| and |angular rate| of (n, 6) and (m, 6); see `Pair`."""

    def agreement(lag: int) -> float:
        a, b = shifted(virtual, real, lag)
        if len(a) < MOST_LAG:
            return -2.0
        parts = (slice(0, 3), slice(3, 6))
        return sum(correlation(*(np.linalg.norm(x[:, part], axis=1) for x in (a, b))) for part in parts)

    return max(sorted(range(-MOST_LAG, MOST_LAG + 1), key=abs), key=agreement)


def shifted(virtual: F32, real: F32, lag: int) -> tuple[F32, F32]:
    """Both signals aligned by `lag`, of equal length."""
    virtual, real = virtual[max(lag, 0) :], real[max(-lag, 0) :]
    n = min(len(virtual), len(real))
    return virtual[:n], real[:n]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation, 0 if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def read_pairs(root: Path) -> tuple[list[Pair], int]:
    """Every recording under the data folder with both signals, and the number of those without.

    Raises:
        DataError: the files of the skeletons or of the sensor are missing.
    """
    path = skeletons.SOURCE.find(root)
    if path is None:
        raise DataError(f"{skeletons.SOURCE.title} was not found under {root}. It is at {skeletons.SOURCE.home}")
    pairs, without = [], 0
    for task in track(list(skeletons.SOURCE.tasks(path)), "virtual IMU of every recording"):
        for take in task.read(*task.arguments):
            virtual_signals = virtual_imus(take.motion, tuple(take.real_imu)) if take.motion else {}
            for placement, virtual in virtual_signals.items():
                lag = best_lag(virtual, take.real_imu[placement])
                cut = shifted(virtual, take.real_imu[placement], lag)
                pairs.append(Pair(take.name, take.subject, placement, *cut, lag))
            without += not virtual_signals
    if not pairs:
        raise DataError(f"{path} has no recording with both skeleton and sensor. Put Inertial.zip beside Skeleton.zip")
    return pairs, without


def mounting(pairs: Sequence[Pair]) -> Rotation:
    """The rotation from virtual to real signals, of force and rate together (Kabsch; both in the model's units)."""
    stacked = [
        np.concatenate([(getattr(pair, name) / SCALE).reshape(-1, 2, 3) for pair in pairs]).reshape(-1, 3)
        for name in ("real", "virtual")
    ]
    turn, _ = Rotation.align_vectors(*stacked)
    return turn


def turned(x: F32, turn: Rotation) -> F32:
    """(n, 6) rotated into another frame."""
    return np.concatenate([turn.apply(x[:, :3]), turn.apply(x[:, 3:])], 1).astype(np.float32)


def mountings(pairs: Sequence[Pair]) -> dict[str, Rotation]:
    """`mounting` of every placement."""
    placements = dict.fromkeys(pair.placement for pair in pairs)
    return {name: mounting([pair for pair in pairs if pair.placement == name]) for name in placements}


def by_fold(pairs: Sequence[Pair]) -> Iterator[tuple[list[Pair], list[Pair]]]:
    """(train, test) recordings of protocol v1's five folds."""
    subject = np.array([pair.subject for pair in pairs])
    for train, test in folds(np.zeros(len(pairs), int), subject):
        yield [pairs[i] for i in train], [pairs[i] for i in test]


def agreement(pairs: Sequence[Pair]) -> dict[str, dict[str, list[float]]]:
    """Placement -> measure -> one value per channel, in the axes of the virtual IMU; of test people of all folds.

    `pooled`: correlation over all samples of all recordings (includes the orientation of the limb); `within`: median of
    the correlations within recordings; `rms`: error (m/s2, rad/s); `size`: sd of the virtual over the real signal.
    """
    signals: dict[str, list[tuple[F32, F32]]] = {}
    for train, test in by_fold(pairs):
        turns = mountings(train)
        for pair in test:
            real = turned(pair.real, turns[pair.placement].inv())
            signals.setdefault(pair.placement, []).append((pair.virtual, real))
    result = {}
    for placement, recordings in signals.items():
        virtual, real = (np.concatenate(part) for part in zip(*recordings, strict=True))
        own = [[correlation(v[:, c], r[:, c]) for c in range(6)] for v, r in recordings]
        measures = {
            "pooled": [correlation(virtual[:, c], real[:, c]) for c in range(6)],
            "within": np.median(own, 0),
            "rms": np.sqrt(((virtual - real) ** 2).mean(0)),
            "size": virtual.std(0) / real.std(0),
        }
        result[placement] = {name: [round(float(v), 3) for v in values] for name, values in measures.items()}
    return result


def spectra(pairs: Sequence[Pair]) -> dict[str, dict[str, list[float]]]:
    """Placement -> power spectral density (Welch, segments of 1.28 s) over `frequency_hz`, of force (`force_virtual`,
    `force_real`, (m/s2)^2/Hz) and rate (`rate_...`, (rad/s)^2/Hz), summed over axes, mean of the recordings."""
    result = {}
    for placement in dict.fromkeys(pair.placement for pair in pairs):
        own = [pair for pair in pairs if pair.placement == placement and len(pair.real) >= 64]
        curves: dict[str, list[float]] = {}
        for name in ("virtual", "real"):
            frequency, power = zip(
                *(welch(getattr(pair, name), IMU_RATE_HZ, nperseg=64, axis=0) for pair in own), strict=True
            )
            mean = np.mean(power, 0)
            curves["frequency_hz"] = frequency[0].tolist()
            curves[f"force_{name}"] = mean[:, :3].sum(1).tolist()
            curves[f"rate_{name}"] = mean[:, 3:].sum(1).tolist()
        result[placement] = curves
    return result


def band_ratios(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    """Amplitude of virtual over real in each of `BANDS_HZ`, of force and of rate."""
    frequency = np.array(curves["frequency_hz"])
    rows = {}
    for kind in ("force", "rate"):
        power = [np.array(curves[f"{kind}_{name}"]) for name in ("virtual", "real")]
        inside = [(frequency >= low) & (frequency < high) for low, high in BANDS_HZ]
        rows[kind] = [round(float(np.sqrt(power[0][band].sum() / power[1][band].sum())), 3) for band in inside]
    return rows


@dataclass(frozen=True, slots=True)
class Condition:
    """One training and test of a classifier: `trained` and `tested` are the signals, on a fold of protocol v1."""

    model: Model
    channels: int
    trained: Signal
    tested: Signal
    fold: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Conditions of `scores`: models, channels, pairs of signals; training steps and seed of the student."""

    models: tuple[Model, ...] = ("forest", "student")
    channels: tuple[int, ...] = (3, 6)
    steps: int = 300
    seed: int = 0
    pairs: tuple[tuple[Signal, Signal], ...] = field(default=PAIRS)

    def conditions(self) -> Iterator[Condition]:
        """All conditions, in the order of their execution."""
        for channels in self.channels:
            for model in self.models:
                for fold in range(5):
                    yield from (Condition(model, channels, *pair, fold) for pair in self.pairs)


def window_sets(pairs: Sequence[Pair], name: str, turns: dict[str, Rotation]) -> WindowSet:
    """Protocol v1's windows of one signal in the sensor's own frame; virtual ones are rotated into it."""
    recordings = []
    for number, pair in enumerate(pairs):
        x = pair.real if name == "real" else turned(pair.virtual, turns[pair.placement])
        labels = constant(pair.action, len(x))
        recordings.append(
            Recording("utd_mhad", pair.subject, str(number), pair.placement, IMU_RATE_HZ, x, labels, channels=CHANNELS)
        )
    return windows(recordings, utd_mhad.ACTIONS)


def scores(pairs: Sequence[Pair], settings: Settings, saved: Path) -> dict[Condition, float]:
    """Macro-F1 of every condition; scores in `saved` (JSON lines) of the same signals and settings are reused."""
    plain, sensed = (digest(pairs, settings, sensor) for sensor in (False, True))
    keys = {condition: sensed if condition.trained == WORN else plain for condition in settings.conditions()}
    done: dict[Condition, float] = {}
    if saved.exists():
        for row in map(json.loads, saved.read_text("utf-8").splitlines()):
            key, value = row.pop("key"), row.pop("macro_f1")
            if keys.get(condition := Condition(**row)) == key:
                done[condition] = value
    wanted = [condition for condition in settings.conditions() if condition not in done]
    data = list(by_fold(pairs))
    fit = remembered(settings)
    saved.parent.mkdir(parents=True, exist_ok=True)
    for condition in track(wanted, "train and test"):
        train, test = data[condition.fold]
        turns = mountings(train)
        tested = window_sets(test, condition.tested, turns)
        predict = fit(condition, window_sets(train, condition.trained.split()[0], turns), turns)
        done[condition] = macro_f1(tested.y, predict(tested.x[:, : condition.channels]))
        with saved.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"key": keys[condition], **asdict(condition), "macro_f1": round(done[condition], 4)}) + "\n"
            )
    return {condition: done[condition] for condition in settings.conditions()}


def digest(pairs: Sequence[Pair], settings: Settings, sensor: bool) -> str:
    """Digest of all inputs of a score; of the sensor model too with `sensor`."""
    hasher = hashlib.sha256(json.dumps([settings.steps, settings.seed]).encode())
    if sensor:
        from training.learn import sensor_noise

        hasher.update(Path(str(sensor_noise.__file__)).read_bytes() + bytes([COPIES]))
    for pair in pairs:
        hasher.update(f"{pair.action} {pair.subject} {pair.placement}".encode() + pair.virtual.tobytes())
        hasher.update(pair.real.tobytes())
    return hasher.hexdigest()[:12]


def macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that have test windows."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0))


Predict = Callable[[F32], np.ndarray]


def remembered(settings: Settings) -> Callable[[Condition, WindowSet, dict[str, Rotation]], Predict]:
    """`fit` with a cache, since a trained classifier may be tested on two signals."""
    known: dict[tuple[Any, ...], Predict] = {}

    def one(condition: Condition, data: WindowSet, turns: dict[str, Rotation]) -> Predict:
        key = (condition.model, condition.channels, condition.trained, condition.fold)
        if key not in known:
            known[key] = fit(condition, data, turns, settings)
        return known[key]

    return one


def fit(condition: Condition, data: WindowSet, turns: dict[str, Rotation], settings: Settings) -> Predict:
    """Train the classifier of a condition on raw windows (N, 6, 150); it takes (M, 3 or 6, 150)."""
    x, y = data.x[:, : condition.channels], data.y
    if condition.trained == WORN:
        x, y = worn(data, turns, settings.seed + condition.fold)
        x = x[:, : condition.channels]
    if condition.model == "forest":
        from training.evaluation.baselines import forest_predictions

        return lambda seen: forest_predictions(x, y, seen, settings.seed)
    import torch

    from training.evaluation.runs import nearest
    from training.learn.finetune import FinetuneConfig, finetune
    from training.models.inference import float_embeddings
    from training.models.student import Student

    torch.manual_seed(settings.seed)
    spec = DEFAULT_INPUT
    config = FinetuneConfig(least_steps=settings.steps, most_steps=settings.steps)
    model = finetune(
        Student(), prepare(x, spec), y, len(data.classes), config.for_windows(len(y), settings.seed, chiral=True)
    )
    return lambda seen: nearest(float_embeddings(model.encoder, prepare(seen, spec)), model)


def worn(data: WindowSet, turns: dict[str, Rotation], seed: int) -> tuple[F32, np.ndarray]:
    """`COPIES` draws of `sensor_noise` for every window, without reversal, since the mounting is known here.

    (N * COPIES, 6, 150) in m/s2 and rad/s, and their labels.
    """
    import torch

    from training.learn.sensor_noise import SensorConfig, along_limb, sense

    config = SensorConfig(reverse_probability=0.0)
    generator = torch.Generator().manual_seed(seed)
    limbs = along_limb(data.placement.tolist()).numpy()
    along = np.stack([turns[str(place)].apply(axis) for place, axis in zip(data.placement, limbs, strict=True)])
    inputs, axes = torch.from_numpy(prepare(data.x, DEFAULT_INPUT)), torch.from_numpy(along.astype(np.float32))
    copies = [sense(inputs, axes, config, generator)[:, :, 0].numpy() for _ in range(COPIES)]
    return (np.concatenate(copies) * SCALE[:, None]).astype(np.float32), np.tile(data.y, COPIES)


def lags_ms(pairs: Sequence[Pair]) -> list[float]:
    """The 5th, 25th, 50th, 75th and 95th percentile of the lags, in ms."""
    values: F64 = np.percentile([pair.lag for pair in pairs], (5, 25, 50, 75, 95)) * 1000 / IMU_RATE_HZ
    return [round(float(v), 1) for v in values]
