"""Protocol v2: groups of data sets, labeled windows of a person, scores, and resumed runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mujo_edge.core import DataError, UsageError
from mujo_edge.signal import InputSpec, prepare
from training.corpora import CORPORA, WindowSet
from training.evaluation import few_windows, frozen, set_groups, transfer_sets
from training.evaluation.encoders import SHARED_SUBJECTS
from training.evaluation.frozen import Result, Trial
from training.evaluation.heads import Scaling, logistic, prototypes
from training.evaluation.set_groups import Target, pretraining_sets, read_protocol, thin_evenly
from training.evaluation.transfer_sets_report import rows_of, write_report
from training.learn.broad import (
    SAMPLED,
    BroadConfig,
    broad_pool,
    contrast,
    pretrain_broad,
    sample,
    smooth_cross_entropy,
    whiten,
)
from training.learn.loop import LoopConfig
from training.models.inference import float_embeddings
from training.models.student import Student, StudentConfig
from training.release.quantize import quantize_litert


def made(
    people: int = 4, per_class: int = 12, classes: int = 3, corpus: str = "spar", seed: int = 0, noise: float = 0.3
) -> WindowSet:
    """Windows whose class is the tempo of a swing, in one recording a class and person, a hop of 1.5 s."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.repeat(np.arange(classes), per_class), people)
    person = np.repeat(np.arange(people), classes * per_class)
    t = np.arange(150) / 50
    swing = np.sin(2 * np.pi * ((0.7 + 0.8 * y)[:, None] * t + rng.random((len(y), 1))))
    x = rng.normal(0, noise, (len(y), 6, 150)).astype(np.float32)
    x[:, 0] += 4 * swing
    x[:, 2] += 9.8
    return WindowSet(
        corpus,
        tuple(map(str, range(classes))),
        x,
        np.ones(len(y), bool),
        y,
        person.astype(str),
        np.full(len(y), "wrist"),
        person * classes + y,
        np.full(len(y), "right"),
        np.tile(1.5 * np.arange(per_class), classes * people).astype(np.float32),
    )


def test_every_set_is_in_one_group_with_those_of_the_same_people():
    protocol = read_protocol()
    group = {name: i for i, these in enumerate(protocol.groups) for name in these.sets}
    assert all(name in CORPORA for name in (*group, *protocol.always))
    for name, together in SHARED_SUBJECTS.items():
        assert {group[other] for other in together if other in group} <= {group.get(name)} | set()
    assert not set(protocol.always) & set(group)


def test_encoder_learns_from_no_set_of_its_group(monkeypatch):
    monkeypatch.setattr(set_groups, "sets_here", lambda: frozenset(CORPORA))
    protocol = read_protocol()
    for number, group in enumerate(protocol.groups):
        learned = pretraining_sets(number)
        assert not set(learned) & set(group.sets)
        assert set(learned) | set(group.sets) >= {name for g in protocol.groups for name in g.sets}


def test_set_in_two_groups_or_a_target_in_none_is_an_error(tmp_path):
    text = set_groups.PROTOCOL_FILE.read_text()
    (tmp_path / "twice.toml").write_text(text.replace('"wisdm_v1", "spar"', '"wisdm_v1", "motionsense"'))
    with pytest.raises(DataError, match="motionsense is no data set, or is in two groups"):
        read_protocol(tmp_path / "twice.toml")
    (tmp_path / "none.toml").write_text(text.replace('"wisdm_v1", "spar"', '"wisdm_v1"'))
    with pytest.raises(DataError, match="target spar is in no group"):
        read_protocol(tmp_path / "none.toml")


def test_thinning_lowers_the_cap_of_a_person_and_class_and_keeps_neighbors():
    y, subject = np.repeat([0, 1], [400, 16]), np.full(416, "p")
    rows = thin_evenly(y, subject, 100)
    assert len(rows) <= 100
    assert (y[rows] == 1).sum() == 16
    steps = np.diff(rows[y[rows] == 0])
    assert (steps == 1).mean() > 0.8
    assert rows.max() > 390
    np.testing.assert_array_equal(thin_evenly(y, subject, 1000), np.arange(416))


@pytest.mark.parametrize("count", [1, 3])
def test_training_windows_do_not_overlap_and_test_windows_are_separate(count):
    data = made()
    pairs = list(few_windows.teachings(data, count, 0, 8))
    assert len(pairs) == 4
    for taught, tested in pairs:
        assert len(set(data.subject[[*taught, *tested]])) == 1
        np.testing.assert_array_equal(np.bincount(data.y[taught]), [count] * 3)
        for label in range(3):
            own, others = taught[data.y[taught] == label], tested[data.y[tested] == label]
            assert (np.diff(np.sort(data.start_s[own])) >= few_windows.WINDOW_S).all()
            assert (np.abs(data.start_s[own][:, None] - data.start_s[others]) >= few_windows.APART_S).all()


def test_other_recordings_are_tested_if_available():
    data = made(people=1)
    data = replace(data, recording=data.recording * 2 + (data.start_s >= 9))
    for taught, tested in few_windows.teachings(data, 2, 0, 1):
        assert not set(data.recording[taught]) & set(data.recording[tested])


def test_arms_of_a_person_are_tested_separately():
    data = made(people=1)
    data = replace(data, side=np.where(np.arange(len(data)) % 2 == 0, "left", "right"))
    sides = [set(data.side[[*taught, *tested]]) for taught, tested in few_windows.teachings(data, 1, 0, 8)]
    assert sides == [{"left"}, {"right"}]


def test_classes_without_test_windows_are_left_out():
    data = made(people=1, per_class=2, classes=2)
    assert not list(few_windows.teachings(data, 1, 0, 8))


def test_prototypes_name_nearest_mean_direction():
    x = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], np.float32)
    y = np.array(["a", "a", "b", "b"])
    assert prototypes(x, y, np.array([[2, 0.5], [-1, 1]], np.float32)).tolist() == ["a", "b"]


def test_constant_feature_is_not_divided_by_zero():
    x = np.ones((4, 2), np.float32)
    assert np.isfinite(Scaling.of(x)(x)).all()


def test_label_smoothing_covers_the_classes_of_the_windows_task_only():
    logits = torch.tensor([[2.0, 0.0, -1e4, -1e4]])
    others = torch.tensor([[False, False, True, True]])
    log_p = torch.log_softmax(torch.tensor([2.0, 0.0]), 0)
    loss = smooth_cross_entropy(logits, torch.tensor([0]), others, 0.1)
    torch.testing.assert_close(loss, -(0.9 * log_p[0] + 0.1 * log_p.mean())[None])


def test_contrast_is_lowest_if_two_augmentations_of_a_window_agree():
    z = torch.eye(4)
    assert contrast(torch.cat([z, z]), 0.15) < contrast(torch.cat([z, z.roll(1, 0)]), 0.15)


def test_each_set_and_placement_has_its_own_classes():
    one = made(people=1)
    two = replace(one, placement=np.where(np.arange(len(one)) % 2 == 0, "wrist", "ankle"))
    pool = broad_pool([one, two], InputSpec())
    assert pool.own.shape == (3, 9)
    assert (pool.own.sum(0) == 1).all()
    assert pool.own[pool.task, pool.y].all()
    by_task = [float(pool.weight[pool.task == k].sum()) for k in range(3)]
    np.testing.assert_allclose(np.array(by_task) / by_task[1], [np.sqrt(2), 1, 1], rtol=1e-5)


def test_broad_pretraining_beats_random_init_on_unseen_people_and_classes(tmp_path):
    network = StudentConfig(stem=16, stem_stride=3, separable=False, blocks=((24, 5, 2), (32, 1, 1)), embedding=16)
    config = BroadConfig(network, LoopConfig(steps=120, batch=32, ema=0.9), precision="fp32")
    pool = broad_pool([made(seed=seed, classes=2 + seed, people=5, noise=2) for seed in (1, 2)], InputSpec())
    student = pretrain_broad(pool, config, checkpoint=tmp_path / "checkpoint")
    again = pretrain_broad(pool, config, checkpoint=tmp_path / "checkpoint")
    for a, b in zip(student.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    torch.manual_seed(0)
    random = whiten(Student(network), *sample(pool))
    data = made(seed=9, people=4, classes=3, noise=2)
    scores = {}
    for name, encoder in (("broad", student), ("random", random)):
        embeddings = frozen.embed(encoder, data.x[:, :3], None)
        scores[name] = np.mean(
            list(frozen.by_person(data, embeddings, frozen.unscaled, logistic(10), 1, read_protocol()))
        )
    assert scores["broad"] > scores["random"] + 0.1


def test_projection_gives_equal_variance_within_classes():
    torch.manual_seed(0)
    student = Student(StudentConfig(stem=8, blocks=((16, 5, 2),), embedding=4)).eval()
    data = made(people=6, noise=3)
    x, y = torch.from_numpy(prepare(data.x, InputSpec())), torch.from_numpy(data.y)
    z = float_embeddings(whiten(student, x, y), x.numpy())
    inner = z - np.stack([z[data.y == k].mean(0) for k in range(3)])[data.y]
    spread = np.linalg.eigvalsh(np.cov(inner.T))
    assert spread[-1] / spread[0] < 1.5
    features = student.features(x).detach().numpy()
    before = np.linalg.eigvalsh(
        np.cov((features - np.stack([features[data.y == k].mean(0) for k in range(3)])[data.y]).T)
    )
    assert before[-1] / before[-4] > 4
    np.testing.assert_allclose(np.linalg.norm(z, axis=1).mean(), 1, rtol=1e-4)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)


def test_projection_uses_windows_with_and_without_gyroscope():
    data = made(people=1, per_class=70, classes=2)
    x, y = sample(broad_pool([data], InputSpec()))
    assert np.bincount(y).tolist() == [SAMPLED] * 4
    assert (x[y >= 2][:, 3:] == 0).all()
    torch.testing.assert_close(x[y >= 2][:, :3], x[y < 2][:, :3])


def test_chiral_sets_are_marked():
    pool = broad_pool([made(people=1, corpus="utd_mhad"), made(people=1)], InputSpec())
    assert pool.chiral.tolist() == [True] * 36 + [False] * 36


def test_int8_embeddings_are_close_to_float():
    pool = broad_pool([made(noise=noise, seed=seed) for seed, noise in enumerate((0.3, 1, 3))], InputSpec())
    torch.manual_seed(0)
    student = whiten(Student(BroadConfig().student), *sample(pool))
    x = made(seed=3, noise=1).x
    as_float, as_int8 = frozen.embed(student, x, None), frozen.embed(student, x, pool.x.numpy())
    assert (as_float * as_int8).sum(1).mean() > 0.9
    assert len(quantize_litert(student, np.zeros((1, 6, 1, 150), np.float32))) <= 100_000


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A protocol of two groups with made data sets."""
    sets = {name: made(corpus=name, seed=i, classes=3) for i, name in enumerate(("spar", "wisdm_v1", "hapt"))}
    protocol = replace(
        read_protocol(),
        people=2,
        draws=1,
        shots=(1,),
        fractions=(0.1, 1.0),
        always=(),
        groups=(set_groups.Group(("spar",), ""), set_groups.Group(("wisdm_v1", "hapt"), "")),
        targets={"spar": Target("spar"), "hapt": Target("hapt")},
    )
    for module in (set_groups, frozen, transfer_sets):
        monkeypatch.setattr(module, "read_protocol", lambda: protocol)
    for module in (set_groups, frozen, transfer_sets):
        monkeypatch.setattr(module, "load_windows", sets.__getitem__)
    monkeypatch.setattr(set_groups, "sets_here", lambda: frozenset(sets))
    set_groups.target_windows.cache_clear()
    frozen.pretraining_sample.cache_clear()
    yield tmp_path
    set_groups.target_windows.cache_clear()
    frozen.pretraining_sample.cache_clear()


def test_hand_features_are_scored_with_every_head_and_label_fraction(small):
    results = frozen.run_trial(Trial("hand", "spar", 3), small)
    assert {(r.head, r.labels) for r in results} == {
        (head, labels) for head in ("logistic", "forest", "nearest") for labels in ("0.1", "1", "1 windows")
    }
    assert all(0 <= r.macro_f1 <= 1 for r in results)
    assert next(r for r in results if (r.head, r.labels) == ("forest", "1")).macro_f1 > 0.9


def test_target_without_folds_is_scored_within_one_person(small, monkeypatch):
    protocol = set_groups.read_protocol()
    alone = replace(protocol, targets={**protocol.targets, "spar": Target("spar", folds=False)})
    for module in (set_groups, frozen):
        monkeypatch.setattr(module, "read_protocol", lambda: alone)
    assert {result.labels for result in frozen.run_trial(Trial("hand", "spar", 3), small)} == {"1 windows"}


def test_truncated_line_is_skipped_and_rewritten(small):
    results = [Result(Trial("hand", "spar", 3), "forest", "0.02", (0.5, 0.7))]
    transfer_sets.append(small, results)
    with (small / "results.jsonl").open("a") as file:
        file.write('[{"trial": {"met')
    other = [Result(Trial("random", "spar", 3, 1), "logistic", "0.02", (0.25,))]
    transfer_sets.append(small, other)
    assert transfer_sets.read_results(small) == [*results, *other]


def test_folder_of_another_configuration_is_refused(small, monkeypatch):
    monkeypatch.setattr(transfer_sets, "data_sha256", lambda names: dict.fromkeys(names, "0"))
    config = BroadConfig()
    transfer_sets.start(small, config, ["spar"])
    transfer_sets.start(small, config, ["spar"])
    with pytest.raises(UsageError, match="made with another config"):
        transfer_sets.start(small, replace(config, smoothing=0.2), ["spar"])


def test_tables_average_targets_of_a_set_and_compare_with_the_best_hand_features(tmp_path):
    def results(method: str, head: str, scores: dict[str, float]) -> list[Result]:
        return [Result(Trial(method, target, 3), head, "0.02", (score,)) for target, score in scores.items()]

    every = [
        *results("hand", "forest", {"spar": 0.6, "dsads_wrist": 0.4, "dsads_torso": 0.6}),
        *results("hand", "logistic", {"spar": 0.5, "dsads_wrist": 0.3, "dsads_torso": 0.3}),
        *results("broad", "logistic", {"spar": 0.8, "dsads_wrist": 0.5, "dsads_torso": 0.5}),
    ]
    assert rows_of(every, "0.02", 3)["broad", "logistic"]["spar"] == 0.8
    text = write_report(every, tmp_path).read_text()
    assert "| broad, logistic | 0.800 | 0.500 | 0.500 | 0.650 |" in text
    assert "broad, logistic: +0.100 against the best head on hand features in the mean of 2 sets" in text
    assert "least on dsads (+0.000)" in text
