"""`python -m training.corpora` from the command line."""

from __future__ import annotations

import csv
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from made_corpora import zip_folder
from typer.testing import CliRunner

from mujo_edge.core import DataError, UsageError
from training.corpora import CORPORA, registry
from training.corpora.__main__ import app, main
from training.corpora.base import Download

ROOT = Path(__file__).resolve().parents[3]
runner = CliRunner()


def call(*arguments: object) -> str:
    """Output of a command that must succeed; its errors are raised."""
    result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr("training.corpora.__main__.console.width", 200, raising=False)
    monkeypatch.setattr("training.corpora.__main__.console._width", 200)


def test_list_shows_every_data_set(make, monkeypatch):
    root = make("motionsense").parent
    monkeypatch.setenv("MUJO_DATA", str(root))
    lines = {line.split()[0]: line.split() for line in call("list").splitlines() if line.strip()}
    assert lines["motionsense"][1:] == ["18", "3", "6", "0.03", "50", "MIT"]
    assert lines["mhealth"][1:3] == ["not", "here"]


def test_truncated_zip_does_not_hide_other_data_sets(make, monkeypatch):
    root = make("mhealth").parent
    archive = zip_folder(make("motionsense"), root / "motionsense.zip")
    shutil.rmtree(root / "motionsense")
    archive.write_bytes(archive.read_bytes()[:5000])
    monkeypatch.setenv("MUJO_DATA", str(root))
    output = call("list")
    assert "motionsense.zip is not a complete zip archive" in output
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert lines["mhealth"][1] == "6"
    assert lines["motionsense"][1:3] == ["not", "here"]
    assert registry.load("mhealth")
    for command in (partial(registry.load, "motionsense"), partial(call, "check", archive)):
        with pytest.raises(DataError, match="not a complete zip archive"):
            command()


def test_check_counts_the_publishers_files(layout):
    """Generated data sets are valid, but most have fewer files than the publisher's."""
    name, folder = layout
    result = runner.invoke(app, ["check", str(folder)])
    files = CORPORA[name].files
    if files in (None, 1):
        assert "No problems." in result.output
        assert result.exit_code == 0
    else:
        assert f"of the publisher's {files} files" in result.output
        assert isinstance(result.exception, DataError)


def test_check_accepts_an_undamaged_data_set(make):
    output = call("check", make("mm_fit"))
    assert "MM-Fit" in output
    assert "No problems." in output


def test_check_lists_every_problem(make):
    folder = make("motionsense")
    for trial, text in (("dws_1", "cut,"), ("wlk_7", "")):
        (folder / trial / "sub_2.csv").write_text(text)
    result = runner.invoke(app, ["check", str(folder)])
    assert isinstance(result.exception, DataError)
    assert "dws_1/sub_2.csv" in result.output
    assert "wlk_7/sub_2.csv" in result.output
    assert "19 of the publisher's 360 files" in result.output
    assert "16" in result.output.split("MIT")[0]  # the sound ones were read all the same


def test_check_draws(make, tmp_path):
    picture = tmp_path / "watch.png"
    output = call("check", make("mm_fit"), "--plot", picture, "--session", "w12 sw_l")
    assert "Drew w12 sw_l" in output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_check_draws_accelerometer_only(make, tmp_path):
    picture = tmp_path / "wrist.svg"
    result = runner.invoke(app, ["check", str(make("muvr")), "--plot", str(picture)])
    assert "Drew" in result.output
    assert "angular rate" not in picture.read_text()


def test_check_rejects_unknown_sessions_and_picture_formats(make, tmp_path):
    with pytest.raises(UsageError, match="no recording called 'w99'"):
        call("check", make("mm_fit"), "--plot", tmp_path / "x.png", "--session", "w99")
    with pytest.raises(DataError, match=r"ends in \.png"):
        call("check", tmp_path / "mm_fit", "--plot", tmp_path / "x.docx")


def test_check_rejects_missing_and_unrelated_folders(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        call("check", tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="holds none of the known data sets"):
        call("check", tmp_path)


def test_windows_command_writes_the_windows(make, tmp_path):
    root = make("sp_sw_watch").parent
    table = tmp_path / "windows.csv"
    output = call("windows", "sp_sw_watch", "--data", root, "--csv", table)
    assert "8 windows of 3 s, 2 people" in output
    rows = list(csv.DictReader(table.open()))
    assert {row["person"] for row in rows} == {"01", "02"}
    assert sum(int(row["windows"]) for row in rows) == 8
    assert {row["class"] for row in rows} == set(CORPORA["sp_sw_watch"].classes)


@pytest.fixture
def server(tmp_path):
    """Local HTTP server -> (URL, its folder)."""
    folder = tmp_path / "www"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()


@pytest.fixture
def publish(server, make, monkeypatch):
    """Serve MotionSense, with `sha256` in its registry entry."""
    address, folder = server
    archive = zip_folder(make("motionsense"), folder / "A_DeviceMotion_data.zip")

    def offer(sha256: str | None = None, filename: str = archive.name) -> bytes:
        source = Download(f"{address}/{filename}", archive.name, sha256)
        monkeypatch.setitem(registry.CORPORA, "motionsense", replace(CORPORA["motionsense"], download=source))
        return archive.read_bytes()

    return offer


@pytest.mark.parametrize("known", [True, False])
def test_download_fetches_and_verifies_the_archive(known, publish, tmp_path):
    content = publish()
    publish(hashlib.sha256(content).hexdigest() if known else None)
    output = call("download", "motionsense", "--data", tmp_path / "data")
    saved = tmp_path / "data" / "motionsense" / "A_DeviceMotion_data.zip"
    assert saved.read_bytes() == content
    assert output.index("MIT") < output.index("Malekzadeh") < output.index("Saved")
    assert len(registry.load("motionsense", tmp_path / "data")) == 18


def test_license_is_printed_before_the_download(publish, tmp_path):
    publish(filename="gone.zip")
    result = runner.invoke(app, ["download", "motionsense", "--data", str(tmp_path / "data")])
    assert "License:  MIT" in result.output
    assert "Malekzadeh" in result.output
    assert isinstance(result.exception, DataError)
    assert "404" in str(result.exception)
    assert not list((tmp_path / "data").rglob("*.zip"))


def test_download_with_a_wrong_hash_is_rejected(publish, tmp_path):
    publish("0" * 64)
    with pytest.raises(DataError, match="not the published one"):
        call("download", "motionsense", "--data", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.zip"))


def test_download_of_an_unrelated_file_is_rejected(publish, server, tmp_path):
    (server[1] / "A_DeviceMotion_data.zip").write_text("<html>moved</html>")
    publish()
    with pytest.raises(DataError, match="is cut off or no longer MotionSense"):
        call("download", "motionsense", "--data", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.zip"))


def test_download_from_an_unreachable_host_is_an_error(monkeypatch, tmp_path):
    source = Download("http://127.0.0.1:9/x.zip", "x.zip")
    monkeypatch.setitem(registry.CORPORA, "motionsense", replace(CORPORA["motionsense"], download=source))
    with pytest.raises(DataError, match="could not be fetched"):
        call("download", "motionsense", "--data", tmp_path)


@pytest.mark.parametrize("name", [n for n, c in CORPORA.items() if c.download is None])
def test_download_without_a_public_url_says_where_to_ask(name, tmp_path):
    with pytest.raises(UsageError) as caught:
        call("download", name, "--data", tmp_path)
    assert CORPORA[name].home in str(caught.value)


def test_main_turns_errors_into_exit_codes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["corpora", "download", "nothing"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == UsageError.exit_code
    assert capsys.readouterr().err.startswith("error: no data set is called 'nothing'")


def test_exit_code_of_the_process(tmp_path):
    command = [sys.executable, "-m", "training.corpora", "check", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == DataError.exit_code
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
