"""No byte leaves the machine unasked, and no file appears unasked: commands under strace, in an empty home and without
the variables of a CI."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from generated_motion import ROOT
from watched import Watched, environment, watch

from mujo_edge import telemetry
from mujo_edge.bundle.store import find_bundle
from mujo_edge.runtimes import RUNTIMES

MUJO = ("-m", "mujo_edge")
LIVE = (*MUJO, "stream", "--json", "--speed", "8", "--runtime")
"""19 s: onnxruntime, where it may, asks for its server's address between the 5th and the 10th."""

ONNXRUNTIME_CACHE = "Microsoft/DeveloperTools/.onnxruntime"
COMMANDS = {
    "doctor": ("doctor",),
    "models list": ("models", "list"),
    "models show": ("models", "show"),
    "models names": ("models", "names", "squat"),
    "models verify": ("models", "verify"),
    "benchmark": ("benchmark", "--calls", "100", "--out", "out/report.html"),
    "stream by names": ("stream", "--json", "--speed", "max", "--labels", "squat, juggling with oranges"),
    "record": ("record", "out/session", "--json", "--speed", "max"),
    "export android": ("export", "--target", "android", "--out", "out"),
    "export ios": ("export", "--target", "ios", "--out", "out"),
    "export mcu": ("export", "--target", "mcu", "--out", "out"),
}
"""All commands except those of the web app (its first build downloads npm packages) and those that use devices."""


def new_home(folder: Path) -> Path:
    """An empty home directory, with a folder `out` for requested files."""
    (folder / "out").mkdir(parents=True)
    return folder


def assert_silent(done: Watched, home: Path, *allowed: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert done.calls == []
    assert done.outside(home / "out", home / "tmp", home / ".cache" / "mujo-edge", *allowed) == []


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, Future[Watched]]]]:
    """`mujo-edge stream` in each runtime, all at once since they mostly wait; and, under "on", in onnxruntime with its
    telemetry, which cannot reach anything."""
    base = tmp_path_factory.mktemp("live")
    with ThreadPoolExecutor(len(RUNTIMES) + 1) as pool:
        homes = {name: new_home(base / name) for name in (*RUNTIMES, "on")}
        running = {
            name: (home, pool.submit(watch, (*LIVE, name), home)) for name, home in homes.items() if name in RUNTIMES
        }
        on = {"ORT_DISABLE_TELEMETRY": "0"}
        running["on"] = (homes["on"], pool.submit(watch, (*LIVE, "onnx"), homes["on"], on, refuse=True))
        yield running


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_recognizing_stays_silent_in_each_runtime(live: dict[str, tuple[Path, Future[Watched]]], runtime: str) -> None:
    if RUNTIMES[runtime].obstacle:
        # Only tflite-runtime, which needs numpy 1 and so an environment of its own, may be absent here.
        assert runtime == "tflite-runtime", RUNTIMES[runtime].obstacle
        pytest.skip("tflite-runtime needs numpy 1")
    home, running = live[runtime]
    done = running.result()
    assert '"prediction"' in done.stdout
    assert_silent(done, home)


def test_default_telemetry_of_onnxruntime_is_detected(live: dict[str, tuple[Path, Future[Watched]]]) -> None:
    """Control experiment: telemetry is observed if the user's own setting enables it."""
    home, running = live["on"]
    done = running.result()
    assert done.returncode == 0, done.stderr
    assert home / ".cache" / ONNXRUNTIME_CACHE / "deviceid" in done.outside(home / "out", home / "tmp")
    assert any("sin_port=htons(53)" in call for call in done.calls), done.calls


def test_connections_and_name_lookups_are_detected(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    code = "import socket; socket.create_connection(('192.0.2.1', 9), 1)"
    assert any("connect(" in call and "192.0.2.1" in call for call in watch(("-c", code), home, refuse=True).calls)
    assert watch(("-c", "import socket; socket.getaddrinfo('example.org', 443)"), home, refuse=True).calls
    assert watch(("-c", code.replace("192.0.2.1", "127.0.0.1")), home).calls == []


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_stay_silent(name: str, tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    done = watch((*MUJO, *COMMANDS[name]), home)
    fonts = [home / folder / "matplotlib" for folder in (".cache", ".config")]  # its list of fonts
    assert_silent(done, home, *(fonts if name == "benchmark" else []))
    if name == "doctor":
        assert "no library sends usage reports" in " ".join(done.stdout.split())


@pytest.mark.parametrize("package", ["mujo_edge", "training", "benchmarks"])
def test_each_package_switches_telemetry_off_before_anything_else(package: str, tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    code = f"import {package}, sys; assert 'onnxruntime' not in sys.modules; import onnxruntime"
    assert_silent(watch(("-c", code), home), home)


def test_test_suite_sends_nothing() -> None:
    assert telemetry.switched_on() == []


def test_users_own_telemetry_setting_is_kept(tmp_path: Path) -> None:
    code = "import os, mujo_edge; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    variables = environment(tmp_path) | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


def test_lowering_and_embedding_text_stay_silent(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    done = watch((ROOT / "tests" / "lowers.py",), home)
    assert_silent(done, home, Path("/var/lib/libuuid"))  # the clock of onnx's uuid1
    assert done.stdout.endswith("(16, 64) torch.Size([1, 384])\n")


def test_conformance_run_stays_silent(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    np.save(home / "x.npy", np.zeros((1, 6, 1, 150), np.float32))
    child = ("-m", "benchmarks.conformance.child", find_bundle() / "student_int8.onnx", "onnx", home / "x.npy")
    assert_silent(watch(child, home), home)


async def test_hub_client_connects_to_the_hub_only(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "mujo_edge"))
    from hub_stand_in import running_hub

    async with running_hub() as hub:
        home = new_home(tmp_path / "home")
        hub.cdn = hub.url.replace("127.0.0.1", "127.1")  # another host, but no name to look up
        more = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_anna"}
        push = (*MUJO, "models", "push", find_bundle(), "anna/student")
        pull = (*MUJO, "models", "pull", "anna/student", "--out", "out")
        for command in (push, pull):
            assert_silent(await asyncio.to_thread(watch, command, home, more), home)
        assert hub.strange == []
        assert (home / "out" / "student" / "bundle.json").is_file()
