"""Bluetooth as on a desktop: the kernel's stack, bluetoothd and unmodified mujo-edge in a virtual machine."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.simulator import vm
from firmware_bridge.stream import G

pytestmark = pytest.mark.vm

GUEST = Path(__file__).parent / "vm_guest.py"
RATE_HZ = 52


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Path:
    if packages := vm.missing():
        pytest.skip(f"not installed: {', '.join(packages)}")
    folder = Path(request.config.cache.mkdir("vm"))
    vm.build(folder)
    return folder


def test_labels_return_after_a_lost_connection_and_bluetooth_off(machine: Path) -> None:
    call = shlex.join([sys.executable, str(GUEST), "--vhci"])
    done = vm.boot(machine, f"{call} && exit 7", stdout=subprocess.PIPE)
    assert done.returncode == 7, f"{done.stdout[-4000:]}\n{done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    summary = report["summary"]
    assert (report["code"], summary["ended"]) == (0, "interrupted")
    assert (len(report["predictions"]), min(report["predictions"]) >= 2) == (3, True)
    assert (summary["gaps"], summary["notes"][0]) == (2, "reconnected 2 times")

    t, ax, ay, az = np.array(report["rows"]).T
    np.testing.assert_allclose(az, G, atol=0.01)
    np.testing.assert_allclose(ay, 0, atol=0.01)
    assert ax.max() == pytest.approx(G / 2, abs=0.06)  # a sine of 1 Hz, whose crest falls between two samples
    assert ax.min() == pytest.approx(-G / 2, abs=0.06)

    # No notification twice, and every sample between the first and the last either here or counted as lost.
    steps = np.diff(t) * RATE_HZ
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.05)
    assert np.rint(steps).min() == 1
    assert round(steps.sum()) + 1 == len(t) + summary["lost"]
    assert (summary["samples"], summary["repeated"], summary["lost"] > 40) == (len(t), 0, True)
    assert len(t) <= report["counts"]["notified"]


def test_missing_programs_are_named_by_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"apt-get install .*qemu-system-x86"):
        vm.build(tmp_path)
