"""The leave-out rule: pretraining sees nothing of the tested set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_clips import made_clips

import training.evaluation.encoders as encoders
from mujo_edge.core import UsageError
from training.corpora import CORPORA, PROTOCOL_V1
from training.evaluation.encoders import Evaluation, PretrainingData, Shards, clip_pool, encoder_of, pretraining_data_of
from training.evaluation.runs import TARGETS
from training.evaluation.trials import Trial
from training.fimad.shards import encode, write_shards
from training.fimad.sources import SOURCES
from training.recipes.recipe import Recipe, read_recipe

CLIPS = {"hdm05": (), "utd_mhad_skeleton": ("utd_mhad",), "own": ()}
BASE = read_recipe("base")


def trial(method: str, corpus: str, **changes) -> Trial:
    return replace(Trial("mujo", 3, corpus, 0, 0.02, 0), method=method, **changes)


@pytest.mark.parametrize("corpus", TARGETS)
@pytest.mark.parametrize("method", ["student", "mujo", "mujo_plus"])
def test_pretraining_never_sees_the_tested_set_nor_its_people(method: str, corpus: str):
    """Nor any other data set of the same publication, which shows the same people."""
    data_used = pretraining_data_of(trial(method, corpus), BASE, CLIPS)
    assert len(data_used.windows) >= 5 if method != "mujo" else not data_used.windows
    assert corpus not in data_used.windows
    assert CORPORA[corpus].citation not in {CORPORA[other].citation for other in data_used.windows}
    assert CORPORA[corpus].home not in {CORPORA[other].home for other in data_used.windows}
    wanted = {"hdm05", "own"} | ({"utd_mhad_skeleton"} if corpus != "utd_mhad" else set())
    assert set(data_used.clips) == (wanted if method != "student" else set())
    assert data_used.real_imu == (method == "mujo_plus")


@pytest.mark.parametrize("corpus", PROTOCOL_V1)
def test_every_source_declares_the_people_it_shares_with_a_set(corpus: str):
    """By the publication that its data come from."""
    for source in SOURCES.values():
        if CORPORA[corpus].home == source.home or CORPORA[corpus].citation == source.citation:
            assert corpus in source.shares_people_with, source.name


def test_clips_named_like_the_tested_set_are_left_out():
    assert pretraining_data_of(trial("mujo", "spar"), BASE, {"spar": (), "hdm05": ()}).clips == ("hdm05",)


@pytest.mark.parametrize(
    ("without", "data_used"),
    [
        ("pose", PretrainingData(("spar",), ("hdm05", "own"), True)),
        ("hdm05", PretrainingData(("spar",), ("own",), True)),
        ("spar", PretrainingData((), ("hdm05", "own"), True)),
        ("text", PretrainingData((), ("hdm05", "own"), True)),
    ],
)
def test_each_ablation_leaves_out_one_part(without: str, data_used: PretrainingData):
    clips = {name: people for name, people in CLIPS.items() if not people}
    assert (
        pretraining_data_of(trial("mujo_plus", "motionsense", without=without), Recipe("one", ("spar",)), clips)
        == data_used
    )


def test_empty_pretraining_data_is_an_error():
    both = Recipe("both", ("sp_sw_watch", "sp_sw_phone"))
    with pytest.raises(UsageError, match="recipe both has nothing to pretrain on without sp_sw_watch"):
        pretraining_data_of(trial("student", "sp_sw_watch"), both, CLIPS)
    with pytest.raises(
        UsageError, match=r"without utd_mhad\. Choose another recipe, or leave method mujo out with --methods"
    ):
        pretraining_data_of(trial("mujo", "utd_mhad"), BASE, {"utd_mhad_skeleton": ("utd_mhad",)})
    with pytest.raises(UsageError, match="without spar and hdm05"):
        pretraining_data_of(trial("mujo", "spar", without="hdm05"), BASE, {"hdm05": ()})


def run_of(tmp_path: Path, recipe: Recipe = BASE) -> Evaluation:
    return Evaluation(tmp_path, recipe, Shards(tmp_path, CLIPS, "0" * 64))


def test_trials_with_the_same_pretraining_data_share_an_encoder(tmp_path: Path):
    run = run_of(tmp_path)

    def path(method: str, corpus: str, **changes) -> Path:
        encoder = encoder_of(trial(method, corpus, **changes), run)
        assert encoder is not None
        return encoder.path(tmp_path)

    assert path("mujo", "spar") == path("mujo", "motionsense") != path("mujo", "utd_mhad")
    assert path("mujo", "spar", fold=3, fraction="one", channels=6) == path("mujo", "spar")
    assert path("mujo", "spar", seed=1) != path("mujo", "spar")
    assert path("mujo_plus", "spar") != path("mujo_plus", "motionsense")
    assert path("mujo", "utd_mhad", without="utd_mhad_skeleton") == path("mujo", "utd_mhad")
    assert encoder_of(trial("random", "spar"), run) is None
    assert encoder_of(trial("forest", "spar"), run) is None


def test_encoders_with_other_inputs_have_other_names(tmp_path: Path):
    run, spar = run_of(tmp_path), trial("mujo", "spar")
    names = set()
    shorter = replace(BASE, pretrain=replace(BASE.pretrain, loop=replace(BASE.pretrain.loop, steps=7)))
    for other in (run, replace(run, shards=Shards(tmp_path, CLIPS, "1" * 64)), replace(run, recipe=shorter)):
        encoder = encoder_of(spar, other)
        assert encoder is not None
        names.add(encoder.path(tmp_path).name)
    assert len(names) == 3


def test_student_does_not_depend_on_settings_of_clips(tmp_path: Path):
    new = {"modalities": ("imu", "pose", "text"), "title_weight": 0.5, "predict_weight": 0.2}
    four = replace(BASE, pretrain=replace(BASE.pretrain, **new))
    two = replace(
        BASE, pretrain=replace(BASE.pretrain, modalities=("imu", "text"), title_weight=0.0, predict_weight=0.0)
    )
    assert encoders.settings_of("student", four) == encoders.settings_of("student", two)
    assert encoders.settings_of("mujo", four) != encoders.settings_of("mujo", two)
    assert encoders.settings_of("mujo", two) != encoders.settings_of("mujo", replace(two, clips=("hdm05",)))
    assert encoders.config_of("mujo", four, "pose").modalities == ("imu", "text")
    assert encoders.config_of("mujo", four, "titles").title_weight == 0


def test_clips_that_are_left_out_do_not_reach_the_pool(tmp_path: Path):
    """Only train clips of the pretraining data reach the pool, and real IMU only with `real_imu`."""
    worn = {"right_wrist": made_clips(1)[0].imu["right_wrist"]}
    clips = [
        *(replace(clip, real_imu=worn) for clip in made_clips(2)),
        *(replace(clip, id=f"held/{clip.id}", corpus="held") for clip in made_clips(2)),
        *(replace(clip, id=f"val/{clip.id}", split="val") for clip in made_clips(2)),
    ]
    write_shards(tmp_path, "both", [encode(clips)], {})
    shards = Shards.of(tmp_path)
    assert set(shards.corpora) == {"made", "held"}
    pool = clip_pool(tmp_path, shards.sha256, PretrainingData(clips=("made",)), ("imu", "text"))
    assert set(pool.ids) == {clip.id for clip in clips[:6]}
    assert not pool.has("pose").any()
    worn_too = clip_pool(tmp_path, shards.sha256, PretrainingData(clips=("made",), real_imu=True), ("imu", "text"))
    assert len(worn_too.placements) == 6 * 3
    assert len(pool.placements) == 6 * 2
