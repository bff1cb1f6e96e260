"""The encoders that an evaluation pretrains, and the rule of what they must not have seen.

Nothing of a data set that is tested: not its windows, not those that were recorded from the same people at the same
time, and no clips of these people (`Source.shares_people_with`).
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
from training.evaluation.cells import Cell, Row
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
"""Data sets recorded from the same people: left out of pretraining together."""

PRETRAINED: tuple[Row, ...] = ("mujo", "mujo_plus", "student")
"""Rows whose encoder is pretrained."""

TERMS = {"labels": "label_weight", "titles": "title_weight", "prediction": "predict_weight"}
"""Multitask terms that an ablation can leave out, and their weights in `PretrainConfig`."""


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of clips: the data sets in it, each with the evaluation sets whose people it shows, and the SHA-256 of
    its files."""

    folder: Path
    corpora: Mapping[str, tuple[str, ...]]
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> Shards:
        """Look at a folder that `training.fimad build` wrote. Raises `DataError` where it holds no sound shards."""
        from training.fimad.sources import SOURCES  # its readers need more than those of shards

        files = b"".join(map(bytes.fromhex, shards_sha256(folder).values()))
        people = {n: SOURCES[n].shares_people_with if n in SOURCES else () for n in corpora_of(folder)}
        return cls(folder, people, hashlib.sha256(files).hexdigest())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run of `training.evaluate` was given, and where its results go."""

    out: Path
    recipe: Recipe
    shards: Shards | None = None

    @property
    def cells(self) -> Path:
        """The file of all scores."""
        return self.out / "cells.jsonl"


@dataclass(frozen=True, slots=True)
class PretrainingData:
    """What an encoder sees: real IMU `windows` with their words, and `clips`; `real_imu` also what devices measured
    on these."""

    windows: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    real_imu: bool = False


@dataclass(frozen=True, slots=True)
class Encoder:
    """One pretraining. Cells whose encoders have the same diet, settings and seed share it."""

    data_used: PretrainingData
    config: PretrainConfig
    shards_sha256: str = ""

    def path(self, out: Path) -> Path:
        """Where its weights lie; the name is a digest of everything that it is made from."""
        told = json.dumps(plain(self), sort_keys=True)
        return out / "pretrained" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.pt"


def pretraining_data_of(cell: Cell, recipe: Recipe, clips: Mapping[str, tuple[str, ...]]) -> PretrainingData:
    """What the encoder of a pretrained row may see, of the recipe's data sets and of `clips` as in `Shards.corpora`.

    Raises:
        UsageError: nothing is left.
    """
    held = set(SHARED_SUBJECTS.get(cell.corpus, (cell.corpus,)))
    windows = [name for name in recipe.allowed() if name not in held] if cell.row != "mujo" else []
    there = recipe.allowed_clips(clips) if cell.row != "student" else ()
    seen = [name for name in there if not held & {name, *clips[name]}]
    if cell.without == "text":
        windows = []  # words are all that real windows have beside themselves
    data_used = PretrainingData(
        tuple(name for name in windows if name != cell.without),
        tuple(name for name in seen if name != cell.without),
        cell.row == "mujo_plus" and bool(seen),
    )
    if not data_used.windows and not data_used.clips:
        missing = f" and {cell.without}" if cell.without else ""
        raise UsageError(
            f"recipe {recipe.name} has nothing to pretrain on without {cell.corpus}{missing}. Choose another recipe, "
            f"or leave row {cell.row} out with --rows"
        )
    return data_used


def config_of(row: Row, recipe: Recipe, without: str = "") -> PretrainConfig:
    """How a row is pretrained. The student knows IMU and text, InfoNCE and labels; all settings beside are defaults."""
    config = recipe.pretrain
    if row == "student":
        none = {"pose": PoseConfig(), "video": VideoConfig(), "draw": DrawConfig(), "clip_share": 0.5}
        weights = {"label_weight": 1.0, "title_weight": 0.0, "predict_weight": 0.0}
        config = replace(config, modalities=("imu", "text"), **weights, **none)
    if without in TERMS:
        config = replace(config, **{TERMS[without]: 0.0})
    return replace(config, modalities=tuple(m for m in config.modalities if m != without))


def encoder_of(cell: Cell, run: Evaluation) -> Encoder | None:
    """The encoder a cell starts from, None for rows without pretraining. Raises as `pretraining_data_of`."""
    if cell.row not in PRETRAINED:
        return None
    data_used = pretraining_data_of(cell, run.recipe, run.shards.corpora if run.shards else {})
    sha256 = run.shards.sha256 if run.shards and data_used.clips else ""
    return Encoder(data_used, with_seed(config_of(cell.row, run.recipe, cell.without), cell.seed), sha256)


def pretrain_encoder(encoder: Encoder, run: Evaluation) -> None:
    """Pretrain it and keep the weights of its IMU encoder and text projection; beside them its losses, and what it
    was made from."""
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
    """The train clips of a diet in the shards of that digest. Seeds of one diet follow each other in a worker, so the
    last pool is kept."""
    clips = read(folder, data_used.clips, "train", modalities=modalities)
    return make_clip_pool(clips, DEFAULT_INPUT, data_used.real_imu)


def load_encoder(cell: Cell, run: Evaluation) -> tuple[Student, TextProjection | None]:
    """The network of a cell before fine-tuning, and the text projection where it was pretrained with one.

    Raises:
        DataError: the file is damaged.
    """
    torch.manual_seed(cell.seed)
    student = Student(run.recipe.pretrain.encoder)
    encoder = encoder_of(cell, run)
    if encoder is None:
        return student, None
    state: dict[str, Any] = load_tensors(encoder.path(run.out))
    student.load_state_dict(state["imu"])
    text = TextProjection(run.recipe.pretrain.encoder.embedding)
    text.load_state_dict(state["text"])
    return student, text


def settings_of(row: Row, recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that a row's scores depend on, by name."""
    if row == "forest":
        return {}
    parts: dict[str, Any] = {
        "encoder": asdict(recipe.pretrain.encoder),
        "finetune": asdict(recipe.finetune_of(row in PRETRAINED)),
    }
    if row in PRETRAINED:
        parts["pretrain"] = asdict(config_of(row, recipe))
    if row in ("mujo", "mujo_plus"):
        parts |= {"clips": recipe.clips, "licenses": recipe.licenses}
    if row in ("mujo_plus", "student", "prompts"):
        parts |= {"corpora": recipe.corpora, "licenses": recipe.licenses}
    return parts
