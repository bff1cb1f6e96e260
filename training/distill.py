"""A large encoder teaches the student: `python -m training.distill`.

Both see the same augmented window. The student matches the teacher's embedding (cosine), the geometry of
the batch (relational), and finds its label among the text prototypes of its corpus.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from training.augment import AugmentConfig, augment
from training.loop import LoopConfig, Report, optimise
from training.losses import relational
from training.pretrain import JointModel, Pool, Words, label_loss
from training.student import Student, StudentConfig


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Weights of the terms; `student` must embed into as many dimensions as the teacher.

    `norm_weight` pulls the length of the student's output to 1. The length carries nothing, but a few long
    embeddings would set the range of the int8 output and cost the others their resolution (3 dB of SNR).
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=4000, batch=192, ema=0.998))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    cosine_weight: float = 4.0
    relational_weight: float = 4.0
    label_weight: float = 1.0
    norm_weight: float = 0.05


def distill(
    teacher: JointModel,
    pool: Pool,
    words: Words,
    config: DistillConfig,
    report: Report | None = None,
    checkpoint: Path | None = None,
) -> Student:
    """Train a student of `teacher` on the pool. The teacher stays in eval mode and is not changed."""
    teacher = teacher.eval().requires_grad_(False)
    torch.manual_seed(config.loop.seed)
    student = Student(config.student)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = pool.draw(config.loop.batch, generator)
        x = augment(pool.x[rows], config.augment, generator, pool.chiral[rows])
        x = x.contiguous(memory_format=torch.channels_last)
        bank = normalize(teacher.text(words.draw(generator)), dim=1)
        own, wanted = student(x), teacher.imu(x)
        allowed = pool.allowed[pool.corpus[rows]]
        labels = label_loss(normalize(own, dim=1), bank, teacher.objective.scale, pool.y[rows], allowed)
        return (
            config.cosine_weight * (1 - cosine_similarity(own, wanted, dim=1)).mean()
            + config.relational_weight * relational(own, wanted)
            + config.label_weight * labels
            + config.norm_weight * own.norm(dim=1).log().square().mean()
        )

    trained = optimise(student, loss_of, config.loop, report, checkpoint)
    assert isinstance(trained, Student)
    return trained


if __name__ == "__main__":
    from training.command import run
    from training.run import distill_step

    run(distill_step)
