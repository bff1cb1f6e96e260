"""Usage reports that libraries send on their own, switched off: nothing leaves the machine unasked.

Importing `mujo_edge`, `training` or `benchmarks` calls `switch_off` before any of these libraries can be imported, and
child processes inherit the environment. A variable that the user has set stays as it is.
"""

from __future__ import annotations

import os

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29 (its Privacy.md); too late once it is imported
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and transformers through it
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray (its usage_lib)
}
"""Environment variable -> the value that switches a library's usage reports off."""


def switch_off() -> None:
    """Set each variable of `OFF` that is not set."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)


def switched_on() -> list[str]:
    """Variables of `OFF` to which the user gave another value, as NAME=VALUE."""
    return [f"{name}={os.environ.get(name, '')}" for name, value in OFF.items() if os.environ.get(name) != value]
