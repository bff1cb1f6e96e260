"""`mujo-edge serve` as a user runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from typer.testing import CliRunner

from mujo_edge.cli import app
from mujo_edge.core import MissingExtraError, UsageError
from mujo_edge.export.web import build


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing is no exported web folder"),
        (["--host", "a/b"], "--host a/b"),
        ([".", "--certificate", "cert.pem"], "--certificate and --key go together"),
        ([".", "--certificate", "cert.pem", "--key", "key.pem"], "are no certificate and its key"),
    ],
)
def test_invalid_arguments_are_usage_errors(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mujo_edge.cli.serve._exported", lambda out: pytest.fail("nothing is to be exported"))
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


async def test_shipped_bundle_is_exported_and_served_until_ctrl_c(tmp_path: Path) -> None:
    try:
        build()
    except MissingExtraError as error:
        pytest.skip(f"what the page is built with is not installed: {error}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mujo_edge", "serve", "--port", "0",
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    output = ""
    async with asyncio.timeout(60):
        while "  http" not in output:
            output += (await process.stderr.readline()).decode()
    async with ClientSession() as session:
        for name in ("", "mujo.json", "student_int8_float_io.tflite", "golden/cases.csv", "README.md"):
            async with session.get(output.split()[-1] + name) as answer:
                assert answer.status == 200
                assert len(await answer.read()) > 100
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        await process.communicate()
    assert process.returncode == 0
    assert not list(tmp_path.glob("mujo-edge-*"))
