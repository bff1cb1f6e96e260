"""Encoders that an evaluation pretrains, each without the data set that it will be tested on.

The leave-out rule: no windows of the tested data set, no windows of a data set recorded from the same people
(`SHARED_SUBJECTS`), and no clips of these people (`Source.shares_people_with`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mujo_edge.core import UsageError
from mujo_edge.signal import DEFAULT_INPUT
from training.corpora import load_windows
from training.corpora.labels import read_vocabulary
from training.evaluation.trials import Method, Trial
from training.fimad.clip import Modality
from training.fimad.shards import corpora_of, read, shards_sha256
from training.learn.clip_pool import ClipPool, DrawConfig, make_clip_pool
from training.learn.pretrain import PretrainConfig, PromptEmbeddings, make_pool, pretrain, with_seed
from training.models.encoders import PoseConfig, VideoConfig
from training.models.sentence_embedding import TextProjection
from training.models.student import Student
from training.recipes.recipe import Recipe
from training.support.provenance import plain
from training.support.tensors import load_tensors, save_tensors

SHARED_SUBJECTS = {
    name: together
    for together in (("sp_sw_watch", "sp_sw_phone"), ("mex_thigh", "mex_wrist"), ("mhealth", "mhealth_fragments"))
    for name in together
}
"""Data set -> the data sets recorded from the same people, itself included: left out of pretraining together."""

PRETRAINED: tuple[Method, ...] = ("mujo", "mujo_plus", "student")
"""Methods whose encoder is pretrained."""

TERMS = {"labels": "label_weight", "titles": "title_weight", "prediction": "predict_weight"}
"""Loss terms that an ablation can leave out -> the field of `PretrainConfig` with their weight."""


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of clips. `corpora`: its data sets -> the evaluation sets that show the same people; `sha256` of its
    files."""

    folder: Path
    corpora: Mapping[str, tuple[str, ...]]
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> Shards:
        """A folder that `training.fimad build` wrote. Raises `DataError` where it holds no valid shards."""
        from training.fimad.sources import SOURCES  # its readers need more than those of shards

        files = b"".join(map(bytes.fromhex, shards_sha256(folder).values()))
        people = {n: SOURCES[n].shares_people_with if n in SOURCES else () for n in corpora_of(folder)}
        return cls(folder, people, hashlib.sha256(files).hexdigest())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Inputs of a run of `training.evaluate`, and the folder `out` of its results."""

    out: Path
    recipe: Recipe
    shards: Shards | None = None

    @property
    def trials_file(self) -> Path:
        """The file of all scores, one JSON line each."""
        return self.out / "trials.jsonl"


@dataclass(frozen=True, slots=True)
class PretrainingData:
    """Data sets that an encoder is pretrained on: real `windows` with their label prompts, and `clips`; with `real_imu`
    also the signals that sensors recorded during those clips."""

    windows: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    real_imu: bool = False


@dataclass(frozen=True, slots=True)
class Encoder:
    """One pretraining, shared by all trials with the same pretraining data, settings and seed."""

    data_used: PretrainingData
    config: PretrainConfig
    shards_sha256: str = ""

    def path(self, out: Path) -> Path:
        """The file of its weights, named by a digest of everything that they depend on."""
        inputs = json.dumps(plain(self), sort_keys=True)
        return out / "pretrained" / f"{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.pt"


def pretraining_data_of(trial: Trial, recipe: Recipe, clips: Mapping[str, tuple[str, ...]]) -> PretrainingData:
    """Pretraining data that the leave-out rule allows, of the recipe's data sets and of `clips` (`Shards.corpora`).

    Raises:
        UsageError: nothing is left.
    """
    held_out = set(SHARED_SUBJECTS.get(trial.corpus, (trial.corpus,)))
    windows = [name for name in recipe.allowed() if name not in held_out] if trial.method != "mujo" else []
    allowed = recipe.allowed_clips(clips) if trial.method != "student" else ()
    seen = [name for name in allowed if not held_out & {name, *clips[name]}]
    if trial.without == "text":
        windows = []  # text is the only other modality of real windows
    data_used = PretrainingData(
        tuple(name for name in windows if name != trial.without),
        tuple(name for name in seen if name != trial.without),
        trial.method == "mujo_plus" and bool(seen),
    )
    if not data_used.windows and not data_used.clips:
        missing = f" and {trial.without}" if trial.without else ""
        raise UsageError(
            f"recipe {recipe.name} has nothing to pretrain on without {trial.corpus}{missing}. Choose another recipe, "
            f"or leave method {trial.method} out with --methods"
        )
    return data_used


def config_of(method: Method, recipe: Recipe, without: str = "") -> PretrainConfig:
    """Pretraining settings of a method. "student" has IMU and text, InfoNCE and labels, and defaults for the rest."""
    config = recipe.pretrain
    if method == "student":
        none = {"pose": PoseConfig(), "video": VideoConfig(), "draw": DrawConfig(), "clip_share": 0.5}
        weights = {"label_weight": 1.0, "title_weight": 0.0, "predict_weight": 0.0}
        config = replace(config, modalities=("imu", "text"), **weights, **none)
    if without in TERMS:
        config = replace(config, **{TERMS[without]: 0.0})
    return replace(config, modalities=tuple(m for m in config.modalities if m != without))


def encoder_of(trial: Trial, run: Evaluation) -> Encoder | None:
    """The encoder that a trial starts from, None without pretraining. Raises as `pretraining_data_of`."""
    if trial.method not in PRETRAINED:
        return None
    data_used = pretraining_data_of(trial, run.recipe, run.shards.corpora if run.shards else {})
    sha256 = run.shards.sha256 if run.shards and data_used.clips else ""
    return Encoder(data_used, with_seed(config_of(trial.method, run.recipe, trial.without), trial.seed), sha256)


def pretrain_encoder(encoder: Encoder, run: Evaluation) -> None:
    """Pretrain and save the weights of the IMU encoder and the text projection (.pt), with the losses (.csv) and the
    inputs (.json) in files of the same name."""
    torch.set_num_threads(1)
    path, data_used, config = encoder.path(run.out), encoder.data_used, encoder.config
    vocabulary = read_vocabulary(corpora=run.recipe.corpora)
    pool = (
        make_pool([load_windows(name) for name in data_used.windows], vocabulary, DEFAULT_INPUT)
        if data_used.windows
        else None
    )
    words = PromptEmbeddings.of(vocabulary) if data_used.windows else None
    clips = None
    if run.shards and data_used.clips:
        clips = clip_pool(run.shards.folder, run.shards.sha256, data_used, config.modalities)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(plain(encoder), indent=1) + "\n")
    checkpoint = path.with_suffix(".checkpoint")
    model = pretrain(config, clips, pool, words, checkpoint=checkpoint, curves=path.with_suffix(".csv"))
    save_tensors(path, {"imu": model.imu.state_dict(), "text": model.text.state_dict()})
    checkpoint.unlink()


@lru_cache(maxsize=1)
def clip_pool(folder: Path, sha256: str, data_used: PretrainingData, modalities: tuple[Modality, ...]) -> ClipPool:
    """The train clips of `data_used` in shards with this digest. Cached, since a worker pretrains several seeds on the
    same data in a row."""
    clips = read(folder, data_used.clips, "train", modalities=modalities)
    return make_clip_pool(clips, DEFAULT_INPUT, data_used.real_imu)


def load_encoder(trial: Trial, run: Evaluation) -> tuple[Student, TextProjection | None]:
    """The network of a trial before fine-tuning, and its text projection if it was pretrained.

    Raises:
        DataError: the file is damaged.
    """
    torch.manual_seed(trial.seed)
    student = Student(run.recipe.pretrain.encoder)
    encoder = encoder_of(trial, run)
    if encoder is None:
        return student, None
    state: dict[str, Any] = load_tensors(encoder.path(run.out))
    student.load_state_dict(state["imu"])
    text = TextProjection(run.recipe.pretrain.encoder.embedding)
    text.load_state_dict(state["text"])
    return student, text


def settings_of(method: Method, recipe: Recipe) -> dict[str, Any]:
    """The parts of a recipe that the scores of a method depend on, by name."""
    if method == "forest":
        return {}
    parts: dict[str, Any] = {
        "encoder": asdict(recipe.pretrain.encoder),
        "finetune": asdict(recipe.finetune_of(method in PRETRAINED)),
    }
    if method in PRETRAINED:
        parts["pretrain"] = asdict(config_of(method, recipe))
    if method in ("mujo", "mujo_plus"):
        parts |= {"clips": recipe.clips, "licenses": recipe.licenses}
    if method in ("mujo_plus", "student", "prompts"):
        parts |= {"corpora": recipe.corpora, "licenses": recipe.licenses}
    return parts
