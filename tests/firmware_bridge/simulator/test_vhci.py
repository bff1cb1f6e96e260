"""Errors of the simulator on the kernel's own Bluetooth; `test_vm.py` tests its operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.simulator import vhci
from firmware_bridge.simulator.faults import parse


async def test_kernel_without_vhci_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vhci, "DEVICE", tmp_path / "vhci")
    with pytest.raises(OSError, match="modprobe hci_vhci"):
        async with vhci.KernelWorld({}):
            pass


async def test_unsupported_fault_is_rejected() -> None:
    with pytest.raises(ValueError, match="leave that fault out"):
        await vhci.KernelWorld({}).run([parse("0 disconnect 1"), parse("0 refuse 1")])
