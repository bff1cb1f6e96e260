"""Contrastive pretraining of IMU, pose, video and text into one space.

Every pair of modalities that a sample has is matched by symmetric InfoNCE (MuJo's objective, arXiv 2406.03857). A batch
holds windows of clips (`training.learn.clip_pool`: virtual IMU, pose, video, text), real recordings with prompts of
their labels, or both. Two optional terms: each window is classified among the labels of its own corpus, since most
negatives in a batch are easy for short class lists; and each embedding predicts the frozen features of the other
modalities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from mujo_edge.core import UsageError
from mujo_edge.signal import InputSpec, prepare
from training.corpora.base import WindowSet
from training.corpora.labels import Vocabulary
from training.fimad.clip import Modality
from training.learn.augment import AugmentConfig, augment
from training.learn.clip_pool import ClipPool, DrawConfig
from training.learn.curves import Curves
from training.learn.distributed import gather, join_batch_norms, rank_and_world
from training.learn.loop import LoopConfig, Report, optimize
from training.models.encoders import PoseConfig, PoseEncoder, VideoConfig, VideoEncoder
from training.models.losses import PairwiseInfoNCE
from training.models.sentence_embedding import TEXT_DIM, TextProjection, embed_text
from training.models.student import Student, StudentConfig


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """`modalities` are those that are trained. With clips and real windows, `clip_share` is the fraction of clips in a
    batch.

    `pair_weights` scales pairs of modalities ("imu-text", in alphabetical order; default 1), `label_weight` the labels
    of real windows, `title_weight` the titles of clips, `predict_weight` the cross-modal prediction. `augment` applies
    to real windows, `draw` to clips. `device` and `precision` are torch's; bf16 is autocast.
    """

    encoder: StudentConfig = field(default_factory=StudentConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=4000, batch=192, ema=0.998))
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    draw: DrawConfig = field(default_factory=DrawConfig)
    modalities: tuple[Modality, ...] = ("imu", "text")
    clip_share: float = 0.5
    pair_weights: dict[str, float] = field(default_factory=dict)
    label_weight: float = 1.0
    title_weight: float = 0.0
    predict_weight: float = 0.0
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True, slots=True)
class Pool:
    """Windows of several corpora in one array.

    `x` (N, 6, 1, 150) prepared; `y` (N,) index in the vocabulary; `corpus` (N,) index of the corpus; `weight` (N,)
    sampling weight; `chiral` (N,) bool, never mirrored; `allowed` (corpora, V) bool, the labels of each corpus.
    """

    x: Tensor
    y: Tensor
    corpus: Tensor
    weight: Tensor
    chiral: Tensor
    allowed: Tensor

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) rows by weight, without replacement unless there are fewer than `n`."""
        return torch.multinomial(self.weight, n, replacement=n > len(self.weight), generator=generator)


def make_pool(sets: Sequence[WindowSet], vocabulary: Vocabulary, spec: InputSpec) -> Pool:
    """A pool of the sets. A class is drawn with the square root of its count, so that rare ones are seen and none
    dominates."""
    targets = [vocabulary.targets(s) for s in sets]
    allowed = torch.zeros(len(sets), len(vocabulary.names), dtype=torch.bool)
    weights = []
    for number, y in enumerate(targets):
        allowed[number, torch.from_numpy(y)] = True
        weights.append(1 / np.sqrt(np.bincount(y, minlength=len(vocabulary.names))[y]))
    return Pool(
        torch.from_numpy(np.concatenate([prepare(s.x, spec) for s in sets])),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.repeat(np.arange(len(sets)), [len(s) for s in sets])),
        torch.from_numpy(np.concatenate(weights)),
        torch.from_numpy(np.repeat([s.corpus in vocabulary.chiral for s in sets], [len(s) for s in sets])),
        allowed,
    )


class JointModel(nn.Module):
    """Encoders of all modalities into one space, with the temperature of the objective.

    `imu` and `text` always exist; `pose`, `video` and the prediction heads only if `config` has them.
    """

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        dim = config.encoder.embedding
        self.imu = Student(config.encoder)
        self.text = TextProjection(dim)
        self.objective = PairwiseInfoNCE(weights=config.pair_weights)
        if "pose" in config.modalities:
            self.pose = PoseEncoder(dim, config.pose)
        if "video" in config.modalities:
            self.video = VideoEncoder(dim, config.video)
        if config.predict_weight:
            sizes = {"text": TEXT_DIM, "video": config.video.features}
            self.heads = nn.ModuleDict({m: nn.Linear(dim, size) for m, size in sizes.items() if m in config.modalities})


@dataclass(frozen=True, slots=True)
class PromptEmbeddings:
    """Sentence embeddings of a vocabulary: `vectors` (P, 384); rows `first[i]:first[i + 1]` belong to `names[i]`."""

    vectors: Tensor
    first: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> PromptEmbeddings:
        """Embed every prompt of the vocabulary."""
        counts = torch.tensor([0, *map(len, vocabulary.prompts)])
        vectors = embed_text([p for prompts in vocabulary.prompts for p in prompts])
        return cls(vectors, counts.cumsum(0), vocabulary.names)

    def draw(self, generator: torch.Generator) -> Tensor:
        """(V, 384): a random prompt of each label."""
        low, high = self.first[:-1], self.first[1:]
        pick = low + (torch.rand(len(low), generator=generator) * (high - low)).long()
        return self.vectors[pick]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of the rows from `start` on: `y` (n,) in `bank` (V, 384), among the `allowed` (n, V)."""

    start: int
    y: Tensor
    bank: Tensor
    allowed: Tensor
    weight: float


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples. `inputs` holds, for each modality, the rows that have it, in order, and `present` (N,) bool marks
    them; rows with the same `group` (N,) are not negatives of each other."""

    inputs: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    group: Tensor
    labels: tuple[Labels, ...]


@lru_cache(maxsize=4)
def groups(names: tuple[str, ...]) -> Tensor:
    """(len(names),) a number for each activity name, equal in every process, for clips and for real windows."""
    digests = (hashlib.sha256(name.lower().encode()).digest() for name in names)
    return torch.tensor([int.from_bytes(digest[:8], "big", signed=True) for digest in digests])


def window_batch(
    n: int, pool: Pool, words: PromptEmbeddings, config: PretrainConfig, generator: torch.Generator
) -> Batch:
    """`n` real windows, each with a prompt of its label."""
    rows = pool.draw(n, generator)
    x = augment(pool.x[rows], config.augment, generator, pool.chiral[rows])
    bank, y, everyone = words.draw(generator), pool.y[rows], torch.ones(n, dtype=torch.bool)
    labels = Labels(0, y, bank, pool.allowed[pool.corpus[rows]], config.label_weight)
    return Batch({"imu": x, "text": bank[y]}, {"imu": everyone, "text": everyone}, groups(words.names)[y], (labels,))


def clip_batch(n: int, clips: ClipPool, config: PretrainConfig, generator: torch.Generator) -> Batch:
    """`n` windows of clips with the modalities of `config`."""
    rows, drawn = clips.draw(n, config.draw, generator)
    y = clips.y[rows]
    labels = Labels(0, y, clips.title_vectors, clips.allowed[clips.corpus[rows]], config.title_weight)
    inputs, present = ({m: part[m] for m in config.modalities} for part in (drawn.inputs, drawn.present))
    return Batch(inputs, present, groups(clips.titles)[y], (labels,))


def joined(a: Batch, b: Batch) -> Batch:
    """The samples of `a`, then those of `b`."""
    names = sorted({*a.inputs, *b.inputs})
    n = len(a.group)
    absent = [torch.zeros(len(part.group), dtype=torch.bool) for part in (a, b)]
    return Batch(
        {m: torch.cat([part.inputs[m] for part in (a, b) if m in part.inputs]) for m in names},
        {m: torch.cat([p.present.get(m, none) for p, none in zip((a, b), absent, strict=True)]) for m in names},
        torch.cat([a.group, b.group]),
        (*a.labels, *(replace(labels, start=n + labels.start) for labels in b.labels)),
    )


def label_loss(imu: Tensor, text: Tensor, scale: Tensor, y: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy of each row of `imu` (N, D) over the labels `text` (V, D) that are `allowed` (N, V)."""
    return cross_entropy((scale * imu @ text.T).masked_fill(~allowed, float("-inf")), y)


def terms(model: JointModel, batch: Batch, config: PretrainConfig) -> Iterator[tuple[str, Tensor, Tensor | float]]:
    """Name, value and weight of every term; the loss is the sum of value times weight."""
    n, device = len(batch.group), batch.group.device
    names = sorted(batch.present)
    present = gather(torch.stack([batch.present[m] for m in names], 1))
    everyone = {m: present[:, i] for i, m in enumerate(names)}
    own = {}
    for m in names:
        own[m] = torch.zeros(n, config.encoder.embedding, device=device)
        # Batch statistics are exchanged between processes: each must take part, even without rows.
        if len(batch.inputs[m]) or (m == "imu" and everyone[m].any()):
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                rows = getattr(model, m)(batch.inputs[m])
            own[m] = own[m].index_put((batch.present[m],), rows.float())
    # A single exchange for all modalities.
    every = gather(torch.stack([own[m] for m in names], 1))
    embeddings = {m: every[:, i] for i, m in enumerate(names)}
    for name, value, share in model.objective.pairs(embeddings, everyone, gather(batch.group)):
        yield name, value, share * config.pair_weights.get(name, 1.0)
    for labels in batch.labels:
        if not labels.weight:
            continue
        bank = normalize(model.text(labels.bank), dim=1)
        where = slice(labels.start, labels.start + len(labels.y))
        for m in sorted({"imu", "pose", "video"} & set(names)):
            has = batch.present[m][where]
            if has.any():
                unit = normalize(own[m][where][has], dim=1)
                value = label_loss(unit, bank, model.objective.scale, labels.y[has], labels.allowed[has])
                yield f"{m} label", value, labels.weight * has.sum() / n
    if config.predict_weight:
        for target in sorted(set(model.heads) & set(names)):
            wanted = frozen_features(batch.inputs[target])
            for m in names:
                both = batch.present[m] & batch.present[target]
                if m != target and both.any():
                    predicted = model.heads[target](own[m][both])
                    value = 1 - cosine_similarity(predicted, wanted[both[batch.present[target]]], dim=1).mean()
                    yield f"{m} predicts {target}", value, config.predict_weight * both.sum() / n


def frozen_features(x: Tensor) -> Tensor:
    """Targets of the prediction: sentence embeddings (n, 384) unchanged; frame features (n, k, F) averaged over time
    (n, F)."""
    return x if x.ndim == 2 else x.nanmean(1)


def to_device(batch: Batch, device: str) -> Batch:
    """The batch on `device`; IMU windows channels-last, as the weights in the loop."""

    def there(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: x.to(device, non_blocking=True) for m, x in parts.items()}

    inputs = there(batch.inputs)
    if "imu" in inputs:
        inputs["imu"] = inputs["imu"].contiguous(memory_format=torch.channels_last)
    labels = (
        replace(part, y=part.y.to(device), bank=part.bank.to(device), allowed=part.allowed.to(device))
        for part in batch.labels
    )
    return Batch(inputs, there(batch.present), batch.group.to(device), tuple(labels))


def shares(config: PretrainConfig, clips: ClipPool | None, windows: Pool | None) -> tuple[int, int]:
    """Numbers of clips and of real windows in this process's part of a batch.

    Raises:
        UsageError: nothing to train on, or a batch that cannot be divided that way.
    """
    _, world = rank_and_world()
    if clips is None and windows is None:
        raise UsageError("there is nothing to train on: give clips, windows or both")
    share = 0.0 if clips is None else 1.0 if windows is None else config.clip_share
    each = config.loop.batch // world
    of_clips = round(share * each)
    if config.loop.batch % world or (clips is not None and windows is not None and not 0 < of_clips < each):
        raise UsageError(
            f"a batch of {config.loop.batch} with clip_share {config.clip_share:g} cannot be divided among "
            f"{world} processes, clips and windows; choose another batch or clip_share"
        )
    return of_clips, each - of_clips


def pretrain(
    config: PretrainConfig,
    clips: ClipPool | None,
    windows: Pool | None,
    words: PromptEmbeddings | None,
    report: Report | None = None,
    checkpoint: Path | None = None,
    curves: Path | None = None,
    imu: Student | None = None,
) -> JointModel:
    """Train a `JointModel` on clips, on real windows with the prompts `words`, or on both; deterministic for a seed.

    With `imu`, the IMU encoder is that one, frozen, and the other modalities are trained into its space.
    `curves` is a CSV file for the loss of every pair and term. Under torchrun each process draws its part of the batch,
    from the clips that its caller read.

    Raises:
        UsageError: nothing to train on, windows without prompts, unusable modalities or device.
    """
    of_clips, of_windows = shares(config, clips, windows)
    if windows is not None and words is None:
        raise UsageError("real windows need the prompts of their labels")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f'there is no GPU for device = "{config.device}"; set device = "cpu" in the recipe')
    if clips is not None and "video" in config.modalities and clips.video.x.shape[1] not in (0, config.video.features):
        raise UsageError(
            f"the clips have {clips.video.x.shape[1]} video features a frame, the recipe's video encoder takes "
            f"{config.video.features}; set features in its video table"
        )
    torch.manual_seed(config.loop.seed)
    model = JointModel(config).to(config.device)
    if imu is not None:
        model.imu.load_state_dict(imu.state_dict())
        model.imu.requires_grad_(False).keep_statistics = True
    join_batch_norms(model)
    log = Curves(curves) if curves is not None and rank_and_world()[0] == 0 else None

    def loss_of(generator: torch.Generator) -> Tensor:
        parts = []
        if windows is not None and words is not None:
            parts.append(window_batch(of_windows, windows, words, config, generator))
        if clips is not None:
            parts.append(clip_batch(of_clips, clips, config, generator))
        batch = to_device(parts[0] if len(parts) == 1 else joined(*parts), config.device)
        parts_of_loss = list(terms(model, batch, config))
        if log is not None:
            log.hold(
                {name: value.detach() for name, value, _ in parts_of_loss} | {"scale": model.objective.scale.detach()}
            )
        return torch.stack([value * weight for _, value, weight in parts_of_loss]).sum()

    def log_and_report(step: int, loss: float) -> None:
        if log is not None:
            log.write(step, loss)
        if report is not None:
            report(step, loss)

    trained = optimize(model, loss_of, config.loop, log_and_report, checkpoint)
    plain = JointModel(config)
    plain.load_state_dict(trained.state_dict())
    return plain.eval()


def with_seed(config: PretrainConfig, seed: int) -> PretrainConfig:
    """The same settings with another seed."""
    return replace(config, loop=replace(config.loop, seed=seed))
