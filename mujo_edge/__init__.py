"""mujo-edge: human activity recognition from a live IMU stream, on the device.

The public names are loaded on first use, so that ``import mujo_edge`` costs next to nothing. It switches off the usage
reports of libraries that may be imported later; see `mujo_edge.telemetry`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mujo_edge import telemetry

if TYPE_CHECKING:
    from mujo_edge.bundle import ModelBundle
    from mujo_edge.core import Chunk, Prediction, StreamInfo, Window
    from mujo_edge.recognizer import Recognizer

__version__ = "0.1.0"
__all__ = ["Chunk", "ModelBundle", "Prediction", "Recognizer", "StreamInfo", "Window", "__version__"]

telemetry.switch_off()

_HOME = {"ModelBundle": "bundle", "Recognizer": "recognizer"}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module 'mujo_edge' has no attribute {name!r}")
    return getattr(import_module(f"mujo_edge.{_HOME.get(name, 'core')}"), name)
