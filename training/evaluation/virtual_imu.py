"""How close the virtual IMU comes to a real one: `python -m training.fimad validate`.

UTD-MHAD has a Kinect skeleton and the sensor that the person wore in the same trial. Everything that is fitted (the
turn by which the sensor was mounted, one a placement, and classifiers) sees protocol v1's train people of a fold only;
all numbers are of its test people.
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
from training.corpora.base import whole
from training.fimad.clip import IMU_RATE_HZ
from training.fimad.sources import utd_mhad as skeletons
from training.fimad.virtual_imu import virtual_imus

SCALE = np.array(DEFAULT_INPUT.scale)
MOST_LAG = 25
"""Samples by which skeleton and sensor are searched to be apart: half a second."""
BANDS_HZ = ((0.4, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 20.0))
COPIES = 4
"""Draws of `training.learn.sensor_noise` for every virtual window that trains a classifier."""

Signal = Literal["virtual", "real", "virtual + sensor"]
Model = Literal["forest", "student"]
WORN: Signal = "virtual + sensor"
"""Virtual signals as `training.learn.sensor_noise` changes them."""
PAIRS: tuple[tuple[Signal, Signal], ...] = (
    ("real", "real"),
    ("virtual", "real"),
    (WORN, "real"),
    ("virtual", "virtual"),
)
"""What a classifier is trained on, and tested on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both signals of one trial, (n, 6) each, from the same moment on: `lag` samples of the later one are cut off.

    `lag` is positive where the skeleton lags behind the sensor.
    """

    action: str
    subject: str
    placement: str
    virtual: F32
    real: F32
    lag: int


def best_lag(virtual: F32, real: F32) -> int:
    """The lag at which |specific force| and |angular rate| of (n, 6) and (m, 6) correlate best; see `Pair`."""

    def agreement(lag: int) -> float:
        a, b = shifted(virtual, real, lag)
        if len(a) < MOST_LAG:
            return -2.0
        parts = (slice(0, 3), slice(3, 6))
        return sum(correlation(*(np.linalg.norm(x[:, part], axis=1) for x in (a, b))) for part in parts)

    return max(sorted(range(-MOST_LAG, MOST_LAG + 1), key=abs), key=agreement)


def shifted(virtual: F32, real: F32, lag: int) -> tuple[F32, F32]:
    """Both from the same moment on, equally long."""
    virtual, real = virtual[max(lag, 0) :], real[max(-lag, 0) :]
    n = min(len(virtual), len(real))
    return virtual[:n], real[:n]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def read_pairs(root: Path) -> tuple[list[Pair], int]:
    """Every trial under the data folder that has both signals, and how many have not.

    Raises `DataError` where the skeletons or the sensor's files are not there.
    """
    path = skeletons.SOURCE.find(root)
    if path is None:
        raise DataError(f"{skeletons.SOURCE.title} was not found under {root}. It is at {skeletons.SOURCE.home}")
    pairs, without = [], 0
    for task in track(list(skeletons.SOURCE.tasks(path)), "virtual IMU of every trial"):
        for take in task.read(*task.arguments):
            made = virtual_imus(take.motion, tuple(take.real_imu)) if take.motion else {}
            for placement, virtual in made.items():
                lag = best_lag(virtual, take.real_imu[placement])
                cut = shifted(virtual, take.real_imu[placement], lag)
                pairs.append(Pair(take.name, take.subject, placement, *cut, lag))
            without += not made
    if not pairs:
        raise DataError(f"{path} has no trial with both skeleton and sensor. Put Inertial.zip beside Skeleton.zip")
    return pairs, without


def mounting(pairs: Sequence[Pair]) -> Rotation:
    """The one turn that takes virtual to real, force and rate together (Kabsch; both in the model's units)."""
    stacked = [
        np.concatenate([(getattr(pair, name) / SCALE).reshape(-1, 2, 3) for pair in pairs]).reshape(-1, 3)
        for name in ("real", "virtual")
    ]
    turn, _ = Rotation.align_vectors(*stacked)
    return turn


def turned(x: F32, turn: Rotation) -> F32:
    """(n, 6) in another frame."""
    return np.concatenate([turn.apply(x[:, :3]), turn.apply(x[:, 3:])], 1).astype(np.float32)


def mountings(pairs: Sequence[Pair]) -> dict[str, Rotation]:
    """`mounting` of every placement."""
    placements = dict.fromkeys(pair.placement for pair in pairs)
    return {name: mounting([pair for pair in pairs if pair.placement == name]) for name in placements}


def by_fold(pairs: Sequence[Pair]) -> Iterator[tuple[list[Pair], list[Pair]]]:
    """(train, test) trials of protocol v1's five folds."""
    subject = np.array([pair.subject for pair in pairs])
    for train, test in folds(np.zeros(len(pairs), int), subject):
        yield [pairs[i] for i in train], [pairs[i] for i in test]


def agreement(pairs: Sequence[Pair]) -> dict[str, dict[str, list[float]]]:
    """Placement -> measure -> one value a channel, in the virtual IMU's axes; of test people, all folds together.

    `pooled` correlates all samples of all trials at once (where the limb points counts too), `within` is the median of
    the trials' own correlations, `rms` the error (m/s2, rad/s), `size` the virtual signal's sd over the real one's.
    """
    found: dict[str, list[tuple[F32, F32]]] = {}
    for train, test in by_fold(pairs):
        turns = mountings(train)
        for pair in test:
            real = turned(pair.real, turns[pair.placement].inv())
            found.setdefault(pair.placement, []).append((pair.virtual, real))
    result = {}
    for placement, trials in found.items():
        virtual, real = (np.concatenate(part) for part in zip(*trials, strict=True))
        own = [[correlation(v[:, c], r[:, c]) for c in range(6)] for v, r in trials]
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
    `force_real`, (m/s2)^2/Hz) and rate (`rate_...`, (rad/s)^2/Hz), summed over axes, mean of the trials."""
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
class Trial:
    """What a score is of."""

    model: Model
    channels: int
    trained: Signal
    tested: Signal
    fold: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What `scores` does: models, channels and the student's steps."""

    models: tuple[Model, ...] = ("forest", "student")
    channels: tuple[int, ...] = (3, 6)
    steps: int = 300
    seed: int = 0
    pairs: tuple[tuple[Signal, Signal], ...] = field(default=PAIRS)

    def trials(self) -> Iterator[Trial]:
        """In the order in which they are done."""
        for channels in self.channels:
            for model in self.models:
                for fold in range(5):
                    yield from (Trial(model, channels, *pair, fold) for pair in self.pairs)


def window_sets(pairs: Sequence[Pair], name: str, turns: dict[str, Rotation]) -> WindowSet:
    """Protocol v1's windows of one signal in the sensor's own frame; virtual ones are turned as the sensor was."""
    recordings = []
    for number, pair in enumerate(pairs):
        x = pair.real if name == "real" else turned(pair.virtual, turns[pair.placement])
        labels = whole(pair.action, len(x))
        recordings.append(
            Recording("utd_mhad", pair.subject, str(number), pair.placement, IMU_RATE_HZ, x, labels, channels=CHANNELS)
        )
    return windows(recordings, utd_mhad.ACTIONS)


def scores(pairs: Sequence[Pair], settings: Settings, kept: Path) -> dict[Trial, float]:
    """Macro-F1 of every trial of `settings`; those in `kept` (JSON lines) of the same signals and settings are not done
    again."""
    plain, sensed = (digest(pairs, settings, sensor) for sensor in (False, True))
    keys = {trial: sensed if trial.trained == WORN else plain for trial in settings.trials()}
    done: dict[Trial, float] = {}
    if kept.exists():
        for row in map(json.loads, kept.read_text("utf-8").splitlines()):
            key, value = row.pop("key"), row.pop("macro_f1")
            if keys.get(trial := Trial(**row)) == key:
                done[trial] = value
    wanted = [trial for trial in settings.trials() if trial not in done]
    data = list(by_fold(pairs))
    fit = remembered(settings)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for trial in track(wanted, "train and test"):
        train, test = data[trial.fold]
        turns = mountings(train)
        tested = window_sets(test, trial.tested, turns)
        predict = fit(trial, window_sets(train, trial.trained.split()[0], turns), turns)
        done[trial] = macro_f1(tested.y, predict(tested.x[:, : trial.channels]))
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": keys[trial], **asdict(trial), "macro_f1": round(done[trial], 4)}) + "\n")
    return {trial: done[trial] for trial in settings.trials()}


def digest(pairs: Sequence[Pair], settings: Settings, sensor: bool) -> str:
    """Names what a score depends on; the model of the sensor where it was used."""
    found = hashlib.sha256(json.dumps([settings.steps, settings.seed]).encode())
    if sensor:
        from training.learn import sensor_noise

        found.update(Path(str(sensor_noise.__file__)).read_bytes() + bytes([COPIES]))
    for pair in pairs:
        found.update(f"{pair.action} {pair.subject} {pair.placement}".encode() + pair.virtual.tobytes())
        found.update(pair.real.tobytes())
    return found.hexdigest()[:12]


def macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that are tested."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0))


Predict = Callable[[F32], np.ndarray]


def remembered(settings: Settings) -> Callable[[Trial, WindowSet, dict[str, Rotation]], Predict]:
    """`fit` that trains once for both tests."""
    known: dict[tuple[Any, ...], Predict] = {}

    def one(trial: Trial, data: WindowSet, turns: dict[str, Rotation]) -> Predict:
        key = (trial.model, trial.channels, trial.trained, trial.fold)
        if key not in known:
            known[key] = fit(trial, data, turns, settings)
        return known[key]

    return one


def fit(trial: Trial, data: WindowSet, turns: dict[str, Rotation], settings: Settings) -> Predict:
    """Train the trial's classifier on raw windows (N, 6, 150); it takes (M, 3 or 6, 150)."""
    x, y = data.x[:, : trial.channels], data.y
    if trial.trained == WORN:
        x, y = worn(data, turns, settings.seed + trial.fold)
        x = x[:, : trial.channels]
    if trial.model == "forest":
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
    """`COPIES` draws of `sensor_noise` of every window with twists and noise alone, as the mounting is known here.

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
    """The 5th, 25th, 50th, 75th and 95th percentile of the lags."""
    values: F64 = np.percentile([pair.lag for pair in pairs], (5, 25, 50, 75, 95)) * 1000 / IMU_RATE_HZ
    return [round(float(v), 1) for v in values]
