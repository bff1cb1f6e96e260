"""What the kernel's own Bluetooth refuses; that it works is shown in the virtual machine (`test_vm.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.simulator import vhci
from firmware_bridge.simulator.faults import parse


async def test_a_kernel_without_virtual_adapters_is_told_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vhci, "DEVICE", tmp_path / "vhci")
    with pytest.raises(OSError, match="modprobe hci_vhci"):
        async with vhci.KernelWorld({}):
            pass


async def test_a_fault_that_only_the_stand_in_has_is_refused() -> None:
    with pytest.raises(ValueError, match="leave that fault out"):
        await vhci.KernelWorld({}).run([parse("0 disconnect 1"), parse("0 refuse 1")])
