"""Untrusted text on a terminal is shown literally: no control sequences and no rich markup take effect."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_text import HIDDEN, VISIBLE, sign, table_of
from rich.console import Console

from mujo_edge.bundle.store import find_bundle
from mujo_edge.cli import main
from mujo_edge.core import CHANNELS, UNKNOWN, Latency, Prediction, StreamInfo, StreamStats
from mujo_edge.printable import HIDDEN as HIDDEN_CHARACTER
from mujo_edge.printable import printable
from mujo_edge.sinks import RunInfo, Summary, Tally
from mujo_edge.sinks.screen import Mark, Screen, describe, render
from mujo_edge.sinks.terminal import render_board


def hidden_in(text: str) -> list[str]:
    return [match for line in text.split("\n") for match in HIDDEN_CHARACTER.findall(line)]


def screen(text: str) -> Screen:
    """With `text` wherever a device, a recording or a bundle may give some."""
    labels = (text, "rest", UNKNOWN)
    session = RunInfo(StreamInfo(text, CHANNELS, 50.0, placement=text), text, text, text, labels, 0.5)
    prediction = Prediction(
        3.0, text, 0.9, text, dict.fromkeys(labels, 0.3), np.zeros(3, np.float32), Latency(0, 0, 0, 0), text
    )
    tally = Tally(StreamStats(notes=[text]), 1, 1, 1, 3.0, None)
    return Screen(session, tally, prediction, marks=(Mark(3.0, text, text),), status=text, recording=text)


@pytest.mark.parametrize("what", HIDDEN)
def test_live_screen_shows_no_control_character(what: str) -> None:
    for idle_s in (0.0, 5.0):
        one = screen(HIDDEN[what])
        shown = Screen(one.session, one.tally, one.prediction, None, one.marks, idle_s, one.status, one.recording)
        console = Console(width=100, record=True, force_terminal=False, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123 - closed below
        console.print(render(shown))
        console.print(render_board([shown, shown]))
        text = console.export_text(styles=False)
        console.file.close()
        assert hidden_in(text) == []
        assert printable(HIDDEN[what])[:4] in text


@pytest.mark.parametrize("what", HIDDEN)
def test_summary_shows_no_control_character(what: str) -> None:
    one = screen(HIDDEN[what])
    shown = describe(Summary(one.session, one.tally, "end", (HIDDEN[what],)), HIDDEN[what])
    assert hidden_in(shown.replace("\n", "")) == []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile text in every field that `models show` shows."""
    folder = Path(shutil.copytree(find_bundle(), tmp_path_factory.mktemp("[red]") / "[/nope]"))
    table = table_of(folder) | {"created": VISIBLE["markup"]}
    for label, text in zip(table["label_sets"]["gym-wrist"]["labels"], VISIBLE.values(), strict=False):
        label["name"] = text
    for part in table["lowered"]:
        part |= {"measured": VISIBLE["markup"], "operators": [VISIBLE["markup"]]}
    sign(folder, table)
    return folder


@pytest.mark.parametrize("arguments", [("show",), ("show", "--json")])
def test_models_show_escapes_hidden_characters(
    bundle: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    monkeypatch.setattr(sys, "argv", ["mujo-edge", "models", *arguments, str(bundle)])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert caught.value.code in (0, None), captured.err
    for text in (VISIBLE["markup"], VISIBLE["HTML"], VISIBLE["template"]):
        assert text in captured.out
    if "--json" not in arguments:
        assert captured.out.count(VISIBLE["markup"]) == 4  # made, measured twice, a label
        assert str(bundle) in captured.out


@pytest.mark.parametrize("what", HIDDEN)
def test_error_shows_no_control_character(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what in ("NUL", "surrogate"):  # cannot occur in a command-line argument
        return
    monkeypatch.setattr(sys, "argv", ["mujo-edge", "models", "show", HIDDEN[what]])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr().err
    assert caught.value.code == 2
    assert captured.startswith("mujo-edge: no bundle at ")
    assert hidden_in(captured) == []
