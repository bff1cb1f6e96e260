"""Protocol v1 end to end on real SPAR: scores, tables, resuming, and refused options."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from corpora.made_corpora import LAYOUTS
from made_clips import FEATURES, made_clips
from typer.testing import CliRunner

from mujo_edge.core import DataError, UsageError
from training import evaluate
from training.corpora import load_windows
from training.evaluation import runs, schedule
from training.evaluation.encoders import Evaluation, encoder_of
from training.evaluation.protocol_v1 import start_run
from training.evaluation.trials import Trial, prepared
from training.evaluation.trials import read_scores as read
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
RANDOM = Trial("random", 3, "spar", 0, 0.02, 0)

METHODS = "mujo,mujo_plus,random,forest"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a data set besides SPAR, shards of made clips, and a recipe that uses both."""
    folder = tmp_path_factory.mktemp("made")
    LAYOUTS["mhealth_fragments"](folder / "data" / "fragments")
    (folder / "two.toml").write_text(RECIPE)
    (folder / "shards").mkdir()
    write_shards(folder / "shards", "made", [encode(made_clips(4))], {})
    return folder


def run(made: Path, out: Path, command=evaluate.labels, **options) -> None:
    arguments = {"sets": "spar", "methods": METHODS, "fractions": "0.02", "fold": "0", "seeds": 1, "jobs": 1} | options
    arguments = {name: value for name, value in arguments.items() if name in signature(command).parameters}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJO_DATA", str(made / "data"))
        command(**arguments, recipe=str(made / "two.toml"), shards=made / "shards", out=out)


class Here:
    """An executor in this process: starting a worker takes longer than all the training here."""

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
    return (out / "trials.jsonl").read_text().splitlines()


def test_every_method_is_scored_on_the_held_out_people(scored: Path):
    scores = read(scored / "trials.jsonl")
    assert Counter((s.trial.method, s.variant) for s in scores) == Counter(
        [
            *((method, "fp32") for method in ("mujo", "mujo_plus", "random")),
            ("mujo_plus", "int8"),
            ("forest", "forest"),
        ]
    )
    data = load_windows("spar")
    truth = np.bincount(data.y[np.isin(data.subject, ["1", "6"])])
    for score in scores:
        assert np.sum(score.confusion, 1).tolist() == truth.tolist()
    by_variant = {(s.trial.method, s.variant): s.macro_f1 for s in scores}
    assert all(value > 0.35 for value in by_variant.values()), "chance is 0.14"
    assert abs(by_variant["mujo_plus", "int8"] - by_variant["mujo_plus", "fp32"]) < 0.1


def test_run_json_records_the_inputs(scored: Path):
    record = json.loads((scored / "run.json").read_text())
    assert record["config"]["recipe"]["pretrain"]["loop"]["steps"] == 8
    assert record["config"]["seeds"] == 1
    assert set(record["data_sha256"]) == {"spar", "mhealth_fragments"}
    assert all(len(sha) == 64 for sha in record["data_sha256"].values())
    assert set(record["methods"]) == set(METHODS.split(","))
    for method, made_with in record["methods"].items():
        assert len(made_with["shards_sha256"]) == (64 if method in ("mujo", "mujo_plus") else 0)
        assert made_with["git_commits"] == [record["git_commit"]]


def test_every_encoder_records_its_pretraining_data(scored: Path):
    seen = [json.loads(path.read_text())["data_used"] for path in (scored / "pretrained").glob("*.json")]
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
    for name in ("mujo fp32, 3 ch", "mujo_plus int8, 3 ch", "random fp32, 3 ch", "forest, 3 ch", "floor", "peer"):
        assert f"| {name} |" in text
    table = {(e["method"], e["corpus"]): e for e in json.loads((scored / "table.json").read_text())}
    for score in read(scored / "trials.jsonl"):
        name = score.variant if score.variant == "forest" else f"{score.trial.method} {score.variant}"
        assert table[name, "spar"]["mean"] == pytest.approx(score.macro_f1)
    for name in ("confusion-spar", "efficiency"):
        assert (scored / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_finished_run_is_not_run_again(scored: Path, made: Path):
    before = lines(scored)
    encoders = {path: path.stat().st_mtime_ns for path in (scored / "pretrained").iterdir()}
    run(made, scored)
    assert lines(scored) == before
    assert {path: path.stat().st_mtime_ns for path in (scored / "pretrained").iterdir()} == encoders


def test_only_the_trial_of_a_truncated_line_is_repeated(scored: Path, made: Path, tmp_path: Path, here):
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    truncated = next(line for line in lines(out) if '"random"' in line)
    rest = [line for line in lines(out) if line != truncated]
    (out / "trials.jsonl").write_text("\n".join([*rest, truncated[:60]]))
    assert RANDOM not in {s.trial for s in read(out / "trials.jsonl")}
    run(made, out)
    assert lines(out) == [*rest, truncated[:60], truncated]


def test_trial_with_a_missing_variant_is_ignored(scored: Path, tmp_path: Path):
    """Killed between the float and the int8 score."""
    remaining = [line for line in lines(scored) if '"int8"' not in line]
    (tmp_path / "trials.jsonl").write_text("\n".join(remaining) + "\n")
    assert {s.trial.method for s in read(tmp_path / "trials.jsonl")} == {"random", "mujo", "forest"}
    (tmp_path / "trials.jsonl").write_text("\n".join(lines(scored) * 2) + "\n")
    assert len(read(tmp_path / "trials.jsonl")) == 5, "a score that stands there twice counts once"


def test_all_tables_are_written_to_the_same_folder(scored: Path, made: Path, tmp_path: Path, here):
    """Zero-shot and an ablation reuse the encoders of the folder and pretrain the missing ones."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    before, encoders = lines(out), set((out / "pretrained").glob("*.pt"))
    run(made, out, evaluate.zero_shot, methods="mujo,mujo_plus", fold="0,1")
    assert set((out / "pretrained").glob("*.pt")) == encoders
    text = (out / "zero-shot.md").read_text()
    assert "| chance | " in text
    assert "| mujo_plus | " in text
    run(made, out, evaluate.ablation, methods="mujo", parts="pose")
    assert len(set((out / "pretrained").glob("*.pt")) - encoders) == 1
    assert "| mujo, 3 ch, 2% of the labels | pose | " in (out / "ablation.md").read_text()
    run(made, out, evaluate.ablation, methods="mujo", zero_shot=True, parts="pose", fold="0,1")
    assert "| mujo, 3 ch, zero-shot | pose | " in (out / "ablation.md").read_text()
    assert (out / "zero-shot.md").read_text() == text, "what was left out is not in the other table"
    for name in ("zero-shot", "ablation"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == len(before) + 4 + 1 + 2


def test_semi_supervised_methods_are_added_to_the_table(scored: Path, made: Path, tmp_path: Path, here, monkeypatch):
    """The same encoder and labels, and the other windows of the train people; none of the tested people."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    before, encoders = lines(out), set((out / "pretrained").glob("*.pt"))
    learned: list[np.ndarray] = []
    finetune = runs.finetune
    monkeypatch.setattr(
        runs, "finetune", lambda *a, unlabeled, **k: learned.append(unlabeled) or finetune(*a, unlabeled=unlabeled)
    )
    run(made, out, evaluate.semi, methods="random,mujo_plus", fractions="0.02,1")
    assert set((out / "pretrained").glob("*.pt")) == encoders
    added = [json.loads(line) for line in lines(out)[len(before) :]]
    assert {(e["trial"]["method"], e["variant"], e["trial"]["fraction"]) for e in added} == {
        ("random", "fp32", 0.02),
        ("mujo_plus", "fp32", 0.02),
        ("mujo_plus", "int8", 0.02),
    }
    assert all(e["trial"]["semi"] for e in added)
    text = (out / "table.md").read_text()
    for name in ("random fp32", "random semi fp32", "mujo_plus int8", "mujo_plus semi int8"):
        assert f"| {name}, 3 ch | 0." in text
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
    start_run(Evaluation(out, recipe), 3, ["random", "forest"], ["spar"])
    assert json.loads((out / "run.json").read_text())["config"]["seeds"] == 3
    other = Evaluation(out, replace(recipe, finetune=replace(recipe.finetune, mixup=0.5)))
    with pytest.raises(UsageError, match=r"made with another finetune; choose another folder with --out"):
        start_run(other, 1, ["random"], ["spar"])
    start_run(other, 1, ["forest"], ["spar"])  # which no such setting changes
    with pytest.raises(UsageError, match=r"made with another shards"):
        start_run(Evaluation(out, recipe), 1, ["mujo"], ["spar"])
    record = json.loads((out / "run.json").read_text())
    record["data_sha256"]["spar"] = "0" * 64
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"made with another spar"):
        start_run(Evaluation(out, recipe), 1, ["random"], ["spar"])


def test_every_method_keeps_the_recipe_of_its_scores(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    """Other pretraining settings change the student; random init and forest keep the old recipe."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    remaining = [line for line in lines(out) if '"mujo' not in line]
    (out / "trials.jsonl").write_text("\n".join(remaining) + "\n")
    recipe = recipe_of(made)
    longer = replace(recipe, pretrain=replace(recipe.pretrain, loop=replace(recipe.pretrain.loop, steps=9)))
    start_run(Evaluation(out, longer), 1, ["random", "student", "forest"], ["spar"])
    record = json.loads((out / "run.json").read_text())["methods"]
    assert {method: entry["recipe"]["pretrain"]["loop"]["steps"] for method, entry in record.items()} == {
        "random": 8,
        "student": 9,
        "forest": 8,
    }


def test_run_of_an_older_version_is_resumed(scored: Path, made: Path, tmp_path: Path, monkeypatch):
    """Its run.json has one recipe for all methods without the new settings, and its trials lack the new fields."""
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    monkeypatch.setenv("MUJO_DATA", str(made / "data"))
    record = json.loads((out / "run.json").read_text())
    del record["methods"]
    for setting in ("pose", "draw", "title_weight"):
        del record["config"]["recipe"]["pretrain"][setting]
    (out / "run.json").write_text(json.dumps(record))
    entries = [json.loads(line) for line in lines(out)]
    for entry in entries:
        del entry["trial"]["without"], entry["trial"]["source"]
    old = [json.dumps(entry) for entry in entries if not entry["trial"]["method"].startswith("mujo")]
    (out / "trials.jsonl").write_text("\n".join(old) + "\n")
    run(made, out, methods="random,forest")
    assert lines(out) == old
    record["config"]["recipe"]["finetune"]["gone"] = 1
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="made with another recipe of an older version"):
        start_run(Evaluation(out, recipe_of(made)), 1, ["random"], ["spar"])


def test_damaged_encoder_is_an_error_not_a_random_one(made: Path, tmp_path: Path):
    this = Evaluation(tmp_path, recipe_of(made))
    trial = replace(RANDOM, method="student")
    encoder = encoder_of(trial, this)
    assert encoder is not None
    path = encoder.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"half")
    with pytest.raises(DataError, match=rf"{path.name} is damaged"):
        runs.run_trial(trial, this)


WRONG = [
    ("labels", {"sets": "spar,mnist"}, "--sets takes motionsense, .*'mnist' is not"),
    ("labels", {"sets": ","}, "--sets takes"),
    ("labels", {"methods": "teacher"}, "--methods takes random, mujo, mujo_plus, student, forest; 'teacher' is not"),
    ("labels", {"methods": "prompts"}, "--methods takes random, mujo, mujo_plus, student, forest; 'prompts' is not"),
    ("labels", {"methods": "mujo"}, "need clips: give their folder with --shards"),
    ("labels", {"channels": "4"}, "--channels takes 3, 6; '4' is not"),
    ("labels", {"fold": "0,5"}, "--fold takes 0, 1, 2, 3, 4; '5' is not"),
    ("labels", {"fractions": "half"}, "--fractions takes .*'half'"),
    ("labels", {"fractions": "0"}, "--fractions takes"),
    ("labels", {"fractions": "2"}, "--fractions takes"),
    ("labels", {"fractions": "nan"}, "--fractions takes"),
    ("semi", {"methods": "forest"}, "--methods takes random, mujo, mujo_plus, student; 'forest' is not"),
    ("semi", {"fractions": "1"}, "with all labels, no window is unlabeled"),
    ("zero_shot", {"methods": "forest"}, "--methods takes mujo, mujo_plus, student, prompts; 'forest' is not"),
    ("transfer", {"sets": "metamotion"}, "--sets takes .*'metamotion' is not"),
    ("ablation", {"methods": "student", "parts": "spar,smell"}, "PARTS takes .*'smell' is not"),
    ("ablation", {"methods": "student", "parts": "text", "zero_shot": True}, "PARTS takes .*'text' is not"),
    ("ablation", {"methods": "random", "parts": "spar"}, "--methods takes mujo, mujo_plus, student; 'random' is not"),
]


@pytest.mark.parametrize(
    ("command", "options", "message"), WRONG, ids=[f"{name} {arguments}" for name, arguments, _ in WRONG]
)
def test_wrong_option_is_refused_before_any_output(command: str, options: dict, message: str, tmp_path: Path):
    arguments = {"sets": "spar", "methods": "random", "recipe": "base", "out": tmp_path / "out"}
    with pytest.raises(UsageError, match=message):
        getattr(evaluate, command)(**arguments | options)
    assert not (tmp_path / "out").exists()


def test_every_subcommand_has_its_options():
    """Options that a subcommand would ignore are refused."""
    runner = CliRunner()
    assert runner.invoke(evaluate.app, ["--help"]).exit_code == 0
    for name in ("labels", "semi", "zero-shot", "transfer"):
        result = runner.invoke(evaluate.app, [name, "--methods", "oracle"])
        assert (result.exit_code, "error: --methods takes" in result.output) == (2, True)
    assert "No such option: --fractions" in runner.invoke(evaluate.app, ["zero-shot", "--fractions", "1"]).output
    assert "Missing argument" in runner.invoke(evaluate.app, ["ablation"]).output


def test_empty_pretraining_data_is_reported_before_anything_runs(tmp_path: Path):
    arguments = {"sets": "spar", "methods": "student", "fractions": "1", "fold": "0", "seeds": 1, "jobs": 1}
    with pytest.raises(UsageError, match="recipe tiny has nothing to pretrain on without spar"):
        evaluate.labels(**arguments, recipe="tiny", out=tmp_path / "out")
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_folder_without_shards_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"holds no shards\. Make them with: python -m training\.fimad build"):
        evaluate.labels(sets="spar", methods="mujo", shards=tmp_path, out=tmp_path / "out")
