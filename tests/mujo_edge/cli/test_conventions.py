"""Conventions of every command: -h, environment variables, log records on request."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from fakes import motion, write_bundle
from generated_motion import ROOT
from typer.main import get_command
from typer.testing import CliRunner

from mujo_edge.cli import app

COMMANDS = [
    (),
    ("stream",),
    ("record",),
    ("teach",),
    ("devices",),
    ("benchmark",),
    ("export",),
    ("serve",),
    ("doctor",),
    ("log",),
]
MODELS = [("models", name) for name in ("list", "show", "names", "verify", "push", "pull")]
MODULES = (
    "training.run", "training.pretrain", "training.distill", "training.export", "training.evaluate", "training.corpora",
    "benchmarks.conformance", "firmware_bridge.simulator",
)  # fmt: skip


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "axis")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    t_s, x, _ = motion([0, 1], 4.0)
    path = tmp_path_factory.mktemp("recordings") / "walk.csv"
    rows = [",".join(map(repr, [t, *row])) for t, row in zip(t_s.tolist(), x[:, :3].tolist(), strict=True)]
    path.write_text("\n".join(["t_s,ax_m_s2,ay_m_s2,az_m_s2", *rows]) + "\n")
    return path


@pytest.mark.parametrize("command", [*COMMANDS, ("models",), *MODELS])
def test_h_option_shows_help(command: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert "Usage" in short.stdout


@pytest.mark.parametrize("command", [*COMMANDS, ("models",), *MODELS])
def test_help_shows_no_type_for_flags(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "-h"]).stdout
    assert "<bool>" not in shown
    assert "[[" not in shown


@pytest.mark.parametrize(
    ("command", "extra"), [("benchmark", "report"), ("export", "web"), ("serve", "web"), ("stream", "phone")]
)
def test_help_names_the_extra_that_an_option_needs(command: str, extra: str) -> None:
    shown = CliRunner().invoke(app, [command, "-h"], env={"COLUMNS": "200"}).stdout
    assert f"extra `{extra}`" in " ".join(shown.replace("│", " ").split())


@pytest.mark.parametrize("module", MODULES)
def test_h_option_shows_help_of_the_other_programs(module: str) -> None:
    done = run(module, "-h")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_json_is_a_flag_everywhere() -> None:
    def options(command: object) -> list[object]:
        nested = [option for one in getattr(command, "commands", {}).values() for option in options(one)]
        return [*nested, *(one for one in command.params if "--json" in one.opts)]  # type: ignore[attr-defined]

    flags = options(get_command(app))
    assert len(flags) >= 8
    assert all(flag.is_flag for flag in flags)  # type: ignore[attr-defined]


def test_options_can_come_from_the_environment(bundle: Path, walk: Path) -> None:
    environment = {"MUJO_EDGE_BUNDLE": str(bundle), "MUJO_EDGE_RUNTIME": "onnx", "MUJO_EDGE_LABELS": "axes"}
    done = run("mujo_edge", "stream", "--replay", walk, "--speed", "max", **environment)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["bundle"], summary["label_set"]) == ("axis 1.0", "axes")
    assert summary["runtime"].startswith("onnx")
    done = run("mujo_edge", "models", "show", "--json", **environment)
    assert json.loads(done.stdout)["name"] == "axis"
    assert run("mujo_edge", "stream", "--labels", "other", "--replay", walk, **environment).returncode == 2


def test_log_records_are_shown_on_request_only(bundle: Path, walk: Path) -> None:
    stream = ("mujo_edge", "stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "max")
    assert run(*stream).stderr == ""
    for arguments, environment in (((*stream, "-vv"), {}), (stream, {"MUJO_EDGE_LOG": "debug"})):
        done = run(*arguments, **environment)
        assert done.returncode == 0
        assert done.stderr
        for line in done.stderr.splitlines():
            assert re.match(r"\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO) mujo_edge\.[\w.]+: ", line), line
    done = run(*stream, MUJO_EDGE_LOG="loud")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mujo-edge: MUJO_EDGE_LOG=loud: set it to one of debug, info, warning, error\n"


def test_shared_options_are_declared_once() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    names = {name: {option.name: option.help for option in commands[name].params} for name in ("stream", "record")}
    shared = names["stream"].keys() & names["record"].keys()
    assert {"ble", "device", "serial", "phone", "replay", "speed", "rate", "decode_again"} <= shared
    assert all(names["stream"][name] == names["record"][name] for name in shared)
    assert isinstance(app, typer.Typer)
