"""Recipes and label prompts: complete for every data set, with clear errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.core import DataError, UsageError
from training.corpora import CORPORA, WindowSet
from training.corpora.labels import read_vocabulary
from training.learn.loop import LoopConfig
from training.recipes.recipe import RECIPES, Recipe, read_recipe

NAMES = ("tiny", "base", "broad", "mujo_pure", "mujo_plus", "full")
HEAD = 'corpora = ["spar"]\n'


def recipe_file(folder: Path, text: str | bytes, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def windows_of(corpus: str, placements: list[str]) -> WindowSet:
    """One empty window of each class at each placement."""
    classes = CORPORA[corpus].classes
    y = np.tile(np.arange(len(classes)), len(placements))
    n = len(y)
    place = np.repeat(placements, len(classes))
    x, side, start_s = np.zeros((n, 6, 150), np.float32), np.full(n, ""), np.zeros(n, np.float32)
    return WindowSet(corpus, classes, x, np.ones(n, bool), y, place, place, y, side, start_s)


def test_folder_holds_these_recipes_and_tables():
    written = {path.stem for path in RECIPES.glob("*.toml")}
    assert written == {*NAMES, "names", "protocol_v1", "protocol_v2", "transfer"}


def test_words_of_a_broad_recipe_are_trained_around_its_student():
    recipe = read_recipe("broad")
    assert recipe.broad is not None
    assert recipe.teacher.encoder == recipe.broad.student


@pytest.mark.parametrize("name", NAMES)
def test_every_class_of_every_corpus_has_prompts(name):
    corpora = read_recipe(name).corpora
    words = read_vocabulary(corpora=corpora)
    for corpus in corpora:
        index = words.index(CORPORA[corpus].classes)
        assert all(words.prompts[i] for i in index)
        assert len(set(index.tolist())) == len(index), f"two classes of {corpus} have one label"


@pytest.mark.parametrize("name", sorted(set(CORPORA) - {"myogym"}))
def test_new_data_sets_have_prompts_in_recipes_that_name_them(name):
    words = read_vocabulary(corpora=[name])
    index = words.index(CORPORA[name].classes)
    assert len(set(index.tolist())) == len(index), f"two classes of {name} have one label"


@pytest.mark.parametrize("name", ["base", "mujo_plus", "full"])
def test_new_data_set_does_not_change_what_a_recipe_trains_on(name):
    recipe = read_recipe(name)
    assert recipe.corpora == (
        *("motionsense", "spar", "utd_mhad", "sp_sw_watch", "sp_sw_phone", "muvr", "metamotion", "mhealth_fragments"),
    )
    words = read_vocabulary(corpora=recipe.corpora)
    assert words == read_vocabulary()
    assert len(words.names) == 85


def test_labels_of_new_data_sets_are_appended_only_where_needed():
    base = read_vocabulary()
    words = read_vocabulary(corpora=["hapt", "emlearn_exercises"])
    assert words.names[: len(base.names)] == base.names
    assert set(words.names[len(base.names) :]) == {
        *("sit to lie", "lie to sit", "stand to lie", "lie to stand"),
        *("jumping jack", "lunge", "background"),
    }


@pytest.mark.parametrize("corpora", [(), tuple(CORPORA)], ids=["prompts", "more"])
def test_prompts_are_sentences_and_belong_to_one_label(corpora):
    words = read_vocabulary(corpora=corpora)
    assert len(set(words.names)) == len(words.names)
    for prompts in words.prompts:
        assert all(len(prompt.split()) >= 1 and len(prompt) > 3 for prompt in prompts)
        assert len(set(prompts)) == len(prompts)
    assert set(words.aliases.values()) <= set(words.names)
    assert not set(words.aliases) & set(words.names)
    known = {c for corpus in CORPORA.values() for c in corpus.classes}
    assert set(words.aliases) <= known
    assert set(words.chiral) <= set(CORPORA)


def test_label_sets_are_the_documented_ones():
    assert {s.name: (s.placement, set(s.corpora)) for s in read_vocabulary().sets} == {
        "physio-wrist": ("wrist", {"spar"}),
        "gym-wrist": ("wrist", {"muvr", "metamotion"}),
        "gestures-wrist": ("wrist", {"utd_mhad"}),
        "daily-pocket": ("pocket", {"motionsense", "sp_sw_phone"}),
        "daily-wrist": ("wrist", {"sp_sw_watch"}),
    }


def test_label_set_has_only_windows_of_its_placement():
    words = read_vocabulary()
    sets = [windows_of("utd_mhad", ["wrist", "thigh"]), windows_of("spar", ["wrist"]), windows_of("muvr", ["wrist"])]
    spec = next(s for s in words.sets if s.name == "gestures-wrist")
    (member,) = words.members(spec, sets)
    assert member.corpus == "utd_mhad"
    assert set(member.placement) == {"wrist"}
    assert len(member) == 27


def test_targets_are_indices_of_the_visible_labels():
    words = read_vocabulary()
    data = windows_of("sp_sw_watch", ["wrist"])
    shown = [words.names[i] for i in words.targets(data)]
    assert shown == [words.aliases.get(c, c) for c in CORPORA["sp_sw_watch"].classes]
    assert "sitting" in shown
    assert "seated" not in shown


def test_class_without_prompts_is_reported():
    with pytest.raises(DataError, match=r"no prompts for juggling, yodelling\. Add them to \[more\]"):
        read_vocabulary().index(["walking", "yodelling", "juggling"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chiral = [", "is not a label file"),
        ("[sets]\n[aliases]\n", "prompts"),
        ("chiral = []\n[sets]\n[aliases]\n[prompts]\nwalk = 'walking'\n", "'walk' are not a list of sentences"),
        ("chiral = []\n[sets]\n[aliases]\n[prompts]\nwalk = []\n", "'walk' are not a list of sentences"),
        ("chiral = []\n[sets]\n[aliases]\n[prompts]\nwalk = ['walk', 3]\n", "'walk' are not a list of sentences"),
        ("chiral = []\nsets = 3\n[aliases]\n[prompts]\n", "is not a label file"),
        ("chiral = []\n[sets.x]\nplacement = 'wrist'\n[aliases]\n[prompts]\n", "corpora"),
        (b"\xff\xfe\x00", "is not a label file"),
    ],
)
def test_invalid_label_file_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_vocabulary(Path(recipe_file(tmp_path, text)))


def test_missing_label_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a label file"):
        read_vocabulary(tmp_path / "none.toml")


def test_settings_that_a_recipe_omits_have_the_defaults(tmp_path):
    recipe = read_recipe(recipe_file(tmp_path, HEAD + "[distill.loop]\nsteps = 77\n"))
    usual = Recipe("mine", ("spar",))
    loop = LoopConfig(steps=77)  # a table that is there is read from the loop's own defaults
    assert recipe == replace(usual, distill=replace(usual.distill, loop=loop))


def test_permissive_leaves_out_data_without_a_stated_open_license(tmp_path):
    every = ", ".join(f'"{name}"' for name in CORPORA)
    recipe = read_recipe(recipe_file(tmp_path, f'corpora = [{every}]\nlicenses = "permissive"\n'))
    assert set(recipe.allowed()) == {name for name, corpus in CORPORA.items() if corpus.open_license}
    assert {"motionsense", "spar", "sp_sw_watch", "sp_sw_phone"} <= set(recipe.allowed())
    assert not {"muvr", "metamotion", "utd_mhad"} & set(recipe.allowed())
    assert read_recipe("base").allowed() == read_recipe("base").corpora
    here = ("gymnai", "my_videos", "penn_action", "ui_prmd", "utd_mhad_skeleton")
    assert recipe.allowed_clips(here) == ("gymnai", "my_videos", "ui_prmd")
    assert read_recipe("base").allowed_clips(here) == here
    assert replace(recipe, clips=("gymnai", "penn_action")).allowed_clips(here) == ("gymnai",)


def test_error_for_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(
        UsageError,
        match=r"no recipe 'bsae'; choose from base, broad, full, mujo_plus, mujo_pure, tiny or give a \.toml file",
    ):
        read_recipe("bsae")
    with pytest.raises(UsageError, match=r"no recipe '/nowhere/x\.toml'"):
        read_recipe("/nowhere/x.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpora = [", "mine.toml is no recipe"),
        (b"\xff\xfe", "mine.toml is no recipe"),
        ("max_windows_per_class = 3\n", "corpora"),
        (HEAD + "epochs = 3\n", "epochs"),
        (HEAD + "[teacher.loop]\nstep = 3\n", "step"),
        (HEAD + '[teacher.loop]\nsteps = "many"\n', "steps"),
        (HEAD + '[teacher.augment]\nscale = "big"\n', "scale"),
        (HEAD + 'licenses = "free"\n', "licenses"),
        ('corpora = ["spar", "kinetics"]\n', "corpora that do not exist: kinetics"),
        ("corpora = []\n", "leaves nothing to train on"),
        ('corpora = ["muvr"]\nlicenses = "permissive"\n', "leaves nothing to train on"),
        (HEAD + "[distill.student]\nembedding = 32\n", "the same embedding"),
        (HEAD + '[teacher]\nmodalities = ["imu", "smell"]\n', "modalities"),
        (HEAD + '[teacher]\nmodalities = ["imu"]\n', "leave nothing to contrast"),
        (HEAD + '[teacher]\nmodalities = ["imu", "imu"]\n', "leave nothing to contrast"),
        (HEAD + "[pretrain]\npair_weights = { text-imu = 2.0 }\n", "names text-imu; its modalities have imu-text"),
        (HEAD + "[pretrain]\nclip_share = 1.5\n", "clip_share is 1.5"),
        (HEAD + '[teacher]\nprecision = "fp8"\n', "precision"),
    ],
)
def test_invalid_recipe_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_recipe(recipe_file(tmp_path, text))


@pytest.mark.parametrize("name", ["names", "protocol_v1", "protocol_v2", "transfer"])
def test_other_tables_in_the_folder_are_not_recipes(name):
    with pytest.raises(DataError, match="is no recipe"):
        read_recipe(name)
