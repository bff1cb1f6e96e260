"""Where model files run: one Protocol (`mujo_edge.core.Runtime`), one module a runtime, imported when opened."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from mujo_edge.core import MissingExtraError, Runtime, UsageError


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """`module` is ours, `package` the distribution that it needs, `probe` that package's import name.

    `format` is the value of a model file's "runtime" in `bundle.json` that this runtime can open;
    `install` is the pip line that adds it.
    """

    name: str
    format: str
    package: str
    probe: str
    module: str
    install: str

    @property
    def version(self) -> str | None:
        """Version of the installed package; None where it is not installed."""
        try:
            return version(self.package) if find_spec(self.probe) else None
        except PackageNotFoundError:
            return None


RUNTIMES = {
    info.name: info
    for info in (
        RuntimeInfo(
            "litert", "litert", "ai-edge-litert", "ai_edge_litert", "mujo_edge.runtimes.litert", "pip install mujo-edge"
        ),
        RuntimeInfo(
            "tflite-runtime",
            "litert",
            "tflite-runtime",
            "tflite_runtime",
            "mujo_edge.runtimes.tflite_runtime",
            "pip install 'mujo-edge[tflite]'",
        ),
        RuntimeInfo(
            "executorch",
            "executorch",
            "executorch",
            "executorch",
            "mujo_edge.runtimes.executorch",
            "pip install 'mujo-edge[executorch]'",
        ),
        RuntimeInfo(
            "onnx",
            "onnx",
            "onnxruntime",
            "onnxruntime",
            "mujo_edge.runtimes.onnx",
            "pip install 'mujo-edge[onnx]'",
        ),
    )
}
"""Every runtime by name, in the order in which `auto` tries them."""


def choose_runtime(name: str = "auto") -> RuntimeInfo:
    """The runtime called `name`; "auto" is LiteRT, or tflite-runtime where LiteRT is not installed.

    Raises:
        UsageError: no such runtime.
        MissingExtraError: it is not installed; the message names the pip line.
    """
    if name == "auto":
        for info in (RUNTIMES["litert"], RUNTIMES["tflite-runtime"]):
            if info.version:
                return info
        raise MissingExtraError(f"no runtime is installed. Install LiteRT with: {RUNTIMES['litert'].install}")
    if name not in RUNTIMES:
        raise UsageError(f"no runtime is called {name!r}; choose one of: auto, {', '.join(RUNTIMES)}")
    info = RUNTIMES[name]
    if not info.version:
        raise MissingExtraError(f"{info.package} is not installed. Install it with: {info.install}")
    return info


def open_model(model: bytes, runtime: str = "auto", threads: int = 1) -> Runtime:
    """Load the content of a model file into a runtime.

    Raises:
        UsageError: no such runtime, or `threads` below 1.
        MissingExtraError: the runtime is not installed.
        DataError: the runtime does not accept the content.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}; it must be 1 or more")
    opened: Runtime = import_module(choose_runtime(runtime).module).open_model(model, threads)
    return opened
