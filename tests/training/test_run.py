"""`python -m training.run --recipe tiny` on real SPAR, each step on its own, and resuming after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_motion import ROOT

import training.release.run
from mujo_edge.bundle import ModelBundle
from mujo_edge.core import DataError
from mujo_edge.sources.replay import shipped_recording
from training.corpora import find, load_windows
from training.corpora.labels import read_vocabulary
from training.corpora.registry import data_sha256
from training.recipes.recipe import Recipe, read_recipe
from training.release.checks import recording_accuracy
from training.release.run import Run, cached
from training.run import listed
from training.support.tensors import save_tensors

pytestmark = pytest.mark.timeout(600)


def start(*words: str, cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"MUJO_CACHE": str(cache), "COLUMNS": "200"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def step(name: str, *options: str, cache: Path) -> tuple[int, str, str]:
    return finish(start("-m", f"training.{name}", *options, cache=cache))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, cache: Path) -> Path:
    """The folder of one whole run."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    code, printed, err = step("run", "--recipe", "tiny", "--out", str(out), cache=cache)
    assert code == 0, err
    lines = printed.splitlines()
    assert lines[-2:] == [f"bundle: {out / 'mujo-tiny'}", f"try it: mujo-edge stream --bundle {out / 'mujo-tiny'}"]
    assert not any("Parity(" in line for line in lines)
    return out


@pytest.fixture(scope="module")
def again(tiny: Path, cache: Path) -> dict[str, tuple[int, str, str]]:
    """(exit code, stdout, stderr) of every command on the folder of the run, two at a time."""
    out = str(tiny)
    few = "labels --sets spar --fold 0 --fractions 0.02 --seeds 1 --methods random,forest --jobs 1"
    commands = {
        "run": ["--recipe", "tiny", "--out", out],
        "export": [f"{out}/release.pt", f"{out}/exported"],
        "evaluate": [*few.split(), "--recipe", "tiny", "--out", f"{out}/evaluate"],
        "pretrain": ["--recipe", "tiny", "--out", out],
        "distill": ["--recipe", "tiny", "--out", out],
    }
    weights = [(tiny / name).stat().st_mtime_ns for name in ("teacher.pt", "student.pt")]
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(step, name, *options, cache=cache) for name, options in commands.items()}
    results = {name: future.result() for name, future in running.items()}
    assert weights == [(tiny / name).stat().st_mtime_ns for name in ("teacher.pt", "student.pt")], "not trained again"
    return results


def test_int8_student_is_compared_with_its_teacher(tiny: Path):
    comparison = json.loads((tiny / "teacher-comparison.json").read_text())
    assert set(comparison) == {"physio-wrist", "mean"}
    assert comparison["mean"] == comparison["physio-wrist"]
    assert 0.8 < comparison["mean"] < 1.25


def test_bundle_recognizes_held_out_people(tiny: Path):
    bundle = ModelBundle.load(tiny / "mujo-tiny")
    assert all(check.passed for check in bundle.verify())
    data = load_windows("spar")
    x, y = data.x[data.subject == "5"], data.y[data.subject == "5"]
    right = [name == data.classes[label] for (name, _), label in zip(bundle.classify(x), y, strict=True)]
    assert np.mean(right) > 0.6


def test_bundle_records_its_provenance(tiny: Path):
    manifest = json.loads((tiny / "mujo-tiny" / "bundle.json").read_text())
    assert manifest["name"] == "mujo-tiny"
    assert set(manifest["label_sets"]) == {"physio-wrist"}
    assert manifest["default_label_set"] == "physio-wrist"
    training_table = manifest["training"]
    assert training_table["data_sha256"] == data_sha256(["spar"])
    (corpus,) = training_table["corpora"]
    assert (corpus["name"], corpus["licence"], corpus["subjects"]) == ("spar", "BSD-3-Clause", 8)
    assert corpus["windows"] == 7 * read_recipe("tiny").max_windows_per_class
    assert training_table["clips"] == []
    labels = manifest["label_sets"]["physio-wrist"]
    assert 0 < labels["temperature"] < 1
    assert -1 < labels["unknown_threshold"] < 1
    report = json.loads((tiny / "held-out.json").read_text())["physio-wrist"]
    assert manifest["metrics"]["held_out"]["physio-wrist"] == report
    assert report["macro_f1_6ch"] > 0.6
    assert "SPAR" in (tiny / "mujo-tiny" / "MODEL_CARD.md").read_text()


def test_run_json_records_the_inputs(tiny: Path):
    record = json.loads((tiny / "run.json").read_text())
    assert record["config"]["recipe"]["name"] == "tiny"
    loops = [record["config"]["recipe"][part]["loop"] for part in ("teacher", "distill")]
    assert all(loop["seed"] == 0 and loop["steps"] > 0 for loop in loops)
    assert record["data_sha256"] == data_sha256(["spar"])
    assert record["packages"]["torch"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        assert len(record["git_commit"].removesuffix("+changes")) == 40
    else:
        assert record["git_commit"] == "unknown"


def test_recording_json_has_the_accuracy_on_the_shipped_recording(tiny: Path):
    record = json.loads((tiny / "recording.json").read_text())
    assert record == pytest.approx(recording_accuracy(tiny / "mujo-tiny", shipped_recording()))
    assert record["windows"] > 200
    assert record["accuracy"] > 0.4, "chance is 0.14"


def test_folder_of_a_run_holds_only_finished_files(tiny: Path, again):
    names = {path.name for path in tiny.iterdir()}
    assert names == {
        *("teacher.pt", "student.pt", "release.pt", "run.json", "held-out.json", "recording.json", "mujo-tiny"),
        *("losses.csv", "losses.png", "teacher-comparison.json", "exported", "evaluate", "teacher-physio-wrist.pt"),
    }


def test_second_run_trains_nothing(again):
    both = {"teacher.pt", "student.pt"}
    for name, files in (("run", both | {"teacher-physio-wrist.pt"}), ("distill", both), ("pretrain", {"teacher.pt"})):
        code, _, err = again[name]
        assert code == 0, err
        assert err.count("is up to date") == len(files)
        assert all(file in err for file in files)
        assert "pretrain teacher" not in err
        assert "distill student" not in err


@pytest.mark.parametrize(
    ("name", "message"),
    [("pretrain", "teacher: "), ("distill", "student: "), ("export", "student_int8.pte"), ("evaluate", "| forest")],
)
def test_each_step_runs_alone(again, name: str, message: str):
    code, out, err = again[name]
    assert code == 0, err
    assert message in out
    assert "Traceback" not in err


def test_export_of_the_checkpoint_gives_the_same_models(tiny: Path, again):
    code, out, err = again["export"]
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        "student_int8.tflite",
        "student_int8.pte",
        "student_int8.onnx",
        "student_fp32.tflite",
        "student_coreml.pte",
        "student_cortex_m.pte",
    ]
    one, other = tiny / "mujo-tiny", tiny / "exported"
    assert (one / "student_int8.tflite").read_bytes() == (other / "student_int8.tflite").read_bytes()
    assert all(check.passed for check in ModelBundle.load(other).verify())


def test_evaluation_beats_chance(tiny: Path, again):
    table = json.loads((tiny / "evaluate" / "table.json").read_text())
    assert {entry["method"] for entry in table} == {"random fp32", "forest"}
    assert next(entry["mean"] for entry in table if entry["method"] == "forest") > 0.5


SMALL = replace(
    read_recipe("tiny"),
    name="small",
    max_windows_per_class=20,
    teacher=replace(read_recipe("tiny").teacher, loop=replace(read_recipe("tiny").teacher.loop, steps=40, batch=16)),
)
KILLED = """
import sys
from contextlib import contextmanager
from pathlib import Path
import torch
import training.learn.loop, training.release.run
from test_run import SMALL
training.learn.loop.CHECKPOINT_EVERY_S = 0.0
torch.set_num_threads(1)
@contextmanager
def record(description, total):
    yield lambda done, loss: print(done, flush=True)
training.release.run.progress_bar = record
training.release.run.Run(SMALL, Path(sys.argv[1])).teacher()
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One order of summation, here and in the killed process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_pretraining_resumes_to_the_same_weights(tmp_path: Path, cache: Path, one_thread, monkeypatch):
    """The same command resumes from the last checkpoint, to the weights of an uninterrupted run."""
    steps: list[int] = []

    @contextmanager
    def record(description: str, total: int):
        yield lambda done, loss: steps.append(done)

    monkeypatch.setattr(training.release.run, "progress_bar", record)
    whole = Run(SMALL, tmp_path / "whole").teacher().state_dict()
    assert steps == list(range(1, 41))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(ROOT / "tests")]))
    out = tmp_path / "killed"
    process = start("-c", KILLED, str(out), cache=cache)
    for line in process.stdout:
        if int(line) == 15:
            process.kill()
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "teacher.pt").exists()
    assert list(out.glob("teacher.*.checkpoint"))
    steps.clear()
    resumed = Run(SMALL, out).teacher().state_dict()
    assert steps[0] >= 15
    assert steps[-1] == 40
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    assert not list(out.glob("*.checkpoint"))


SLOW = """
import time
from training.support.command import run
def step(steps: int = 3) -> None:
    print(steps, flush=True)
    time.sleep(60)
run(step)
"""


def test_ctrl_c_reports_that_the_command_resumes(cache: Path):
    process = start("-c", SLOW, "--steps", "7", cache=cache)
    assert process.stdout.readline() == "7\n"
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "stopped; the same command resumes from here\n")


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        (
            "run",
            ("--recipe", "tinny"),
            2,
            "error: no recipe 'tinny'; choose from base, broad, full, mujo_plus, mujo_pure, tiny or give a .toml file",
        ),
        (
            "evaluate",
            ("labels", "--methods", "oracle"),
            2,
            "error: --methods takes random, mujo, mujo_plus, student, forest; 'oracle' is not among them",
        ),
        ("export", ("none.pt", "out"), 4, None),
    ],
)
def test_user_error_is_one_line(name: str, options: tuple[str, ...], code: int, message: str | None, cache: Path):
    exit_code, out, err = step(name, *options, cache=cache)
    assert exit_code == code
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert message in (None, err.strip())


def test_missing_data_is_reported_in_one_line(tmp_path: Path, cache: Path, monkeypatch):
    (tmp_path / "gym.toml").write_text('corpora = ["muvr"]\n')
    monkeypatch.setenv("MUJO_DATA", str(tmp_path))
    code, _, err = step("run", "--recipe", str(tmp_path / "gym.toml"), "--out", str(tmp_path / "out"), cache=cache)
    assert code == 4
    assert len(err.splitlines()) == 1
    assert "python -m training.corpora download muvr" in err
    assert not (tmp_path / "out").exists()


def test_result_of_other_settings_is_recomputed(tmp_path: Path):
    made: list[Path] = []

    def make(checkpoint: Path) -> torch.nn.Module:
        made.append(checkpoint)
        save_tensors(checkpoint, {"step": 1})
        torch.manual_seed(len(made))
        return torch.nn.Linear(2, 2)

    path = tmp_path / "x.pt"
    first = cached(path, "a" * 64, make)
    assert torch.equal(cached(path, "a" * 64, make)["weight"], first["weight"])
    assert len(made) == 1
    other = cached(path, "b" * 64, make)
    assert not torch.equal(other["weight"], first["weight"])
    assert made[0] != made[1], "it does not resume from the other's checkpoint"
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"x\.pt is damaged"):
        cached(path, "b" * 64, make)


def test_fingerprint_covers_settings_prompts_and_data(tmp_path: Path):
    """Settings of the step, the prompts, the data and max_windows_per_class; not settings of later steps."""
    plain = Run.__new__(Run)
    plain.vocabulary, plain.hashes = read_vocabulary(), {"spar": "1"}

    def key(recipe: Recipe, hashes: dict[str, str] = plain.hashes) -> str:
        plain.recipe, plain.hashes = recipe, hashes
        return plain.made_from(recipe.teacher)

    base = key(SMALL)
    assert key(replace(SMALL, name="other", distill=replace(SMALL.distill, label_weight=9.0))) == base
    assert key(replace(SMALL, max_windows_per_class=21)) != base
    assert key(replace(SMALL, teacher=replace(SMALL.teacher, label_weight=0.5))) != base
    assert key(SMALL, {"spar": "2"}) != base


def test_recording_without_labels_is_refused(tiny: Path, tmp_path: Path):
    (tmp_path / "still.csv").write_text(
        "t,ax,ay,az\n" + "".join(f"{i / 50},{0.01 * (i % 7)},0.2,9.8\n" for i in range(600))
    )
    with pytest.raises(DataError, match="has no labeled windows"):
        recording_accuracy(tiny / "mujo-tiny", tmp_path / "still.csv")


def test_metrics_are_listed_on_one_line():
    assert listed({"windows": 273, "accuracy": 0.91234}) == "windows 273, accuracy 0.9123"


def test_spar_is_installed_with_a_package():
    assert find("spar").name == "watch_dataset.npy"
