"""The whole offline path, from recordings to a bundle: `python -m training.run --recipe tiny`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mujo_edge.sources.replay import shipped_recording
from training.recipes.recipe import read_recipe
from training.release.checks import recording_accuracy, teacher_comparison
from training.release.lower import left_out
from training.release.run import Run
from training.support.command import OutOption, RecipeOption, ShardsOption, run


def listed(metrics: Mapping[str, float]) -> str:
    """Metrics on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def main(
    recipe: RecipeOption = "base",
    out: OutOption = None,
    shards: ShardsOption = None,
    bundle: Annotated[Path | None, typer.Option(help="folder of the bundle  [default: OUT/NAME]")] = None,
) -> None:
    """Train and export a bundle: pretrain, distill, calibrate, quantize, export, evaluate."""
    this = Run(read_recipe(recipe), out, shards)
    teacher = this.teacher()
    student = this.student(teacher)
    release = this.release(teacher, student)
    target = bundle or this.out / release.name
    manifest = this.bundle(student, release, target)
    for model in (*manifest.models, *manifest.lowered):
        size, parity = (target / model.file).stat().st_size, model.parity
        measured = (
            f"agrees with fp32 in {parity.top1_agreement:.2%}, SNR {parity.snr_db:.1f} dB" if parity else "not run"
        )
        typer.echo(f"{model.file}: {size:,} bytes, {measured}")
    for line in left_out():
        typer.echo(line, err=True)
    for name, metrics in release.metrics["held_out"].items():
        typer.echo(
            f"{name}: " + ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())
        )
    comparison = teacher_comparison(this, teacher, target)
    (this.out / "teacher-comparison.json").write_text(json.dumps(comparison, indent=1) + "\n")
    typer.echo(f"int8 student's macro-F1 divided by the teacher's: {listed(comparison)}")
    if "physio-wrist" in manifest.label_sets:
        demo = recording_accuracy(target, shipped_recording())
        (this.out / "recording.json").write_text(json.dumps(demo, indent=1) + "\n")
        typer.echo(f"shipped recording: {listed(demo)}")
    typer.echo(f"bundle: {target}")
    typer.echo(f"try it: mujo-edge stream --bundle {target}")


if __name__ == "__main__":
    run(main)
