"""The commands with phones, run as a user does."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from firmware_bridge.simulator.motion import sine
from firmware_bridge.simulator.phone import PhyphoxPhone


async def call(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, stdout=pipe, stderr=pipe)


async def result(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def shown(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The URL on stderr, and the text before it."""
    assert process.stderr
    output = ""
    async with asyncio.timeout(60):
        while "  http" not in output:
            output += (await process.stderr.readline()).decode()
    return output.split()[-1], output


async def test_recorded_phone_session_decodes_to_the_same_samples(tmp_path: Path) -> None:
    folder = str(tmp_path / "walk")
    async with PhyphoxPhone(sine).open() as url:
        recorded = await call("mujo_edge", "record", folder, "--phone", "phyphox", "--url", url, "--duration", "4")
        code, _, output = await result(recorded)
        assert code == 0, output
    runs = []
    for again in ((), ("--decode-again",)):
        code, out, output = await result(
            await call("mujo_edge", "stream", "--replay", folder, "--speed", "max", *again)
        )
        assert code == 0, output
        lines = [json.loads(line) for line in out.splitlines()]
        runs.append([(line["label"], line["scores"]) for line in lines if line["type"] == "prediction"])
        assert lines[-1]["channels"] == ["ax", "ay", "az", "gx", "gy", "gz"]
    assert runs[0]
    assert runs[0] == runs[1][: len(runs[0])]  # the bytes may hold some samples after the four seconds


async def test_ctrl_c_ends_the_wait_for_a_phone() -> None:
    process = await call("mujo_edge", "stream", "--phone", "browser", "--port", "0")
    url, output = await shown(process)
    assert url.startswith("http://127.0.0.1:")
    assert "█" not in output  # no phone reaches this address
    process.send_signal(signal.SIGINT)
    code, out, output = await result(process)
    assert code not in (0, None)
    assert (out, "Traceback" in output) == ("", False)


async def test_command_streams_from_a_simulated_phone() -> None:
    process = await call("mujo_edge", "stream", "--phone", "browser", "--port", "0", "--duration", "4")
    url, _ = await shown(process)
    stand_in = await call("firmware_bridge.simulator", "phone", "browser", "--url", url)
    (code, out, output), (stand_in_code, labels, _) = await asyncio.gather(result(process), result(stand_in))
    assert (code, stand_in_code) == (0, 0), output
    predicted = {json.loads(line)["label"] for line in out.splitlines() if '"prediction"' in line}
    assert predicted
    assert {line.rpartition(" ")[0] for line in labels.splitlines()[:-1]} == predicted
    assert labels.splitlines()[-1] == "closed: (1001, 'mujo-edge has ended')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("phone", "walkman"), "no app is called 'walkman'"),
        (("phone", "browser"), "Give --url"),
        (("phone", "phyphox", "--motion", "nowhere"), "nowhere"),
    ],
)
async def test_simulated_phone_rejects_invalid_arguments(arguments: tuple[str, ...], message: str) -> None:
    code, _, error = await result(await call("firmware_bridge.simulator", *arguments))
    assert code == 2
    assert message in error
    assert "Traceback" not in error
