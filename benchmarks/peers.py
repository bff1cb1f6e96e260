"""Latency of the student compared with its peers, in the same LiteRT and the same run.

    python -m benchmarks.peers --out peers.json

CNN-HAR and TinierHAR lead WHAR Arena (arXiv 2606.13194) in accuracy and in efficiency. Both are implemented here from
their papers with the sizes in WHAR Arena, for three accelerometer axes and six classes: 39,566 and 4,981 parameters.
Their weights are random, which does not affect the time.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor, nn

from mujo_edge.benchmark import Timing, machine, time_calls
from mujo_edge.benchmark.report import rich_table, times
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.cli.arguments import run_alone
from mujo_edge.core import MujoError
from mujo_edge.runtimes import RUNTIMES, open_model
from mujo_edge.runtimes.quiet import without_lines

AXES, WINDOW, CLASSES = 3, 150, 6
TARGETS = {"CNN-HAR": 1 / 5, "TinierHAR": 1 / 2}
"""Largest allowed ratio of the student's p50 to the peer's."""

ROUNDS, CALLS = 60, 50
HEADINGS = ("network", "parameters", "bytes", "p50", "p90", "p99", "max", "ratio", "limit")


class CrossMapNorm(nn.Module):
    """Local response normalization over five maps, alpha 1e-4, beta 0.75, k 1 (Krizhevsky et al. 2012, section 3.3).

    Implemented with slices and square roots, d^-0.75 = rsqrt(d) sqrt(rsqrt(d)), the fastest of the forms that LiteRT
    runs in one XNNPACK partition (73 us for the whole network; 115 with a banded convolution, 207 with average pooling;
    torch's own layer converts to nine partitions and 847 us).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, maps, H, W) -> the same."""
        maps = x.shape[1]
        squares = nn.functional.pad(x * x, (0, 0, 0, 0, 2, 2))
        root = torch.rsqrt(1 + 1e-4 / 5 * sum(squares[:, i : i + maps] for i in range(5)))
        return x * (root * torch.sqrt(root))


class CnnHar(nn.Module):
    """Yang et al., Deep convolutional neural networks on multichannel time series for human activity recognition,
    IJCAI 2015, section 3: three temporal convolutions shared by all axes, then one across axes."""

    def __init__(self) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, kernel: tuple[int, int], pool: bool) -> nn.Sequential:
            pooled = [nn.MaxPool2d((4, 1), (2, 1))] if pool else []
            return nn.Sequential(nn.Conv2d(inputs, outputs, kernel), nn.ReLU(), *pooled, CrossMapNorm())

        self.layers = nn.Sequential(
            layer(1, 50, (5, 1), True),
            layer(50, 40, (5, 1), True),
            layer(40, 20, (3, 1), False),
            layer(20, 400, (1, AXES), False),
        )
        self.classify = nn.Conv2d(400, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, axes, 1, T) -> (N, classes)."""
        features = self.layers(x.permute(0, 2, 3, 1))
        return self.classify(features.amax((2, 3), keepdim=True)).flatten(1)


class TinierBlock(nn.Module):
    """Depthwise-separable temporal convolution with a shortcut, both halved in time if `halve`."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, inputs, (5, 1), padding=(2, 0), groups=inputs),
            nn.Conv2d(inputs, outputs, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.pool = nn.MaxPool2d((2, 1)) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, axes) -> (N, outputs, T or T / 2, axes)."""
        return self.pool(self.main(x)) + self.pool(self.shortcut(x))


class TinierHar(nn.Module):
    """Bian et al., TinierHAR: toward ultra-lightweight deep learning models for efficient human activity recognition
    on edge devices, arXiv 2507.07949: residual depthwise-separable blocks, a bidirectional GRU, attention over time."""

    def __init__(self) -> None:
        super().__init__()
        filters, units = 4, 16
        wide = 2 * filters
        self.blocks = nn.Sequential(
            TinierBlock(1, filters, True),
            TinierBlock(filters, wide, True),
            *(TinierBlock(wide, wide, False) for _ in range(4)),
        )
        self.gru = nn.GRU(wide * AXES, units, bidirectional=True, batch_first=True)
        self.attend = nn.Linear(2 * units, 1)
        self.classify = nn.Linear(2 * units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(N, axes, 1, T) -> (N, classes)."""
        features = self.blocks(x.permute(0, 2, 3, 1))
        steps, _ = self.gru(features.permute(0, 2, 1, 3).flatten(2))
        return self.classify((torch.softmax(self.attend(steps), 1) * steps).sum(1))


PEERS = {"CNN-HAR": CnnHar, "TinierHAR": TinierHar}


def exported(model: nn.Module) -> bytes:
    """The float32 .tflite file of a peer, with input (1, axes, 1, T)."""
    native = without_lines(b"I0000 ", b"WARNING: All log messages", b"Failed to load ", b"W")
    with redirect_stdout(StringIO()), native, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litert_torch

        content: bytes = litert_torch.convert(model.eval(), (torch.zeros(1, AXES, 1, WINDOW),)).model_content()
        return content


@dataclass(frozen=True, slots=True)
class Row:
    """One network: float32 window in, float32 result out, batch 1, one thread, LiteRT."""

    name: str
    parameters: int
    file_bytes: int
    latency: Timing


def interleaved(models: Mapping[str, bytes], inputs: Mapping[str, np.ndarray]) -> dict[str, Timing]:
    """Time all models in turns of `CALLS` calls after a tenth of that as warm-up, so that load affects all alike."""
    opened = {name: open_model(content, "litert") for name, content in models.items()}
    times: dict[str, list[int]] = {name: [] for name in opened}
    for _ in range(ROUNDS):
        for name, model in opened.items():
            x = inputs[name]
            time_calls(lambda model=model, x=x: model.run(x), CALLS // 10)
            times[name] += time_calls(lambda model=model, x=x: model.run(x), CALLS)
    return {name: Timing.of(values) for name, values in times.items()}


def compare(bundle: str | None = None) -> list[Row]:
    """Time the student of a bundle, int8 and fp32, and the peers."""
    manifest = read_manifest(bundle)
    rng = np.random.default_rng(0)
    own = rng.standard_normal((1, len(manifest.input.channels), 1, manifest.input.window), np.float32)
    theirs = rng.standard_normal((1, AXES, 1, WINDOW), np.float32)
    models, inputs, parameters = {}, {}, {}
    for precision in ("int8", "fp32"):
        name = f"student {precision}"
        models[name] = (manifest.folder / manifest.model("litert", precision).file).read_bytes()
        inputs[name], parameters[name] = own, int(manifest.metrics["parameters"])
    for name, network in PEERS.items():
        torch.manual_seed(0)
        built = network()
        models[name], inputs[name] = exported(built), theirs
        parameters[name] = sum(p.numel() for p in built.parameters())
    timings = interleaved(models, inputs)
    return [Row(name, parameters[name], len(models[name]), timings[name]) for name in models]


def main(
    bundle: Annotated[str | None, typer.Option(help="Bundle folder or name; the shipped default if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result here.")] = None,
) -> None:
    """Time the student and its peers in one LiteRT run. Exit code 1 if the student misses a target."""
    try:
        rows = compare(bundle)
    except MujoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    student = rows[0].latency.p50_us
    ratios = {row.name: student / row.latency.p50_us for row in rows}
    cells = [
        (
            row.name,
            f"{row.parameters:,}",
            f"{row.file_bytes:,}",
            *times(row.latency),
            f"{ratios[row.name]:.3f}",
            f"{TARGETS[row.name]:.3f}" if row.name in TARGETS else "",
        )
        for row in rows
    ]
    title = "One window in LiteRT, one thread: microseconds; ratio of the student's p50 to each, and its limit"
    Console().print(rich_table(title, HEADINGS, cells))
    if json_file:
        content = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "litert": RUNTIMES["litert"].version,
            "rows": [
                asdict(row) | {"student_ratio": ratios[row.name], "target": TARGETS.get(row.name)} for row in rows
            ],
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n")
    if any(ratios[name] > limit for name, limit in TARGETS.items()):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_alone(main)
