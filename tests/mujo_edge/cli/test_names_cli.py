"""`stream --labels "squat, push-up"` as a user runs it, with the extra `text` and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import AXES, motion, vocabulary, write_bundle
from generated_motion import ROOT

HEADER = "t_s,ax_m_s2,ay_m_s2,az_m_s2,gx_rad_s,gy_rad_s,gz_rad_s"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows names, a recording of 12 s, and packages that hide those of the extra `text`."""
    made = tmp_path_factory.mktemp("names")
    write_bundle(made / "axis", vocabulary())
    t_s, x, _ = motion([0, 1, 2], 4.0)
    rows = [",".join(map(repr, (t, *row))) for t, row in zip(t_s.tolist(), x.tolist(), strict=True)]
    (made / "walk.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (made / "bare").mkdir()
    (made / "bare" / "tokenizers.py").write_text("raise ModuleNotFoundError('not here', name='tokenizers')")
    return made


def stream(folder: Path, labels: str, path: str = "") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mujo_edge",
        "stream",
        "--bundle",
        folder / "axis",
        "--runtime",
        "onnx",
        "--replay",
    ]
    command += [folder / "walk.csv", "--speed", "max", "--labels", labels]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)]))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_activity_names_become_labels(folder: Path) -> None:
    done = stream(folder, "press-up, Star Jumps, plank")
    assert (done.returncode, done.stderr) == (0, "")
    *predictions, summary = map(json.loads, done.stdout.splitlines())
    assert list(dict.fromkeys(line["raw_label"] for line in predictions)) == ["press-up", "Star Jumps", "plank"]
    assert set(predictions[0]["scores"]) == {"press-up", "Star Jumps", "plank", "unknown"}
    assert summary["label_set"] == "press-up,Star Jumps,plank"
    assert [note for note in summary["notes"] if "never seen in training: plank" in note]


def test_unknown_words_are_embedded(folder: Path) -> None:
    done = stream(folder, "hammering a nail, plank")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["labels"] == ["hammering a nail", "plank", "unknown"]


def test_single_untrained_activity_is_rejected(folder: Path) -> None:
    for words in ("hammering a nail", "plank"):
        done = stream(folder, words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"'{words}' alone would be the label of every window" in done.stderr


def test_label_set_of_the_bundle_takes_precedence(folder: Path) -> None:
    summary = json.loads(stream(folder, "axes").stdout.splitlines()[-1])
    assert (summary["label_set"], summary["labels"][:3]) == ("axes", list(AXES))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("plank, jumpin jack", "'jumpin jack' (near: jumping jack)"),
        ("zumba", "'zumba' (near: nothing)"),
        ("axs", "no label set 'axs'; it has: axes"),
        ("plank,planks", "'plank' and 'planks' are one activity"),
        (",", "no labels were given"),
        ("plank,unknown", "'unknown' cannot be a label"),
    ],
)
def test_unknown_words_without_the_extra_are_a_usage_error(folder: Path, labels: str, message: str) -> None:
    done = stream(folder, labels, path=str(folder / "bare"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mujo-edge: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2
