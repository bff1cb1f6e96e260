"""Distillation of a large encoder into the student: `python -m training.distill`.

Both get the same augmented window. The student matches the teacher's embedding (cosine) and the geometry of the batch
(relational), and classifies the window among the text prototypes of its corpus. The teacher may first be fine-tuned for
each label set; the student then matches, in a window of a label set, the fine-tuned teacher of that set.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from training.learn.augment import AugmentConfig, augment
from training.learn.loop import LoopConfig, Report, optimize
from training.learn.pretrain import JointModel, Pool, PromptEmbeddings, label_loss
from training.models.losses import relational
from training.models.student import Student, StudentConfig


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Weights of the loss terms; `student` must have the embedding dimension of the teacher.

    `norm_weight` pulls the norm of the student's output to 1. The norm carries no information, but a few long
    embeddings would set the range of the int8 output and cost the others resolution (3 dB of SNR).

    `teacher_finetune`: settings of fine-tuning the teacher for each label set; None: the teacher itself is matched.
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=4000, batch=192, ema=0.998))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    cosine_weight: float = 4.0
    relational_weight: float = 4.0
    label_weight: float = 1.0
    norm_weight: float = 0.05
    teacher_finetune: LoopConfig | None = None


@dataclass(frozen=True, slots=True)
class FineTunedTeacher:
    """The teacher's IMU encoder, fine-tuned for the windows `rows` (n,) of a pool."""

    rows: Tensor
    encoder: Student


def finetune_teacher(
    teacher: JointModel,
    pool: Pool,
    rows: Tensor,
    words: PromptEmbeddings,
    config: DistillConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> Student:
    """Fine-tune a copy of the teacher's IMU encoder on the windows `rows` (n,) of one label set.

    Each window is classified among the prompts of all labels of the set. The text projection is frozen, so that the
    joint space is the same for all label sets. Batch normalization keeps its statistics. A label is drawn with the
    square root of its count.

    Raises:
        ValueError: `config` has no `teacher_finetune`.
    """
    if config.teacher_finetune is None:
        raise ValueError("the configuration has no teacher_finetune")
    batch = config.teacher_finetune.batch
    teacher = teacher.eval().requires_grad_(False)
    encoder = copy.deepcopy(teacher.imu).requires_grad_(True)
    encoder.keep_statistics = True
    allowed = torch.zeros(len(words.names), dtype=torch.bool)
    allowed[pool.y[rows]] = True
    weight = torch.bincount(pool.y[rows], minlength=len(allowed))[pool.y[rows]].rsqrt()

    def loss_of(generator: torch.Generator) -> Tensor:
        chosen = rows[torch.multinomial(weight, batch, replacement=len(rows) < batch, generator=generator)]
        x = augment(pool.x[chosen], config.augment, generator, pool.chiral[chosen])
        own = encoder(x.contiguous(memory_format=torch.channels_last))
        bank = normalize(teacher.text(words.draw(generator)), dim=1)
        every = allowed.expand(len(chosen), -1)
        return label_loss(normalize(own, dim=1), bank, teacher.objective.scale, pool.y[chosen], every)

    trained = optimize(encoder, loss_of, config.teacher_finetune, report, checkpoint)
    assert isinstance(trained, Student)
    return trained


def distill(
    teacher: JointModel,
    pool: Pool,
    words: PromptEmbeddings,
    config: DistillConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
    fine_tuned: Sequence[FineTunedTeacher] = (),
) -> Student:
    """Distill `teacher` into a student on the pool, with the `fine_tuned` teachers on their windows.

    Teachers stay in eval mode and are not changed.
    """
    teacher = teacher.eval().requires_grad_(False)
    encoders = [teacher.imu, *(own.encoder for own in fine_tuned)]
    encoder_of = torch.zeros(len(pool.x), dtype=torch.long)
    for number, own in enumerate(fine_tuned, 1):
        encoder_of[own.rows] = number
    torch.manual_seed(config.loop.seed)
    student = Student(config.student)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = pool.draw(config.loop.batch, generator)
        x = augment(pool.x[rows], config.augment, generator, pool.chiral[rows])
        x = x.contiguous(memory_format=torch.channels_last)
        bank = normalize(teacher.text(words.draw(generator)), dim=1)
        own = student(x)
        wanted = torch.empty_like(own)
        for number, encoder in enumerate(encoders):
            taught = encoder_of[rows] == number
            wanted[taught] = encoder(x[taught])
        allowed = pool.allowed[pool.corpus[rows]]
        labels = label_loss(normalize(own, dim=1), bank, teacher.objective.scale, pool.y[rows], allowed)
        return (
            config.cosine_weight * (1 - cosine_similarity(own, wanted, dim=1)).mean()
            + config.relational_weight * relational(own, wanted)
            + config.label_weight * labels
            + config.norm_weight * own.norm(dim=1).log().square().mean()
        )

    trained = optimize(student, loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, Student)
    return trained
