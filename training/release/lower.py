"""Models for runtimes that exist only on the device: Core ML on Apple's, CMSIS-NN on a Cortex-M.

ExecuTorch lowers the graphs. The files themselves cannot be run here; the closest equivalent that Python can run is
compared with fp32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mujo_edge.core import F32
from training.models.inference import float_embeddings, frozen
from training.release.metadata import ModelMetadata
from training.release.quantize import example, observe
from training.support.quiet import quiet

CPU = "cortex-m4"
"""Target of the CMSIS-NN kernels and scratch buffers of the .pte: DSP extension, no vector extension."""

BATCH = 64
"""Windows per call of the reference operators, which loop over channels in Python."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A lowered file: `content`, the `operators` that its backend needs, `embeddings` (N, D) of its equivalent."""

    content: bytes
    operators: tuple[str, ...]
    embeddings: F32


@dataclass(frozen=True, slots=True)
class Backend:
    """A target. `needs` is the module that `install` (a pip command) installs; `measured` describes what gave the
    `embeddings`."""

    name: str
    file: str
    precision: Literal["int8", "fp16"]
    needs: str
    install: str
    measured: str
    lower: Callable[[nn.Module, F32, ModelMetadata, F32], Lowered]

    @property
    def obstacle(self) -> str | None:
        """Why the file cannot be made here; None if it can."""
        return None if find_spec(self.needs) else f"{self.needs} is not installed. Install it with: {self.install}"


@quiet()
def lower_coreml(model: nn.Module, calibration: F32, model_metadata: ModelMetadata, windows: F32) -> Lowered:
    """float16 .pte for Core ML, float32 input and output; an ML program that iOS 16 and macOS 13 can run.

    Operators are those of Core ML's ML program. `embeddings` are those of the network in float16 in PyTorch: they show
    the cost of the precision, not the results of Core ML's kernels.

    Raises:
        ValueError: the graph did not lower to exactly one Core ML program.
    """
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    specs = CoreMLBackend.generate_compile_specs(
        compute_unit=coremltools.ComputeUnit.ALL,
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.precision.FLOAT16,
    )
    lowered = to_edge_transform_and_lower(
        torch.export.export(frozen(model), example(calibration)),
        partitioner=[CoreMLPartitioner(compile_specs=specs)],
        constant_methods=model_metadata.constants(),
    )
    parts = get_lowered_submodules(lowered.exported_program().graph_module)
    if len(parts) != 1:
        raise ValueError(f"the network is {len(parts)} Core ML programs instead of 1; change the student's operators")
    operators = coreml_operators(parts[0][1].processed_bytes)
    half = float_embeddings(frozen(model).half(), windows.astype(np.float16)).astype(np.float32)
    return Lowered(bytes(lowered.to_executorch().buffer), operators, half)


def coreml_operators(payload: bytes) -> tuple[str, ...]:
    """Operators of the ML program that a .pte carries for Core ML, in the order in which they first run."""
    import coremltools
    from executorch.backends.apple.coreml import executorchcoreml

    with tempfile.TemporaryDirectory() as folder:
        if not executorchcoreml.unflatten_directory_contents(payload, folder):
            raise ValueError("the Core ML payload is not a model package")
        (model,) = Path(folder).rglob("*.mlmodel")
        program = coremltools.utils.load_spec(str(model)).mlProgram
    main = program.functions["main"]
    block = main.block_specializations[main.opset]
    return tuple(dict.fromkeys(operation.type for operation in block.operations if operation.type != "const"))


@quiet()
def lower_cortex_m(model: nn.Module, calibration: F32, model_metadata: ModelMetadata, windows: F32) -> Lowered:
    """Static int8 .pte whose operators are CMSIS-NN's, float32 input (channels last in memory) and output.

    `embeddings` come from the same lowered graph, with ExecuTorch's reference operators in Python.
    """
    from executorch.backends.cortex_m.edge_compile_config import cortex_m_edge_compile_config
    from executorch.backends.cortex_m.passes.cortex_m_pass_manager import CortexMPassManager
    from executorch.backends.cortex_m.quantizer.quantizer import CortexMQuantizer
    from executorch.backends.cortex_m.target_config import CortexMTargetConfig
    from executorch.exir import EdgeProgramManager, to_edge
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    network = frozen(model).to(memory_format=torch.channels_last)
    first = channels_last(*example(calibration))
    prepared = prepare_pt2e(torch.export.export(network, (first,)).module(check_guards=False), CortexMQuantizer())
    observe(prepared, calibration)
    quantized = convert_pt2e(prepared)
    config, target = cortex_m_edge_compile_config(), CortexMTargetConfig.from_target_string(CPU)

    def lowered(x: Tensor) -> Any:
        edge = to_edge(torch.export.export(quantized, (x,)), compile_config=config)
        return CortexMPassManager(edge.exported_program(), target_config=target).transform()

    # The batch size is fixed in the graph: a second one is lowered for BATCH windows.
    wide = lowered(channels_last(torch.zeros(BATCH, *first.shape[1:]))).module(check_guards=False)
    padded = np.concatenate([windows, np.zeros((-len(windows) % BATCH, *windows.shape[1:]), np.float32)])
    batches = torch.from_numpy(padded).split(BATCH)
    with torch.no_grad():
        embeddings = np.concatenate([wide(channels_last(batch)).numpy() for batch in batches])
    manager = EdgeProgramManager(lowered(first), model_metadata.input_constants(), config).to_executorch()
    plan = next(plan for plan in manager.executorch_program.execution_plan if plan.name == "forward")
    operators = tuple(operator.name.replace("::", ".") for operator in plan.operators)
    return Lowered(bytes(manager.buffer), operators, embeddings[: len(windows)])


def channels_last(x: Tensor) -> Tensor:
    """(N, C, 1, T) in channels-last memory format, as CMSIS-NN takes it."""
    return x.contiguous(memory_format=torch.channels_last)


BACKENDS = (
    Backend(
        name="coreml",
        file="student_coreml.pte",
        precision="fp16",
        needs="coremltools",
        install="pip install coremltools==9.0",
        measured="the network in float16 in PyTorch; Core ML itself was not run",
        lower=lower_coreml,
    ),
    Backend(
        name="cortex_m",
        file="student_cortex_m.pte",
        precision="int8",
        needs="tosa_serializer",
        # It pins older versions of flatbuffers and numpy, but works with ours.
        install="pip install --no-deps tosa-tools==2026.5.0",
        measured="the lowered graph with ExecuTorch's reference operators in Python; no Cortex-M ran it",
        lower=lower_cortex_m,
    ),
)


def left_out() -> list[str]:
    """A line for each file that an export cannot make here, with the command that installs its tool."""
    return [f"{backend.file} is left out: {backend.obstacle}" for backend in BACKENDS if backend.obstacle]
