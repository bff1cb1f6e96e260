"""The steps of `python -m training.run`.

pretrain (teacher, in the joint space) -> fine-tune the teacher for each label set, if the recipe has `teacher_finetune`
-> distill (student) -> calibrate (label sets) -> quantize, export, gates -> bundle. With `[broad]` in the recipe, the
student is pretrained by breadth instead of distilled, and comes first: the joint space is trained around it. A step
whose result exists in `--out`, made with the same settings and data, is not run again; a killed step resumes from its
last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from mujo_edge.bundle.manifest import Manifest
from mujo_edge.core import UsageError
from mujo_edge.signal import DEFAULT_INPUT
from training.corpora import CORPORA
from training.corpora.labels import Vocabulary, read_vocabulary
from training.corpora.registry import data_sha256
from training.fimad.shards import chosen, corpora_of, read, read_light, shards_sha256
from training.learn.broad import broad_pool, pretrain_broad
from training.learn.clip_pool import ClipPool, make_clip_pool
from training.learn.curves import plot_curves
from training.learn.distill import FineTunedTeacher, distill, finetune_teacher
from training.learn.distributed import rank_and_world
from training.learn.loop import progress_bar
from training.learn.pretrain import JointModel, Pool, PretrainConfig, PromptEmbeddings, make_pool, pretrain
from training.models.student import Student
from training.recipes.recipe import Recipe
from training.recipes.splits import Data, load_data
from training.release.bundle import SHIPPED, Gate, Release, export_bundle, save_checkpoint
from training.release.calibrate import calibrate
from training.release.vocabulary import known_names
from training.support.provenance import describe, plain
from training.support.tensors import load_tensors, save_tensors

CALIBRATION_WINDOWS, GATE_WINDOWS = 512, 2000
MACRO_F1 = {"macro_f1_3ch": "macro-F1, accelerometer", "macro_f1_6ch": "macro-F1, with gyroscope"}

console = Console(stderr=True)


def fingerprint(*settings: Any) -> str:
    """SHA-256 of the settings and data that a step depends on."""
    return hashlib.sha256(json.dumps([plain(s) for s in settings], sort_keys=True).encode()).hexdigest()


def cached(path: Path, made_from: str, make: Callable[[Path], nn.Module]) -> dict[str, Any]:
    """The weights in `path` if their fingerprint is `made_from`, else those of `make(checkpoint)`, saved there."""
    if path.exists() and (content := load_tensors(path))["made_from"] == made_from:
        console.print(f"{path} is up to date")
        return content["state"]
    state = make(path.with_suffix(f".{made_from[:12]}.checkpoint")).state_dict()
    if rank_and_world()[0]:
        return state
    save_tensors(path, {"state": state, "made_from": made_from})
    for checkpoint in path.parent.glob(f"{path.stem}.*.checkpoint"):
        checkpoint.unlink()
    return state


class Run:
    """One run of a recipe in a folder: its data, and the steps on it."""

    def __init__(self, recipe: Recipe, out: Path | None, shards: Path | None = None) -> None:
        if shards is None and (more := sorted(set(recipe.teacher.modalities) - {"imu", "text"})):
            raise UsageError(
                f"recipe {recipe.name} trains on clips with {', '.join(more)}: give their folder with --shards, "
                "which `python -m training.fimad build` makes"
            )
        self.recipe = recipe
        self.shards = shards
        self.out = out or Path("runs") / recipe.name
        self.spec = DEFAULT_INPUT
        self.vocabulary: Vocabulary = read_vocabulary(corpora=recipe.corpora)
        self.data: Data = load_data(recipe)
        self.pool: Pool = make_pool(self.data.train, self.vocabulary, self.spec)
        self.clips = recipe.allowed_clips(corpora_of(shards)) if shards else ()
        self.data_sha256 = data_sha256(recipe.allowed())
        self.hashes = self.data_sha256 | (shards_sha256(shards) if shards else {})
        self.words = PromptEmbeddings.of(self.vocabulary)
        self.out.mkdir(parents=True, exist_ok=True)
        if rank_and_world()[0] == 0:
            provenance = describe({"recipe": recipe}, self.hashes)
            (self.out / "run.json").write_text(json.dumps(provenance, indent=1) + "\n")

    def made_from(self, *settings: Any) -> str:
        """Fingerprint of a step: its settings, the words and the data."""
        return fingerprint(*settings, asdict(self.vocabulary), self.hashes, self.recipe.max_windows_per_class)

    def pools(self, config: PretrainConfig) -> tuple[ClipPool | None, Pool | None]:
        """Clips and real windows that `config` uses; under torchrun the clips of this process."""
        if self.shards is None:
            return None, self.pool
        clips = read(self.shards, self.clips, "train", rank_and_world(), config.modalities)
        with_real = config.clip_share < 1
        return make_clip_pool(clips, self.spec, real_imu=with_real), self.pool if with_real else None

    def teacher(self) -> JointModel:
        """Step 1: pretrain the teacher and the text projection; with `[broad]` the student and, in its space, text."""
        config = self.recipe.teacher
        student = self.pretrained_by_breadth()

        def make(checkpoint: Path) -> JointModel:
            clips, windows = self.pools(config)
            curves = self.out / "losses.csv"
            first = rank_and_world()[0] == 0
            with progress_bar("pretrain teacher", config.loop.steps) if first else nullcontext() as report:
                model = pretrain(config, clips, windows, self.words, report, checkpoint, curves, student)
            if first:
                plot_curves(curves, curves.with_suffix(".png"))
            return model

        model = JointModel(config)
        key = self.made_from(config, self.clips, *([self.recipe.broad] if self.recipe.broad else []))
        model.load_state_dict(cached(self.out / "teacher.pt", key, make))
        return model.eval()

    def pretrained_by_breadth(self) -> Student | None:
        """The student of a recipe with `[broad]`, else None."""
        config = self.recipe.broad
        if config is None:
            return None

        def make(checkpoint: Path) -> Student:
            with progress_bar("pretrain student", config.loop.steps) as report:
                return pretrain_broad(broad_pool(self.data.train, self.spec), config, report, checkpoint)

        model = Student(config.student)
        model.load_state_dict(cached(self.out / "student.pt", self.made_from(config), make))
        return model.eval()

    def fine_tuned(self, teacher: JointModel) -> dict[str, FineTunedTeacher]:
        """Step 2: the teacher fine-tuned for each label set with data; empty without `teacher_finetune`."""
        config, fine_tuned = self.recipe.distill, {}
        for spec in self.vocabulary.sets if config.teacher_finetune else ():
            rows = torch.from_numpy(self.vocabulary.rows(spec, self.data.train))
            if not len(rows):
                continue

            def make(checkpoint: Path, rows: Tensor = rows, title: str = f"fine-tune for {spec.name}") -> Student:
                with progress_bar(title, config.teacher_finetune.steps) as report:
                    return finetune_teacher(teacher, self.pool, rows, self.words, config, report, checkpoint)

            encoder = Student(self.recipe.teacher.encoder)
            key = self.made_from(config.teacher_finetune, config.augment, self.recipe.teacher, self.clips)
            encoder.load_state_dict(cached(self.out / f"teacher-{spec.name}.pt", key, make))
            fine_tuned[spec.name] = FineTunedTeacher(rows, encoder.eval().requires_grad_(False))
        return fine_tuned

    def student(self, teacher: JointModel) -> Student:
        """Step 3: distill the student; with `[broad]` it is the IMU encoder of the joint space."""
        if self.recipe.broad:
            return teacher.imu
        config = self.recipe.distill

        def make(checkpoint: Path) -> Student:
            fine_tuned = [*self.fine_tuned(teacher).values()]
            with progress_bar("distill student", config.loop.steps) as report:
                return distill(teacher, self.pool, self.words, config, report, checkpoint, fine_tuned)

        model = Student(config.student)
        key = self.made_from(config, self.recipe.teacher, self.clips)
        model.load_state_dict(cached(self.out / "student.pt", key, make))
        return model.eval()

    def release(self, teacher: JointModel, student: Student) -> Release:
        """Step 4: label sets and vocabulary from prompts and held-out recordings, with provenance and metrics."""
        label_sets, measured = [], {}
        for label_spec in self.vocabulary.sets:
            calibrated = calibrate(student, label_spec, self.vocabulary, self.data, self.spec)
            if calibrated is not None:
                labels, measured[label_spec.name] = calibrated
                label_sets.append(labels)
        results = [
            {"dataset": name, "task": "held-out recordings", "metric": title, "value": round(metrics[key], 4)}
            for name, metrics in measured.items()
            for key, title in MACRO_F1.items()
            if key in metrics
        ]
        (self.out / "held-out.json").write_text(json.dumps(measured, indent=1) + "\n")
        training = describe({"recipe": self.recipe}, self.data_sha256)
        training |= {"corpora": self.corpora(), "clips": self.clip_sources()}
        names, names_metrics = known_names(teacher.text, student, self.vocabulary, self.data, self.spec)
        metrics = {"results": results, "held_out": measured, "names": names_metrics}
        name = f"mujo-{self.recipe.name}" if self.recipe.max_windows_per_class else SHIPPED  # a part of the data
        return Release(label_sets, label_sets[0].name, training, metrics, name=name, vocabulary=names)

    def corpora(self) -> list[dict[str, Any]]:
        """The training sets, as the model card lists them."""
        rows = []
        for train, held_out in zip(self.data.train, self.data.held_out, strict=True):
            corpus = CORPORA[train.corpus]
            rows.append(
                {
                    "name": corpus.name,
                    "title": corpus.title,
                    "licence": corpus.license,
                    "open_licence": corpus.open_license,
                    "citation": corpus.citation,
                    "home": corpus.home,
                    "subjects": len(set(train.subject.tolist())) if corpus.subjects else None,
                    "windows": len(train),
                    "held_out_windows": len(held_out),
                }
            )
        return rows

    def clip_sources(self) -> list[dict[str, Any]]:
        """The collections of clips, as the model card lists them; those made from a user's manifest have the user's
        license."""
        if self.shards is None:
            return []
        from training.fimad.sources import SOURCES  # imports the readers of all sources

        table = read_light(self.shards)
        rows = []
        for name in self.clips:
            entry = {"title": f"the manifest {name}", "licence": "the user's", "open_licence": False}
            entry |= {"citation": "none", "home": "the user's own"}
            if source := SOURCES.get(name):
                entry = {key: getattr(source, key.replace("licence", "license")) for key in entry}
            rows.append({"name": name, **entry, "clips": int(chosen(table, {name}, "train").sum())})
        return rows

    def bundle(self, student: Student, release: Release, bundle: Path) -> Manifest:
        """Step 5: quantize for every runtime, check every file and write the bundle."""
        rng = np.random.default_rng(0)
        calibration = np.concatenate(
            [
                s.x[rng.permutation(len(s))[: max(1, CALIBRATION_WINDOWS // len(self.data.train))]]
                for s in self.data.train
            ]
        )
        # Half of them without gyroscope: int8 must be accurate for both kinds of wearables.
        calibration[::2, 3:] = 0
        gate = self.gate(rng)
        save_checkpoint(self.out / "release.pt", student, self.spec, calibration, gate, release)
        with console.status("quantize, export and check"):
            return export_bundle(bundle, student, self.spec, calibration, gate, release)

    def gate(self, rng: np.random.Generator) -> Gate:
        """Windows of every label set for the parity gate, from held-out recordings and from training windows."""
        x, member, shareable = [], [], []
        present = [s for s in self.vocabulary.sets if self.vocabulary.members(s, self.data.train)]
        for label_spec in present:
            most = -(-GATE_WINDOWS // len(present))
            for sets in (self.data.streams, self.data.train):
                for data in self.vocabulary.members(label_spec, sets):
                    rows = rng.permutation(len(data))[:most]
                    x.append(data.x[rows])
                    member += [label_spec.name] * len(rows)
                    shareable += [CORPORA[data.corpus].open_license] * len(rows)
        return Gate(np.concatenate(x), np.asarray(member), np.asarray(shareable))
