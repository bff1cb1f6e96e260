"""The objective, and training with it: windows are nearest to their own prompts."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import combinations
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_clips import FEATURES, made_clips
from torch import Tensor
from torch.nn.functional import normalize

from mujo_edge.core import UsageError
from mujo_edge.signal import InputSpec, prepare
from training.corpora import WindowSet
from training.corpora.labels import Vocabulary, read_vocabulary
from training.fimad.clip import MODALITIES
from training.learn.clip_pool import ClipPool, make_clip_pool
from training.learn.distill import DistillConfig, FineTunedTeacher, distill, finetune_teacher
from training.learn.loop import LoopConfig
from training.learn.pretrain import (
    Batch,
    JointModel,
    Pool,
    PretrainConfig,
    PromptEmbeddings,
    clip_batch,
    groups,
    joined,
    label_loss,
    make_pool,
    pretrain,
    terms,
    window_batch,
    with_seed,
)
from training.models.encoders import PoseConfig, VideoConfig
from training.models.inference import float_embeddings
from training.models.losses import PairwiseInfoNCE, info_nce, relational
from training.models.student import Student, StudentConfig
from training.recipes.splits import Data


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32)), dim=-1)


def by_hand(a: Tensor, b: Tensor, scale: float, group: list[int] | None = None) -> float:
    """InfoNCE by its definition: each row's match against all rows that are not of its group, in both directions."""
    a, b = a.double().numpy(), b.double().numpy()
    group = list(range(len(a))) if group is None else group
    total = 0.0
    for i in range(len(a)):
        rivals = [j for j in range(len(a)) if j == i or group[j] != group[i]]
        for left, right in ((a, b), (b, a)):
            odds = [np.exp(scale * left[i] @ right[j]) for j in rivals]
            total -= np.log(odds[rivals.index(i)] / sum(odds))
    return total / (2 * len(a))


def everyone(n: int, *names: str) -> dict[str, Tensor]:
    return {name: torch.ones(n, dtype=torch.bool) for name in names}


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize("group", [None, [0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 1, 2]])
def test_info_nce_equals_the_formula(scale, group):
    a, b = unit(6, 8), unit(6, 8, seed=1)
    rows = None if group is None else torch.tensor(group)
    assert info_nce(a, b, torch.tensor(scale), rows).item() == pytest.approx(by_hand(a, b, scale, group), rel=1e-4)


def test_info_nce_is_symmetric_and_independent_of_order():
    a, b, scale = unit(7, 5), unit(7, 5, seed=1), torch.tensor(10.0)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    value = info_nce(a, b, scale)
    torch.testing.assert_close(info_nce(b, a, scale), value)
    torch.testing.assert_close(info_nce(a[order], b[order], scale), value)
    assert not torch.isclose(info_nce(a, b[order], scale), value)


def test_rows_of_one_group_are_not_negatives():
    """Two rows with the same words: no loss and no gradient between them."""
    a, b = unit(2, 5).requires_grad_(), unit(2, 5, seed=1)
    together = info_nce(a, b, torch.tensor(10.0), torch.zeros(2, dtype=torch.long))
    together.backward()
    assert together.item() == 0
    assert not a.grad.any()
    assert info_nce(a, b, torch.tensor(10.0)) > 0


def test_objective_is_the_sum_over_pairs_of_modalities():
    loss = PairwiseInfoNCE(temperature=0.2)
    parts = {name: 3 * unit(6, 4, seed=i) for i, name in enumerate(("imu", "pose", "text", "video"))}
    pairs = [
        by_hand(normalize(parts[a], dim=1), normalize(parts[b], dim=1), 1 / 0.2) for a, b in combinations(parts, 2)
    ]
    assert loss(parts, everyone(6, *parts)).item() == pytest.approx(sum(pairs), rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=4, max_size=12))
def test_pairs_are_weighted_by_the_rows_that_have_both(flags):
    """Each pair: the loss of the rows with both, times their fraction of the batch; none with fewer than two rows."""
    n, loss = len(flags), PairwiseInfoNCE(temperature=0.1)
    names = ("imu", "text", "video")
    parts = {name: unit(n, 4, seed=i) for i, name in enumerate(names)}
    present = {name: torch.tensor([flag[i] for flag in flags]) for i, name in enumerate(names)}
    group = [i % 3 for i in range(n)]
    wanted = 0.0
    for a, b in combinations(names, 2):
        both = present[a] & present[b]
        if both.sum() >= 2:
            rows = [g for g, has in zip(group, both.tolist(), strict=True) if has]
            wanted += both.float().mean().item() * by_hand(parts[a][both], parts[b][both], 10.0, rows)
    assert loss(parts, present, torch.tensor(group)).item() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_values_of_absent_rows_do_not_change_the_loss():
    loss = PairwiseInfoNCE()
    imu, text = unit(6, 4).requires_grad_(), unit(6, 4, seed=1)
    present = everyone(6, "imu", "text") | {"imu": torch.tensor([True, True, False, True, False, True])}
    value = loss({"imu": imu, "text": text}, present)
    value.backward()
    assert not imu.grad[~present["imu"]].any()
    assert imu.grad[present["imu"]].abs().amax(1).min() > 0
    with torch.no_grad():
        other = torch.where(present["imu"][:, None], imu, torch.zeros(()))
    torch.testing.assert_close(loss({"imu": other, "text": text}, present), value.detach())


def test_absent_modality_adds_nothing():
    loss, two = PairwiseInfoNCE(), {"imu": unit(6, 4), "text": unit(6, 4, seed=1)}
    three = two | {"video": unit(6, 4, seed=2)}
    present = everyone(6, "imu", "text") | {"video": torch.zeros(6, dtype=torch.bool)}
    torch.testing.assert_close(loss(three, present), loss(two, everyone(6, "imu", "text")))
    one = present | {"video": torch.arange(6) == 4}
    torch.testing.assert_close(loss(three, one), loss(two, everyone(6, "imu", "text")))


@pytest.mark.parametrize("names", [(), ("imu",)])
def test_fewer_than_two_modalities_add_no_contrast(names):
    with pytest.raises(ValueError, match="needs two modalities or more"):
        PairwiseInfoNCE()({name: unit(4, 4) for name in names}, everyone(4, *names))


def test_temperature_is_learned_and_bounded():
    loss = PairwiseInfoNCE(temperature=0.07)
    assert loss.scale.item() == pytest.approx(1 / 0.07)
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    matched = unit(8, 6)
    for _ in range(200):
        optimizer.zero_grad()
        loss({"imu": matched, "text": matched}, everyone(8, "imu", "text")).backward()
        optimizer.step()
    assert 1 / 0.07 < loss.scale.item() <= 100 + 1e-3, "matched pairs ask for a lower temperature"
    with torch.no_grad():
        loss.log_scale.fill_(log(1e6))
    assert loss.scale.item() == pytest.approx(100)


def test_relational_depends_on_the_geometry_only():
    x = unit(10, 6)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    assert relational(x @ turn, x).item() == pytest.approx(0, abs=1e-10)
    assert relational(3 * x, x).item() == pytest.approx(0, abs=1e-10)
    wider = torch.nn.functional.pad(x, (0, 4))
    assert relational(wider, x).item() == pytest.approx(0, abs=1e-10)
    a, b = unit(2, 3), unit(2, 3, seed=1)
    by_pairs = 2 * (float(a[0] @ a[1]) - float(b[0] @ b[1])) ** 2 / 4
    assert relational(a, b).item() == pytest.approx(by_pairs, rel=1e-4)


def test_window_is_classified_among_the_labels_of_its_corpus():
    imu, text, scale = unit(3, 5), unit(4, 5, seed=1), torch.tensor(5.0)
    allowed = torch.tensor([[True, True, False, False]] * 3)
    y = torch.tensor([0, 1, 1])
    value = label_loss(imu, text, scale, y, allowed)
    elsewhere = torch.cat([text[:2], unit(2, 5, seed=9)])
    torch.testing.assert_close(label_loss(imu, elsewhere, scale, y, allowed), value)
    odds = torch.exp(5.0 * imu @ text[:2].T)
    torch.testing.assert_close(value, -torch.log(odds[torch.arange(3), y] / odds.sum(1)).mean())


def make_set(corpus: str, classes: tuple[str, ...], counts: list[int]) -> WindowSet:
    y = np.repeat(np.arange(len(classes)), counts)
    n = len(y)
    x = np.random.default_rng(0).normal(size=(n, 6, 150)).astype(np.float32)
    text = np.full(n, "wrist")
    return WindowSet(
        corpus, classes, x, np.ones(n, bool), y, text, text, np.arange(n), np.full(n, ""), np.zeros(n, np.float32)
    )


def test_pool_joins_corpora_and_balances_their_classes():
    names = Vocabulary(("walk", "run", "sit"), (("w",), ("r",), ("s",)), (), {"jog": "run"}, ("left-right",))
    sets = [make_set("plain", ("walk", "jog"), [900, 100]), make_set("left-right", ("sit", "walk"), [16, 64])]
    pool = make_pool(sets, names, InputSpec())
    np.testing.assert_array_equal(pool.x.numpy(), np.concatenate([prepare(s.x, InputSpec()) for s in sets]))
    assert pool.y.bincount().tolist() == [964, 100, 16]
    assert pool.corpus.bincount().tolist() == [1000, 80]
    assert pool.allowed.tolist() == [[True, True, False], [True, False, True]]
    assert torch.equal(pool.chiral, pool.corpus == 1)
    rows = torch.multinomial(pool.weight, 40_000, replacement=True, generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([((pool.corpus[rows] == c) & (pool.y[rows] == y)).sum() for c, y in ((0, 0), (0, 1), (1, 2))])
    # Square roots of 900, 100 and 16.
    np.testing.assert_allclose(drawn / drawn[1], [3, 1, 0.4], rtol=0.1)


def test_every_prompt_of_a_label_is_drawn_and_no_other(words: PromptEmbeddings):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([words.draw(generator) for _ in range(60)])
    for label, (low, high) in enumerate(zip(words.first[:-1], words.first[1:], strict=True)):
        own = words.vectors[low:high]
        which = (drawn[:, label, None] == own[None]).all(2)
        assert which.any(1).all()
        assert which.any(0).all()


def accuracy(encoder: Student, text: Tensor, data: WindowSet, channels: int = 6) -> float:
    x = prepare(data.x[:, :channels], InputSpec())
    nearest = (float_embeddings(encoder, x) @ normalize(text, dim=1).T.numpy()).argmax(1)
    return float((nearest == data.y).mean())


@torch.no_grad()
def labels_of(teacher: JointModel, words: PromptEmbeddings) -> Tensor:
    return teacher.text(words.vectors[words.first[:-1]])


def test_pretraining_aligns_windows_with_their_prompts(teacher: JointModel, words: PromptEmbeddings, motion_data: Data):
    """New windows, zero-shot: the nearest prompts are their own, for swings also without a gyroscope."""
    held_out_data, text = motion_data.held_out[0], labels_of(teacher, words)
    assert accuracy(teacher.imu, text, held_out_data) > 0.95
    assert accuracy(teacher.imu, text, held_out_data.select(np.isin(held_out_data.y, (1, 2))), channels=3) > 0.9
    torch.manual_seed(0)
    assert accuracy(Student(), text, held_out_data) < 0.6


def test_student_matches_the_teacher(student: Student, teacher: JointModel, words: PromptEmbeddings, motion_data: Data):
    held_out_data = motion_data.held_out[0]
    assert accuracy(student, labels_of(teacher, words), held_out_data) > 0.95
    x = prepare(held_out_data.x, InputSpec())
    own, wanted = (torch.from_numpy(float_embeddings(model, x)) for model in (student, teacher.imu))
    assert torch.cosine_similarity(own, wanted).mean() > 0.9
    assert relational(own, wanted) < 0.1 * relational(torch.randn_like(own), wanted)


def test_teacher_is_not_changed(teacher: JointModel, motion_pool: Pool, words: PromptEmbeddings):
    before = copy.deepcopy(teacher.state_dict())
    few = LoopConfig(steps=3, batch=16)
    encoder = finetune_teacher(teacher, motion_pool, torch.arange(50), words, DistillConfig(teacher_finetune=few))
    own = FineTunedTeacher(torch.arange(50), encoder)
    distill(teacher, motion_pool, words, DistillConfig(loop=few), fine_tuned=[own])
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_fine_tuned_teacher_separates_the_labels_of_its_set_better(
    teacher: JointModel, motion_pool: Pool, words: PromptEmbeddings
):
    """Two swings, by the same prompts and with unchanged statistics of batch normalization."""
    rows = torch.nonzero((motion_pool.y == 1) | (motion_pool.y == 2))[:, 0]
    allowed = torch.zeros(len(words.names), dtype=torch.bool).index_fill(0, torch.tensor([1, 2]), True)
    config = DistillConfig(teacher_finetune=LoopConfig(steps=40, batch=32, lr=1e-3, ema=0.9))
    fine_tuned = finetune_teacher(teacher, motion_pool, rows, words, config)

    @torch.no_grad()
    def loss(encoder: Student) -> float:
        own, bank = normalize(encoder(motion_pool.x[rows]), dim=1), normalize(labels_of(teacher, words), dim=1)
        scale = teacher.objective.scale
        return float(label_loss(own, bank, scale, motion_pool.y[rows], allowed.expand(len(rows), -1)))

    assert loss(fine_tuned) < 0.5 * loss(teacher.imu)
    before = teacher.imu.state_dict()
    same = {name for name, value in fine_tuned.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if "running" in name or "tracked" in name}
    with pytest.raises(ValueError, match="no teacher_finetune"):
        finetune_teacher(teacher, motion_pool, rows, words, DistillConfig())


def test_student_matches_the_fine_tuned_teacher_on_its_label_set_only(
    teacher: JointModel, motion_pool: Pool, words: PromptEmbeddings
):
    """A fine-tuned teacher with negated embeddings changes the student on its own windows and on no others."""
    negated = copy.deepcopy(teacher.imu)
    for part in negated.project.parameters():
        part.data.neg_()
    own = motion_pool.y == 3
    config = DistillConfig(loop=LoopConfig(steps=120, batch=64, ema=0.9), label_weight=0.0)
    student = distill(
        teacher, motion_pool, words, config, fine_tuned=[FineTunedTeacher(torch.nonzero(own)[:, 0], negated)]
    )
    with torch.no_grad():
        cosine = torch.cosine_similarity(student(motion_pool.x), teacher.imu(motion_pool.x), dim=1)
    assert cosine[own].mean() < -0.7
    assert cosine[~own].mean() > 0.7


def test_seed_gives_the_same_encoder_again(motion_pool: Pool, words: PromptEmbeddings):
    config = PretrainConfig(loop=LoopConfig(steps=6, batch=16))

    def weights(seed: int) -> Tensor:
        return pretrain(with_seed(config, seed), None, motion_pool, words).imu.project.weight

    first = weights(1)
    assert torch.equal(first, weights(1))
    assert not torch.allclose(first, weights(2))


def test_fewer_windows_than_a_batch_are_drawn_more_than_once(motion_pool: Pool):
    few = make_pool([make_set("spar", ("pendulum", "abduction"), [3, 2])], read_vocabulary(), InputSpec())
    generator = torch.Generator().manual_seed(0)
    assert set(few.draw(64, generator).tolist()) == set(range(5))
    assert len(set(motion_pool.draw(300, generator).tolist())) == 300


def test_pair_weights_scale_their_terms():
    parts = {name: unit(6, 4, seed=i) for i, name in enumerate(("imu", "pose", "text"))}
    present = everyone(6, *parts) | {"pose": torch.arange(6) < 3}
    loss = PairwiseInfoNCE(temperature=0.2, weights={"imu-text": 3.0, "pose-text": 0.0})
    by_name = {name: (value, share) for name, value, share in loss.pairs(parts, present)}
    assert {name: share.item() for name, (_, share) in by_name.items()} == {
        "imu-pose": 0.5,
        "imu-text": 1.0,
        "pose-text": 0.5,
    }
    wanted = 0.5 * by_name["imu-pose"][0] + 3 * by_name["imu-text"][0]
    torch.testing.assert_close(loss(parts, present), wanted)


CLIPS = PretrainConfig(
    encoder=StudentConfig(stem=8, blocks=((12, 5, 2),), embedding=8),
    pose=PoseConfig(16, 1, 2),
    video=VideoConfig(16, 1, 2, features=FEATURES),
    loop=LoopConfig(steps=4, batch=16),
    modalities=MODALITIES,
)


@pytest.fixture(scope="module")
def clips() -> ClipPool:
    return make_clip_pool(made_clips(3), InputSpec())


def parts_of(config: PretrainConfig, *batches: Batch) -> dict[str, tuple[float, float]]:
    """Name -> value and weight of every term, of a network in eval mode."""
    torch.manual_seed(0)
    model = JointModel(config).eval()
    batch = batches[0] if len(batches) == 1 else joined(*batches)
    return {name: (float(value), float(weight)) for name, value, weight in terms(model, batch, config)}


def test_terms_can_be_switched_off(clips: ClipPool):
    pairs = {"imu-pose", "imu-text", "imu-video", "pose-text", "pose-video", "text-video"}
    on = replace(CLIPS, title_weight=0.5, predict_weight=0.2)
    batch = clip_batch(16, clips, on, torch.Generator().manual_seed(0))
    assert set(parts_of(CLIPS, replace(batch, labels=()))) == pairs
    actual = parts_of(on, batch)
    labels = {f"{m} label" for m in ("imu", "pose", "video")}
    predictions = {f"{m} predicts text" for m in ("imu", "pose", "video")}
    predictions |= {f"{m} predicts video" for m in ("imu", "pose", "text")}
    assert set(actual) == pairs | labels | predictions
    assert all(actual[name][1] == pytest.approx(0.5) for name in labels)
    assert all(actual[name][1] == pytest.approx(0.2) for name in predictions)
    fewer = replace(on, modalities=("imu", "text"))
    assert set(parts_of(fewer, clip_batch(16, clips, fewer, torch.Generator().manual_seed(0)))) == {
        *("imu-text", "imu label", "imu predicts text")
    }


def test_batch_can_hold_clips_and_windows(clips: ClipPool, motion_pool: Pool, words: PromptEmbeddings):
    """Real windows have only IMU and text, so this pair is larger; each part is classified by its own labels."""
    config = replace(CLIPS, title_weight=0.5)
    windows = window_batch(10, motion_pool, words, config, torch.Generator().manual_seed(0))
    drawn = clip_batch(6, clips, config, torch.Generator().manual_seed(0))
    batch = joined(windows, drawn)
    assert len(batch.group) == 16
    assert {m: int(p.sum()) for m, p in batch.present.items()} == {"imu": 16, "pose": 6, "text": 16, "video": 6}
    assert all(len(batch.inputs[m]) == int(p.sum()) for m, p in batch.present.items())
    assert torch.equal(batch.inputs["pose"].nan_to_num(), drawn.inputs["pose"].nan_to_num())
    assert [part.start for part in batch.labels] == [0, 10]
    torch.manual_seed(0)
    model = JointModel(config).eval()
    values = [(name, float(value), float(weight)) for name, value, weight in terms(model, batch, config)]
    assert [w for name, _, w in values if name == "imu-text"] == [1.0]
    assert [w for name, _, w in values if name == "imu-pose"] == [pytest.approx(6 / 16)]
    weights = [w for name, _, w in values if name == "imu label"]
    assert weights == [pytest.approx(1.0 * 10 / 16), pytest.approx(0.5 * 6 / 16)]
    alone = parts_of(config, windows)["imu label"]
    assert next(v for name, v, _ in values if name == "imu label") == pytest.approx(alone[0], rel=1e-4)


def test_same_activity_is_one_group_in_clips_and_windows():
    a, b = groups(("Squat", "rest")), groups(("walking", "squat"))
    assert a[0] == b[1]
    assert len({*a.tolist(), *b.tolist()}) == 3


@pytest.mark.parametrize(("with_clips", "with_windows"), [(True, False), (True, True)])
def test_seed_gives_the_same_joint_model_again(clips, motion_pool, words, with_clips, with_windows):
    given = (clips if with_clips else None, motion_pool if with_windows else None, words if with_windows else None)

    def weights(seed: int) -> Tensor:
        model = pretrain(with_seed(CLIPS, seed), *given)
        return torch.cat([p.flatten() for p in model.parameters()])

    first = weights(1)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_bf16_trains_to_nearly_the_same_loss(clips: ClipPool):
    losses: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for precision, actual in losses.items():
        config = replace(CLIPS, precision=precision, loop=LoopConfig(steps=12, batch=16))
        pretrain(config, clips, None, None, lambda step, loss, actual=actual: actual.append(loss))
    assert losses["bf16"] != losses["fp32"]
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=0.1)


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (CLIPS, (), "nothing to train on"),
        (CLIPS, ("windows",), "need the prompts"),
        (replace(CLIPS, clip_share=1.0), ("clips", "windows", "words"), "clip_share 1 cannot be divided"),
        (replace(CLIPS, clip_share=0.001), ("clips", "windows", "words"), "cannot be divided"),
        (replace(CLIPS, video=VideoConfig(16, 1, 2, features=7)), ("clips",), "16 video features a frame"),
        (replace(CLIPS, device="cuda"), ("clips",), 'no GPU for device = "cuda"'),
    ],
)
def test_unusable_settings_are_refused(clips, motion_pool, words, config, given, message):
    if config.device == "cuda" and torch.cuda.is_available():
        pytest.skip("here is a GPU")
    every = {"clips": clips, "windows": motion_pool, "words": words}
    with pytest.raises(UsageError, match=message):
        pretrain(config, *(every[name] if name in given else None for name in every))
