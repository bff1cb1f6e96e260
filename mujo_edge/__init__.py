"""Human activity recognition from a live IMU stream, on the device.

    import mujo_edge as mujo

    for p in mujo.recognize(mujo.ble()):                    # a wearable; or serial(), phone(), replay("walk.csv")
        print(p.label, p.score)

    bundle = mujo.ModelBundle.load()                        # the model that comes with the package
    z = bundle.embed(x)                                     # x (N, 3 or 6, 150): m/s2 with gravity, rad/s, 50 Hz
    mine = bundle.fit_labels(x, ["squat", "rest", ...])     # a label set of your own, for `recognize` and export
    bundle.classify(x, mine)                                # [("squat", 0.97), ...]

Units: m/s2 *with* gravity, rad/s, seconds. A mistake that a user can fix raises `MujoError`, whose message says how.

The public names are loaded on first use, so that ``import mujo_edge`` costs next to nothing. It switches off the usage
reports of libraries that may be imported later; see `mujo_edge.telemetry`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mujo_edge import telemetry
from mujo_edge.version import __version__

if TYPE_CHECKING:
    from mujo_edge.api import Recognition, ble, phone, recognize, replay, serial
    from mujo_edge.bundle import LabelSet, ModelBundle
    from mujo_edge.core import Bout, Chunk, Gap, MujoError, Prediction, Repetition, Source, StreamInfo, Window
    from mujo_edge.recognizer import Recognizer
    from mujo_edge.sinks import Sink, Summary

__all__ = [
    "Bout",
    "Chunk",
    "Gap",
    "LabelSet",
    "ModelBundle",
    "MujoError",
    "Prediction",
    "Recognition",
    "Recognizer",
    "Repetition",
    "Sink",
    "Source",
    "StreamInfo",
    "Summary",
    "Window",
    "__version__",
    "ble",
    "phone",
    "recognize",
    "replay",
    "serial",
]

telemetry.switch_off()

_HOME = {
    **dict.fromkeys(("Recognition", "ble", "phone", "recognize", "replay", "serial"), "api"),
    **dict.fromkeys(("LabelSet", "ModelBundle"), "bundle"),
    **dict.fromkeys(("Bout", "Chunk", "Gap", "MujoError", "Prediction", "Repetition"), "core"),
    **dict.fromkeys(("Source", "StreamInfo", "Window"), "core"),
    **dict.fromkeys(("Sink", "Summary"), "sinks"),
    "Recognizer": "recognizer",
}
"""Public name -> module of `mujo_edge` that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mujo_edge' has no attribute {name!r}")
    value = getattr(import_module(f"mujo_edge.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
