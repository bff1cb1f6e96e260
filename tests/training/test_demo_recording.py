"""The shipped recording is the output of its script on SPAR."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mujo_edge.recordings.reader import open_recording
from mujo_edge.sources.replay import shipped_recording
from training import demo_recording
from training.corpora import registry
from training.support.command import step

pytestmark = pytest.mark.skipif(
    registry.get("spar").locate() is None, reason="seglearn, which carries SPAR, is not installed"
)


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(step(demo_recording.main))
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_shipped_recording_is_reproducible(tmp_path: Path) -> None:
    shipped = shipped_recording()
    subject = shipped.name.removeprefix("spar-")
    side = "left" if "left" in json.loads((shipped / "session.json").read_text())["stream"]["name"] else "right"
    code, output = run("--subject", subject, "--side", side, "--out", str(tmp_path / shipped.name))
    assert code == 0, output
    assert (tmp_path / shipped.name / "samples.csv").read_bytes() == (shipped / "samples.csv").read_bytes()
    made, old = (json.loads((folder / "session.json").read_text()) for folder in (tmp_path / shipped.name, shipped))
    assert made | {"created": old["created"], "version": old["version"]} == old
    assert (tmp_path / "LICENSE-SPAR").read_text() == (shipped.parent / "LICENSE-SPAR").read_text()


def test_samples_are_the_middle_of_each_trial_in_order(tmp_path: Path) -> None:
    assert run("--subject", "3", "--side", "left", "--seconds", "20", "--out", str(tmp_path / "spar-3"))[0] == 0
    chunks = list(open_recording(tmp_path / "spar-3").chunks(1 << 22))
    x, truth = np.concatenate([c.x for c in chunks]), np.concatenate([c.truth for c in chunks])
    assert len(x) == 7 * 1000
    trials = {r.labels[0]: r.x for r in registry.load("spar") if (r.subject, r.side) == ("3", "left")}
    for i, name in enumerate(registry.get("spar").classes):
        part = slice(1000 * i, 1000 * i + 1000)
        assert set(truth[part]) == {name}
        start = (len(trials[name]) - 1000) // 2
        np.testing.assert_array_equal(x[part], trials[name][start : start + 1000])


def test_unknown_person_and_an_existing_folder_are_refused(tmp_path: Path) -> None:
    code, output = run("--subject", "11", "--out", str(tmp_path / "spar-11"))
    assert code == 2
    assert "no person '11'" in output
    assert run("--subject", "1", "--out", str(tmp_path / "spar-1"))[0] == 0
    assert run("--subject", "1", "--out", str(tmp_path / "spar-1"))[0] == 2
    assert run("--subject", "2", "--out", str(tmp_path / "spar-2"), "--replace")[0] == 0
    assert [path.name for path in tmp_path.glob("spar-*")] == ["spar-2"]
