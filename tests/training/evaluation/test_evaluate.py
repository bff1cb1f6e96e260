"""Protocol v1 end to end on real SPAR, how a run goes on, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpora.made_corpora import LAYOUTS
from made_clips import FEATURES, made_clips

from mujo_edge.core import DataError, UsageError
from training.corpora import load_windows
from training.evaluate import main
from training.evaluation import schedule, train
from training.evaluation.cells import Cell, prepared
from training.evaluation.cells import read_scores as read
from training.evaluation.encoders import Evaluation, encoder_of
from training.evaluation.protocol_v1 import go_on
from training.fimad.shards import encode, write_shards
from training.recipes.recipe import Recipe, read_recipe

RECIPE = f"""
corpora = ["spar", "mhealth_fragments"]
[pretrain]
modalities = ["imu", "pose", "video", "text"]
[pretrain.video]
features = {FEATURES}
[pretrain.loop]
steps = 8
batch = 16
[finetune]
least_steps = 100
most_steps = 100
[finetune.loop]
batch = 32
ema = 0.8
"""
RANDOM = Cell("random", 3, "spar", 0, 0.02, 0)

ROWS = "mujo,mujo_plus,random,forest"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a second data set beside SPAR, shards of made clips, and a recipe of all."""
    folder = tmp_path_factory.mktemp("made")
    LAYOUTS["mhealth_fragments"](folder / "data" / "fragments")
    (folder / "two.toml").write_text(RECIPE)
    (folder / "shards").mkdir()
    write_shards(folder / "shards", "made", [encode(made_clips(4))], {})
    return folder


def run(made: Path, out: Path, **options) -> None:
    given = {"sets": "spar", "rows": ROWS, "fractions": "0.02", "fold": "0", "seeds": 1, "jobs": 1} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJO_DATA", str(made / "data"))
        main(**given, recipe=str(made / "two.toml"), shards=made / "shards", out=out)


class Here:
    """Runs what is handed in at once, in this process: a worker's start costs more than all the training here."""

    def submit(self, function, *arguments) -> Future:
        future: Future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "workers", lambda jobs: nullcontext(Here()))


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
        [
            *((row, "fp32") for row in ("mujo", "mujo_plus", "random")),
            ("mujo_plus", "int8"),
            ("forest", "forest"),
        ]
    )
    data = load_windows("spar")
    truth = np.bincount(data.y[np.isin(data.subject, ["1", "6"])])
    for score in scores:
        assert np.sum(score.confusion, 1).tolist() == truth.tolist()
    by_variant = {(s.cell.row, s.variant): s.macro_f1 for s in scores}
    assert all(value > 0.35 for value in by_variant.values()), "chance is 0.14"
    assert abs(by_variant["mujo_plus", "int8"] - by_variant["mujo_plus", "fp32"]) < 0.1


def test_the_run_says_what_it_was_given(scored: Path):
    told = json.loads((scored / "run.json").read_text())
    assert told["config"]["recipe"]["pretrain"]["loop"]["steps"] == 8
    assert told["config"]["seeds"] == 1
    assert set(told["data_sha256"]) == {"spar", "mhealth_fragments"}
    assert all(len(sha) == 64 for sha in told["data_sha256"].values())
    assert set(told["rows"]) == set(ROWS.split(","))
    for row, made_with in told["rows"].items():
        assert len(made_with["shards_sha256"]) == (64 if row in ("mujo", "mujo_plus") else 0)
        assert made_with["git_commits"] == [told["git_commit"]]


def test_every_encoder_says_what_it_saw(scored: Path):
    seen = [json.loads(path.read_text())["diet"] for path in (scored / "pretrained").glob("*.json")]
    assert sorted((tuple(data_used["windows"]), tuple(data_used["clips"])) for data_used in seen) == [
        ((), ("made",)),
        (("mhealth_fragments",), ("made",)),
    ]
    for path in (scored / "pretrained").glob("*.csv"):
        assert path.read_text().startswith("step,name,value\n1,loss,")
    assert not list((scored / "pretrained").glob("*.checkpoint"))


def test_tables_and_pictures_are_written(scored: Path):
    text = (scored / "table.md").read_text()
    assert "| 2% of the labels | spar | mean |" in text
    for row in ("mujo fp32, 3 ch", "mujo_plus int8, 3 ch", "random fp32, 3 ch", "forest, 3 ch", "floor", "peer"):
        assert f"| {row} |" in text
    table = {(e["row"], e["corpus"]): e for e in json.loads((scored / "table.json").read_text())}
    for score in read(scored / "cells.jsonl"):
        name = score.variant if score.variant == "forest" else f"{score.cell.row} {score.variant}"
        assert table[name, "spar"]["mean"] == pytest.approx(score.macro_f1)
    for name in ("confusion-spar", "efficiency"):
        assert (scored / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_is_not_run_again(scored: Path, made: Path):
    before = lines(scored)
    encoders = {path: path.stat().st_mtime_ns for path in (scored / "pretrained").iterdir()}
    run(made, scored)
    assert lines(scored) == before
    assert {path: path.stat().st_mtime_ns for path in (scored / "pretrained").iterdir()} == encoders


def test_a_torn_line_is_made_again_and_nothing_else(scored: Path, made: Path, tmp_path: Path, here):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    torn = next(line for line in lines(out) if '"random"' in line)
    rest = [line for line in lines(out) if line != torn]
    (out / "cells.jsonl").write_text("\n".join([*rest, torn[:60]]))
    assert RANDOM not in {s.cell for s in read(out / "cells.jsonl")}
    run(made, out)
    assert lines(out) == [*rest, torn[:60], torn]


def test_half_a_cell_is_no_cell(scored: Path, tmp_path: Path):
    """Killed between the float and the int8 score."""
    kept = [line for line in lines(scored) if '"int8"' not in line]
    (tmp_path / "cells.jsonl").write_text("\n".join(kept) + "\n")
    assert {s.cell.row for s in read(tmp_path / "cells.jsonl")} == {"random", "mujo", "forest"}
    (tmp_path / "cells.jsonl").write_text("\n".join(lines(scored) * 2) + "\n")
    assert len(read(tmp_path / "cells.jsonl")) == 5, "a score that stands there twice counts once"


def test_the_other_tables_go_into_the_same_folder(scored: Path, made: Path, tmp_path: Path, here):
    """Zero-shot and an ablation, on the encoders that are there; what has no encoder yet is pretrained."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    before, encoders = lines(out), set((out / "pretrained").glob("*.pt"))
    run(made, out, rows="mujo,mujo_plus", zero_shot=True, fold="0,1")
    assert set((out / "pretrained").glob("*.pt")) == encoders
    text = (out / "zero-shot.md").read_text()
    assert "| chance | " in text
    assert "| mujo_plus | " in text
    run(made, out, rows="mujo", ablation="pose")
    assert len(set((out / "pretrained").glob("*.pt")) - encoders) == 1
    assert "| mujo, 3 ch, 2% of the labels | pose | " in (out / "ablation.md").read_text()
    run(made, out, rows="mujo", zero_shot=True, ablation="pose", fold="0,1")
    assert "| mujo, 3 ch, zero-shot | pose | " in (out / "ablation.md").read_text()
    assert (out / "zero-shot.md").read_text() == text, "what was left out is not in the other table"
    for name in ("zero-shot", "ablation"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == len(before) + 4 + 1 + 2


def test_rows_with_unlabeled_windows_stand_beside_the_others(
    scored: Path, made: Path, tmp_path: Path, here, monkeypatch
):
    """The same encoder and labels, and the other windows of the train people: of the tested ones none."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    before, encoders = lines(out), set((out / "pretrained").glob("*.pt"))
    learned: list[np.ndarray] = []
    finetune = train.finetune
    monkeypatch.setattr(
        train, "finetune", lambda *a, unlabeled, **k: learned.append(unlabeled) or finetune(*a, unlabeled=unlabeled)
    )
    run(made, out, rows="random,mujo_plus", fractions="0.02,1", semi=True)
    assert set((out / "pretrained").glob("*.pt")) == encoders
    added = [json.loads(line) for line in lines(out)[len(before) :]]
    assert {(e["cell"]["row"], e["variant"], e["cell"]["fraction"]) for e in added} == {
        ("random", "fp32", 0.02),
        ("mujo_plus", "fp32", 0.02),
        ("mujo_plus", "int8", 0.02),
    }
    assert all(e["cell"]["semi"] for e in added)
    text = (out / "table.md").read_text()
    for row in ("random fp32", "random semi fp32", "mujo_plus int8", "mujo_plus semi int8"):
        assert f"| {row}, 3 ch | 0." in text
    data, x = prepared("spar", 3)
    train_people = ~np.isin(data.subject, ["1", "6"])
    for unlabeled in learned:
        assert len(unlabeled) == pytest.approx(0.98 * train_people.sum(), abs=8)
        assert {w.tobytes() for w in unlabeled} <= {w.tobytes() for w in x[train_people]}


def recipe_of(made: Path) -> Recipe:
    return read_recipe(str(made / "two.toml"))


def test_scores_of_two_recipes_are_not_mixed(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    recipe = recipe_of(made)
    go_on(Evaluation(out, recipe), 3, ["random", "forest"], ["spar"])
    assert json.loads((out / "run.json").read_text())["config"]["seeds"] == 3
    other = Evaluation(out, replace(recipe, finetune=replace(recipe.finetune, mixup=0.5)))
    with pytest.raises(UsageError, match=r"made with another finetune; choose another folder with --out"):
        go_on(other, 1, ["random"], ["spar"])
    go_on(other, 1, ["forest"], ["spar"])  # which no such setting changes
    with pytest.raises(UsageError, match=r"made with another shards"):
        go_on(Evaluation(out, recipe), 1, ["mujo"], ["spar"])
    told = json.loads((out / "run.json").read_text())
    told["data_sha256"]["spar"] = "0" * 64
    (out / "run.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"made with another spar"):
        go_on(Evaluation(out, recipe), 1, ["random"], ["spar"])


def test_a_row_of_its_own_recipe_stands_beside_the_others(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    """Another pretraining is another student; random init and forest are what they were."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    kept = [line for line in lines(out) if '"mujo' not in line]
    (out / "cells.jsonl").write_text("\n".join(kept) + "\n")
    recipe = recipe_of(made)
    longer = replace(recipe, pretrain=replace(recipe.pretrain, loop=replace(recipe.pretrain.loop, steps=9)))
    go_on(Evaluation(out, longer), 1, ["random", "student", "forest"], ["spar"])
    told = json.loads((out / "run.json").read_text())["rows"]
    assert {row: entry["recipe"]["pretrain"]["loop"]["steps"] for row, entry in told.items()} == {
        "random": 8,
        "student": 9,
        "forest": 8,
    }


def test_scores_of_an_older_version_go_on(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    """Its run.json has one recipe for all rows, without the settings that are new, and its cells lack new fields."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    told = json.loads((out / "run.json").read_text())
    del told["rows"]
    for setting in ("pose", "draw", "title_weight"):
        del told["config"]["recipe"]["pretrain"][setting]
    (out / "run.json").write_text(json.dumps(told))
    entries = [json.loads(line) for line in lines(out)]
    for entry in entries:
        del entry["cell"]["without"], entry["cell"]["source"]
    old = [json.dumps(entry) for entry in entries if not entry["cell"]["row"].startswith("mujo")]
    (out / "cells.jsonl").write_text("\n".join(old) + "\n")
    run(made, out, rows="random,forest")
    assert lines(out) == old
    told["config"]["recipe"]["finetune"]["gone"] = 1
    (out / "run.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="made with another recipe of an older version"):
        go_on(Evaluation(out, recipe_of(made)), 1, ["random"], ["spar"])


def test_a_damaged_encoder_is_an_error_not_a_random_one(made: Path, tmp_path: Path):
    this = Evaluation(tmp_path, recipe_of(made))
    cell = replace(RANDOM, row="student")
    encoder = encoder_of(cell, this)
    assert encoder is not None
    path = encoder.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"half")
    with pytest.raises(DataError, match=rf"{path.name} is damaged"):
        train.run_cell(cell, this)


WRONG = [
    ({"protocol": "v2"}, "no protocol 'v2'"),
    ({"sets": "spar,mnist"}, "--sets takes motionsense, .*'mnist' is not"),
    ({"sets": ","}, "--sets takes"),
    ({"rows": "teacher"}, "--rows takes random, mujo, mujo_plus, student, forest; 'teacher' is not"),
    ({"rows": "prompts"}, "--rows takes random, mujo, mujo_plus, student, forest; 'prompts' is not"),
    ({"rows": "mujo"}, "need clips: give their folder with --shards"),
    ({"rows": "forest", "zero_shot": True}, "--rows takes mujo, mujo_plus, student, prompts; 'forest' is not"),
    ({"rows": "student", "ablation": "spar,smell"}, "--ablation takes .*'smell' is not"),
    ({"rows": "random", "zero_shot": True, "transfer": True}, "give one at a time"),
    ({"rows": "student", "transfer": True, "ablation": "spar"}, "or --ablation with --zero-shot"),
    ({"rows": "student", "zero_shot": True, "ablation": "text"}, "--ablation takes .*'text' is not"),
    ({"rows": "random", "transfer": True, "sets": "metamotion"}, "--sets takes .*'metamotion' is not"),
    ({"rows": "random", "semi": True, "zero_shot": True}, "give one at a time"),
    ({"rows": "forest", "semi": True}, "--rows takes random, mujo, mujo_plus, student; 'forest' is not"),
    ({"semi": True, "fractions": "1"}, "all labels leave no window without one"),
    ({"channels": "4"}, "--channels takes 3, 6; '4' is not"),
    ({"fold": "0,5"}, "--fold takes 0, 1, 2, 3, 4; '5' is not"),
    ({"fractions": "half"}, "--fractions takes .*'half'"),
    ({"fractions": "0"}, "--fractions takes"),
    ({"fractions": "2"}, "--fractions takes"),
    ({"fractions": "nan"}, "--fractions takes"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[str(options) for options, _ in WRONG])
def test_a_wrong_option_is_said_at_once(options: dict, said: str, tmp_path: Path):
    given = {"sets": "spar", "rows": "random", "recipe": "base", "out": tmp_path / "out"}
    with pytest.raises(UsageError, match=said):
        main(**given | options)
    assert not (tmp_path / "out").exists()


def test_nothing_left_to_pretrain_on_is_said_before_anything_runs(tmp_path: Path):
    with pytest.raises(UsageError, match="recipe tiny has nothing to pretrain on without spar"):
        main(sets="spar", rows="student", fractions="1", fold="0", seeds=1, recipe="tiny", jobs=1, out=tmp_path / "out")
    assert not (tmp_path / "out" / "cells.jsonl").exists()


def test_a_folder_without_shards_is_said(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no shards\. Make them with: python -m training\.fimad build"):
        main(sets="spar", rows="mujo", shards=tmp_path, out=tmp_path / "out")
