"""Protocol v1 end to end on real SPAR, what it never sees, and how a run goes on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from corpora.made_corpora import LAYOUTS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from mujo_edge.core import DataError, UsageError
from training import evaluate
from training.corpora import CORPORA, PROTOCOL_V1, load_windows
from training.evaluate import Cell, Score, confusion, go_on, main, prepared, pretrained_path, pretraining_corpora
from training.evaluate import read_scores as read
from training.recipe import Recipe, read_recipe
from training.report import write_report

RECIPE = """
corpora = ["spar", "mhealth_fragments"]
[pretrain.loop]
steps = 8
batch = 16
[finetune]
least_steps = 150
most_steps = 150
[finetune.loop]
batch = 32
ema = 0.8
"""
RANDOM = Cell("random", 3, "spar", 0, 0.02, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a second data set beside SPAR, and a recipe of both."""
    folder = tmp_path_factory.mktemp("made")
    LAYOUTS["mhealth_fragments"](folder / "data" / "fragments")
    (folder / "two.toml").write_text(RECIPE)
    return folder


def run(made: Path, out: Path, rows: str = "student,random,forest", seeds: int = 1) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJO_DATA", str(made / "data"))
        main("v1", "spar", rows, "3", "0.02", "0", seeds, str(made / "two.toml"), 1, out)


@pytest.fixture(scope="module")
def scored(made: Path, cache: Path) -> Path:
    """A finished run of one fold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJO_CACHE", str(cache))
        run(made, made / "out")
    return made / "out"


def lines(out: Path) -> list[str]:
    return (out / "cells.jsonl").read_text().splitlines()


def test_every_row_is_scored_on_the_held_out_people(scored: Path):
    scores = read(scored / "cells.jsonl")
    assert Counter((s.cell.row, s.variant) for s in scores) == Counter(
        [("student", "fp32"), ("student", "int8"), ("random", "fp32"), ("forest", "forest")]
    )
    data = load_windows("spar")
    truth = np.bincount(data.y[np.isin(data.subject, ["1", "6"])])
    for score in scores:
        assert np.sum(score.confusion, 1).tolist() == truth.tolist()
    by_variant = {(s.cell.row, s.variant): s.macro_f1 for s in scores}
    assert all(value > 0.35 for value in by_variant.values()), "chance is 0.14"
    assert abs(by_variant["student", "int8"] - by_variant["student", "fp32"]) < 0.1


def test_the_run_says_what_it_was_given(scored: Path):
    told = json.loads((scored / "run.json").read_text())
    assert told["config"]["recipe"]["pretrain"]["loop"]["steps"] == 8
    assert told["config"]["seeds"] == 1
    assert set(told["data_sha256"]) == {"spar", "mhealth_fragments"}
    assert all(len(sha) == 64 for sha in told["data_sha256"].values())
    assert told["git_commit"]


def test_tables_and_pictures_are_written(scored: Path):
    text = (scored / "table.md").read_text()
    assert "| 2% of the labels | spar | mean |" in text
    for row in ("student fp32, 3 ch", "student int8, 3 ch", "random fp32, 3 ch", "forest, 3 ch", "floor", "peer"):
        assert f"| {row} |" in text
    table = {(e["row"], e["corpus"]): e for e in json.loads((scored / "table.json").read_text())}
    for score in read(scored / "cells.jsonl"):
        name = score.variant if score.variant == "forest" else f"{score.cell.row} {score.variant}"
        assert table[name, "spar"]["mean"] == pytest.approx(score.macro_f1)
    assert (scored / "confusion-spar.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_not_run_again(scored: Path, made: Path):
    before = lines(scored)
    encoder = pretrained_path(scored, "spar", 0)
    made_at = encoder.stat().st_mtime_ns
    run(made, scored)
    assert lines(scored) == before
    assert encoder.stat().st_mtime_ns == made_at


def test_a_torn_line_is_made_again_and_nothing_else(scored: Path, made: Path, tmp_path: Path):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    torn = next(line for line in lines(out) if '"random"' in line)
    rest = [line for line in lines(out) if line != torn]
    (out / "cells.jsonl").write_text("\n".join([*rest, torn[:60]]))
    assert RANDOM not in {s.cell for s in read(out / "cells.jsonl")}
    run(made, out)
    assert lines(out) == [*rest, torn[:60], torn]


def test_half_a_cell_is_no_cell(scored: Path, tmp_path: Path):
    """Killed between the float and the int8 score of a student."""
    kept = [line for line in lines(scored) if '"int8"' not in line]
    (tmp_path / "cells.jsonl").write_text("\n".join(kept) + "\n")
    assert {s.cell.row for s in read(tmp_path / "cells.jsonl")} == {"random", "forest"}
    (tmp_path / "cells.jsonl").write_text("\n".join(lines(scored) * 2) + "\n")
    assert len(read(tmp_path / "cells.jsonl")) == 4, "a score that stands there twice counts once"


def test_scores_of_two_recipes_are_not_mixed(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    recipe = read_recipe(str(made / "two.toml"))
    go_on(out, recipe, 3, ["spar"])
    assert json.loads((out / "run.json").read_text())["config"]["seeds"] == 3
    with pytest.raises(UsageError, match=r"made with another finetune; choose another folder with --out"):
        go_on(out, replace(recipe, finetune=replace(recipe.finetune, mixup=0.5)), 1, ["spar"])
    told = json.loads((out / "run.json").read_text())
    told["data_sha256"]["spar"] = "0" * 64
    (out / "run.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"made with another spar"):
        go_on(out, recipe, 1, ["spar"])


@pytest.mark.parametrize("corpus", PROTOCOL_V1)
@pytest.mark.parametrize("name", ["base"])
def test_pretraining_never_sees_the_set_that_is_tested_nor_its_kin(name: str, corpus: str):
    """Nor any other data set of the same publication: its people are the same."""
    left = pretraining_corpora(corpus, read_recipe(name))
    assert len(left) >= 5
    assert CORPORA[corpus].citation not in {CORPORA[other].citation for other in left}
    assert CORPORA[corpus].home not in {CORPORA[other].home for other in left}
    assert corpus not in left


def test_nothing_left_to_pretrain_on_is_said_before_anything_runs(tmp_path: Path):
    with pytest.raises(UsageError, match="recipe tiny has nothing to pretrain on without spar"):
        main("v1", "spar", "student", "3", "1", "0", 1, "tiny", 1, tmp_path / "out")
    with pytest.raises(UsageError):
        pretraining_corpora("sp_sw_watch", Recipe("both", ("sp_sw_watch", "sp_sw_phone")))


class SeenError(Exception):
    """Carries what a model was given."""


@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.parametrize("fraction", [0.02, 1.0])
def test_a_model_is_given_windows_of_other_people_alone(fold: int, fraction: float, tmp_path: Path, monkeypatch):
    def fake(encoder, x, y, *rest):
        raise SeenError(x, y)

    monkeypatch.setattr(evaluate, "finetune", fake)
    with pytest.raises(SeenError) as caught:
        evaluate.run_cell(replace(RANDOM, fold=fold, fraction=fraction), tmp_path, Recipe("none", ("spar",)))
    x, y = caught.value.args
    data, every = prepared("spar", 3)
    people = sorted(set(data.subject.tolist()), key=int)[fold::5]
    tested = {w.tobytes() for w in every[np.isin(data.subject, people)]}
    assert not tested & {w.tobytes() for w in x}
    assert set(y) == set(range(7))
    others = ~np.isin(data.subject, people)
    assert len(y) == pytest.approx(fraction * others.sum(), abs=7)


def test_three_channels_are_the_accelerometer():
    data, x = prepared("spar", 3)
    assert not x[:, 3:].any()
    np.testing.assert_array_equal(x[:, :3], prepared("spar", 6)[1][:, :3])
    assert len(x) == len(data)


def test_a_damaged_encoder_is_an_error_not_a_random_one(tmp_path: Path):
    path = pretrained_path(tmp_path, "spar", 0)
    path.parent.mkdir()
    path.write_bytes(b"half")
    with pytest.raises(DataError, match=r"without-spar-0\.pt is damaged"):
        evaluate.run_cell(replace(RANDOM, row="student"), tmp_path, Recipe("none", ("spar",)))


labels = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1))
)


@settings(max_examples=80, deadline=None)
@given(labels)
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_are_tested(drawn):
    n, pairs = drawn
    y, found = np.array(pairs).T
    score = Score(RANDOM, "fp32", confusion(y, found, n)).macro_f1
    assert score == pytest.approx(f1_score(y, found, labels=np.unique(y), average="macro", zero_division=0))


def test_macro_f1_is_that_of_the_protocol(protocol: ModuleType):
    rng = np.random.default_rng(0)
    for n in (2, 5, 27):
        y, found = rng.integers(0, n, (2, 60))
        assert Score(RANDOM, "fp32", confusion(y, found, n)).macro_f1 == protocol.macro_f1(y, found, n)


def score(cell: Cell, right: int, variant: str = "fp32") -> Score:
    """A confusion with `right` of 10 right in each of two classes, so macro-F1 is right / 10; SPAR has seven."""
    counts = np.zeros((7, 7), int)
    counts[:2, :2] = [[right, 10 - right], [10 - right, right]]
    return Score(cell, variant, tuple(map(tuple, counts.tolist())))


def test_a_table_is_the_mean_over_folds_of_the_mean_over_seeds(tmp_path: Path):
    """Fold 0: .9 and .7, fold 1: .6, fold 2: .2. One seed more in a fold gives it no more weight."""
    cells = [(0, 0, 9), (0, 1, 7), (1, 0, 6), (2, 0, 2)]
    scores = [score(replace(RANDOM, fold=fold, seed=seed), right) for fold, seed, right in cells]
    text = write_report(scores[::-1], tmp_path)
    (entry,) = json.loads((tmp_path / "table.json").read_text())
    assert entry["mean"] == pytest.approx((0.8 + 0.6 + 0.2) / 3)
    assert entry["sd"] == pytest.approx(np.std([0.8, 0.6, 0.2]))
    assert entry["mean_peer_folds"] == pytest.approx(0.7)
    assert entry["folds"] == {"0": [0.9, 0.7], "1": [0.6], "2": [0.2]}
    assert "| random fp32, 3 ch | 0.533 ± 0.249 [0.700] | 0.533 [0.700] |" in text
    assert "| peer | [0.768] | [0.768] |" in text
    assert (tmp_path / "table.md").read_text() == text


def test_a_mean_over_data_sets_needs_them_all(tmp_path: Path):
    scores = [score(RANDOM, 8), score(replace(RANDOM, row="forest"), 6, "forest")]
    other = np.eye(6, dtype=int).tolist()
    scores.append(Score(replace(RANDOM, corpus="motionsense"), "fp32", tuple(map(tuple, other))))
    text = write_report(scores, tmp_path)
    assert "| random fp32, 3 ch | 0.800 ± 0.000 | 1.000 ± 0.000 | 0.900 |" in text
    assert "| forest, 3 ch | 0.600 ± 0.000 |  |  |" in text
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion-spar.png", "confusion-motionsense.png"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("protocol", "v2", "no protocol 'v2'"),
        ("sets", "spar,mnist", "--sets takes motionsense, .*'mnist' is not"),
        ("sets", "", "--sets takes"),
        ("rows", "teacher", "--rows takes student, random, forest; 'teacher' is not"),
        ("channels", "4", "--channels takes 3, 6; '4' is not"),
        ("fold", "0,5", "--fold takes 0, 1, 2, 3, 4; '5' is not"),
        ("fractions", "half", "--fractions takes numbers above 0.*'half'"),
        ("fractions", "0", "--fractions takes numbers above 0"),
        ("fractions", "2", "--fractions takes numbers above 0"),
        ("fractions", "nan", "--fractions takes numbers above 0"),
    ],
)
def test_a_wrong_option_is_said_at_once(option: str, value: str, said: str, tmp_path: Path):
    options = {"sets": "spar", "rows": "random", "channels": "3", "fold": "0", "fractions": "1", "recipe": "tiny"}
    with pytest.raises(UsageError, match=said):
        main(**options | {option: value}, seeds=1, jobs=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
