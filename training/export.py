"""Export a trained student as a bundle.

python -m training.export runs/broad/release.pt mujo_edge/assets/bundles/mujo-student --results docs/protocol-v2
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from training.evaluation.transfer_sets_report import read_summary
from training.release.bundle import export_bundle, load_checkpoint
from training.release.lower import left_out
from training.support.command import run


def main(
    checkpoint: Annotated[Path, typer.Argument(help="release.pt of a run.")],
    out: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of training.transfer_sets with scores of this network, for the card."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the bundle, by default the checkpoint's.")] = None,
) -> None:
    """Quantize a trained student for every runtime, check every file and write a bundle."""
    model, spec, calibration, gate, release = load_checkpoint(checkpoint)
    release = replace(release, version=version or release.version)
    if results:
        protocol = read_summary(results, model.config)
        release = replace(release, metrics={**release.metrics, "protocol_v2": protocol})
    manifest = export_bundle(out, model, spec, calibration, gate, release)
    for file, parity in [(file.file, file.parity) for file in (*manifest.models, *manifest.lowered)]:
        measured = f"agreement {parity.top1_agreement:.4f}  SNR {parity.snr_db:.1f} dB" if parity else "not measured"
        typer.echo(f"{file:<20} {(out / file).stat().st_size:>8} bytes  {measured}")
    for line in left_out():
        typer.echo(line, err=True)


if __name__ == "__main__":
    run(main)
