"""Runtimes of model files: one Protocol (`mujo_edge.core.Runtime`), one module per runtime, imported on demand."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from mujo_edge.core import MissingExtraError, Runtime, UsageError, pip_install


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A runtime: our `module`, the distribution `package` that it needs, and the module `imports` of that.

    `format` is the "runtime" in `bundle.json` of the model files that it can open; `extra` is the extra of mujo-edge
    that brings it, "" for none. `newest_python` is the last version for which the package has wheels, None without a
    limit.
    """

    name: str
    format: str
    package: str
    imports: str
    module: str
    extra: str
    needs_numpy_1: bool = False
    newest_python: tuple[int, int] | None = None

    @property
    def install(self) -> str:
        """The pip command that installs it."""
        return pip_install(self.extra) + (" (in an environment of its own)" if self.needs_numpy_1 else "")

    @property
    def version(self) -> str | None:
        """Version of the installed package; None where it is not installed."""
        try:
            return version(self.package) if find_spec(self.imports.partition(".")[0]) else None
        except PackageNotFoundError:
            return None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be used here; None if it can."""
        if not self.version and self.newest_python and sys.version_info[:2] > self.newest_python:
            newest = ".".join(map(str, self.newest_python))
            return f"{self.package} has no wheels for Pythons after {newest}; use LiteRT, or Python {newest}"
        if not self.version:
            return f"{self.package} is not installed"
        # Compiled against numpy 1, it can be imported with numpy 2, but fails to create an interpreter.
        if self.needs_numpy_1 and not version("numpy").startswith("1."):
            return f"{self.package} {self.version} needs numpy below 2, and numpy {version('numpy')} is installed"
        return None


RUNTIMES = {
    info.name: info
    for info in (
        RuntimeInfo(
            name="litert",
            format="litert",
            package="ai-edge-litert",
            imports="ai_edge_litert.interpreter",
            module="mujo_edge.runtimes.litert",
            extra="",
        ),
        RuntimeInfo(
            name="tflite-runtime",
            format="litert",
            package="tflite-runtime",
            imports="tflite_runtime.interpreter",
            module="mujo_edge.runtimes.tflite_runtime",
            extra="tflite",
            needs_numpy_1=True,
            newest_python=(3, 11),
        ),
        RuntimeInfo(
            name="executorch",
            format="executorch",
            package="executorch",
            imports="executorch.extension.pybindings.portable_lib",
            module="mujo_edge.runtimes.executorch",
            extra="executorch",
        ),
        RuntimeInfo(
            name="onnx",
            format="onnx",
            package="onnxruntime",
            imports="onnxruntime",
            module="mujo_edge.runtimes.onnx",
            extra="onnx",
        ),
    )
}
"""Every runtime by name, in the order in which `auto` tries them."""


def choose_runtime(name: str = "auto") -> RuntimeInfo:
    """The runtime called `name`; "auto" is LiteRT, or tflite-runtime where LiteRT is not installed.

    Raises:
        UsageError: no such runtime.
        MissingExtraError: it cannot be used here; the message has the pip command.
    """
    if name == "auto":
        usable = [info for info in (RUNTIMES["litert"], RUNTIMES["tflite-runtime"]) if not info.obstacle]
        if not usable:
            raise MissingExtraError(f"no runtime can be used. Install LiteRT with: {RUNTIMES['litert'].install}")
        return usable[0]
    if name not in RUNTIMES:
        raise UsageError(f"no runtime is called {name!r}; choose one of: auto, {', '.join(RUNTIMES)}")
    info = RUNTIMES[name]
    if info.obstacle:
        raise MissingExtraError(f"{info.obstacle}. Install it with: {info.install}")
    return info


def open_model(model: bytes, runtime: str = "auto", threads: int = 1) -> Runtime:
    """Load the content of a model file into a runtime.

    Raises:
        UsageError: no such runtime, or `threads` below 1.
        MissingExtraError: the runtime cannot be used here.
        DataError: the runtime does not accept the content.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}; it must be 1 or more")
    opened: Runtime = import_module(choose_runtime(runtime).module).open_model(model, threads)
    return opened
