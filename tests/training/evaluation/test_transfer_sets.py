"""Protocol v2: the deal of the data sets, what a person teaches, what is scored, and how a run goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mujo_edge.core import DataError, UsageError
from mujo_edge.signal import InputSpec
from training.corpora import CORPORA, WindowSet
from training.evaluation import few_windows, frozen, set_groups, transfer_sets
from training.evaluation.encoders import SHARED_SUBJECTS
from training.evaluation.frozen import Result, Trial
from training.evaluation.heads import Scaling, Whitening, logistic
from training.evaluation.set_groups import Target, pretraining_sets, read_protocol, thin_evenly
from training.evaluation.transfer_sets_report import rows_of, write_report
from training.learn.broad import BroadConfig, broad_pool, contrast, pretrain_broad, smooth_cross_entropy
from training.learn.loop import LoopConfig
from training.models.towers import Towers, TowersConfig, without_slice
from training.release.quantize import quantize_litert


def made(people: int = 4, per_class: int = 12, classes: int = 3, corpus: str = "spar", seed: int = 0) -> WindowSet:
    """Windows whose class is the tempo of a swing, in one recording a class and person, a hop of 1.5 s."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.repeat(np.arange(classes), per_class), people)
    person = np.repeat(np.arange(people), classes * per_class)
    t = np.arange(150) / 50
    swing = np.sin(2 * np.pi * ((0.7 + 0.8 * y)[:, None] * t + rng.random((len(y), 1))))
    x = rng.normal(0, 0.3, (len(y), 6, 150)).astype(np.float32)
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


def test_whitening_gives_unit_covariance_within_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(20), 50)
    mix = rng.normal(size=(5, 5))
    x = (rng.normal(size=(20, 5))[y] * 3 + rng.normal(size=(1000, 5)) @ mix).astype(np.float32)
    white = Whitening.of(x, y, ridge=0)(x)
    inner = white - np.stack([white[y == k].mean(0) for k in range(20)])[y]
    np.testing.assert_allclose(inner.T @ inner / len(inner), np.eye(5), atol=1e-3)


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


def test_features_of_the_accelerometer_do_not_depend_on_the_gyroscope():
    towers = Towers().eval()
    x = torch.randn(2, 6, 1, 150)
    still = x.clone()
    still[:, 3:] = 0
    acc = towers.widths[0]
    torch.testing.assert_close(towers(x)[:, :acc], towers(still)[:, :acc])
    assert not torch.allclose(towers(x)[:, acc:], towers(still)[:, acc:])


def test_broad_pretraining_beats_random_init_on_unseen_people_and_classes(tmp_path):
    config = BroadConfig(
        TowersConfig(((16, 7, 3), (24, 5, 2)), ((8, 7, 3), (12, 5, 2))), LoopConfig(steps=60, batch=32, ema=0.9)
    )
    seen = [made(seed=seed, classes=2 + seed, people=5) for seed in (1, 2)]
    towers = pretrain_broad(broad_pool(seen, InputSpec()), config, checkpoint=tmp_path / "checkpoint")
    again = pretrain_broad(broad_pool(seen, InputSpec()), config, checkpoint=tmp_path / "checkpoint")
    for a, b in zip(towers.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    sample = np.concatenate([data.x for data in seen])
    labels = np.concatenate([seen[0].y, seen[1].y + 3])
    trial, data = Trial("broad", "spar", 3), made(seed=9, people=4, classes=3)
    scores = {}
    torch.manual_seed(0)
    for name, network in (("broad", towers), ("random", Towers(config.towers).eval())):
        embed = frozen.network_features(network, trial, sample)
        whitening = Whitening.of(embed(sample), labels)
        scores[name] = np.mean(
            list(frozen.by_person(data, embed(data.x), lambda _, w=whitening: w, logistic(0.1), 1, read_protocol()))
        )
    assert scores["broad"] > max(0.8, scores["random"])


def test_sliced_towers_equal_whole_towers():
    towers, x = Towers().eval(), torch.randn(2, 6, 1, 150)
    torch.testing.assert_close(without_slice(towers)(x), towers(x))


def test_int8_features_follow_the_float_ones():
    data = made()
    torch.manual_seed(0)
    towers = Towers().eval()
    as_float = frozen.network_features(towers, Trial("broad", "spar", 6), data.x)(data.x[:20])
    as_int8 = frozen.network_features(towers, Trial("broad_int8", "spar", 6), data.x)(data.x[:20])
    assert as_int8.shape == as_float.shape == (20, sum(towers.widths))
    assert np.corrcoef(as_float.ravel(), as_int8.ravel())[0, 1] > 0.95
    assert len(quantize_litert(without_slice(towers), np.zeros((1, 6, 1, 150), np.float32))) <= 100_000


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
