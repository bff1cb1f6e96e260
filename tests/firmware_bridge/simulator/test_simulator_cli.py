"""`python -m firmware_bridge.simulator ble`, and the process that tests and benchmarks talk to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bleak import BleakScanner
from bluetooth import StartWorld, bluetooth

from firmware_bridge.simulator.remote import RemoteWorld

__all__ = ["bluetooth"]

SIMULATOR = (sys.executable, "-m", "firmware_bridge.simulator")
RECORDING = Path(__file__).parents[3] / "mujo_edge" / "assets" / "recordings" / "spar-10"


def simulate(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.run([*SIMULATOR, *arguments], capture_output=True, text=True, timeout=60, env=env)


def ends(pid: int) -> bool:
    """Whether a process ends (or is a zombie) soon."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def test_documented_walkthrough_gives_labels(tmp_path: Path) -> None:
    stream = f"{sys.executable} -m mujo_edge stream --ble --duration 6 --json"
    ran = simulate("ble", f"--bus={tmp_path}/bus", "--motion", str(RECORDING), "--run", stream)
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert events[-1]["source"] == "WT901BLE67"
    assert len([event["label"] for event in events if event["type"] == "prediction"]) >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--wearable", "abacus"), "no wearable is called 'abacus'.\nThere are: all, "),
        (("--fault", "1 flood 2"), "no fault is called 'flood'; choose from loss, "),
        (("--fault", "1 loss 0.5 polar"), "no wearable is called 'polar'; there are witmotion"),
        (("--faults", "/nowhere/script"), "/nowhere/script: No such file or directory"),
        (("--motion", "/nowhere/folder"), "/nowhere/folder"),
    ],
)
def test_invalid_usage_is_explained(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    ran = simulate("ble", f"--bus={tmp_path}/bus", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert len(ran.stderr.splitlines()) <= 2


def test_missing_dbus_daemon_names_the_package(tmp_path: Path) -> None:
    ran = simulate("ble", f"--bus={tmp_path}/bus", path="/nowhere")
    assert ran.returncode == 2
    assert ran.stderr == "simulator: dbus-daemon is not installed.\nInstall it with: sudo apt install dbus\n"


def test_missing_bumble_names_the_extra() -> None:
    call = "from firmware_bridge.simulator.__main__ import main; main(['ble'])"
    code = f"import sys; sys.modules['bumble'] = None; {call}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 5
    assert ran.stderr == "simulator: bumble is not installed.\nInstall it with: pip install 'mujo-edge[sim]'\n"


def test_second_simulator_at_a_socket_is_an_error() -> None:
    with RemoteWorld("witmotion") as world:
        ran = simulate("ble", "--bus", world.address.removeprefix("unix:path="))
    assert ran.returncode == 2
    assert "End it, or choose another socket with --bus" in ran.stderr


def test_run_command_gets_the_bus_and_sets_the_exit_code(tmp_path: Path) -> None:
    ran = simulate("ble", f"--bus={tmp_path}/bus", "--run", "echo $DBUS_SYSTEM_BUS_ADDRESS; exit 3")
    assert (ran.returncode, ran.stdout) == (3, f"unix:path={tmp_path}/bus\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_simulator_and_its_bus(tmp_path: Path, number: signal.Signals) -> None:
    bus = tmp_path / "bus"
    process = subprocess.Popen([*SIMULATOR, "ble", f"--bus={bus}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "In another terminal:\n"
        assert process.stdout.readline().strip() == f"export DBUS_SYSTEM_BUS_ADDRESS=unix:path={bus}"
        (daemon,) = children(process.pid)
        process.send_signal(number)
        assert process.wait(20) == 0
    assert ends(daemon)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_remote_world_is_controlled_over_pipes(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", "mujo", "polar-h10", options=("--rate", "25"))
    assert list(world.stats()) == ["mujo", "mujo-2", "polar-h10"]
    assert world.stats()["mujo-2"]["rate_hz"] == 25
    assert len(await BleakScanner.discover(timeout=0.5)) == 3
    away = world.fault("0 disconnect 30 mujo-2")["mujo-2"]["address"]
    assert away not in {device.address for device in await BleakScanner.discover(timeout=0.5)}
    with pytest.raises(ValueError, match="no wearable is called 'polar'"):
        world.fault("0 skip 1 polar")
    assert world.stats()["mujo"]["sent"] == 0


def test_remote_world_leaves_nothing_behind() -> None:
    with RemoteWorld("witmotion") as world:
        process = world._process.pid
        (daemon,) = children(process)
        os.kill(process, signal.SIGKILL)
        assert ends(daemon)
    assert ends(process)
    assert not Path(world.address.removeprefix("unix:path=")).parent.exists()


def test_remote_world_that_does_not_start_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="the simulator ended"), RemoteWorld("abacus"):
        pass
    assert "no wearable is called 'abacus'" in capfd.readouterr().err
