"""The command `python -m training.fimad validate`: tables and figures of `training.evaluation.virtual_imu`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import numpy as np
import typer
from rich.console import Console

from mujo_edge.core import CHANNELS, UsageError
from training.corpora.files import Tree
from training.corpora.registry import data_root
from training.evaluation.virtual_imu import (
    BANDS_HZ,
    Condition,
    Model,
    Pair,
    Settings,
    agreement,
    band_ratios,
    correlation,
    lags_ms,
    mountings,
    read_pairs,
    scores,
    spectra,
    turned,
)
from training.fimad.clip import IMU_RATE_HZ
from training.fimad.sources import utd_mhad as skeletons
from training.support.provenance import describe

OUT = Path("docs/virtual-imu")
MARK = "<!-- table -->"
"""Marker on the page OUT.md: everything after it is the table."""
MEASURES = {"pooled": "r, all samples", "within": "r, median trial", "rms": "rms error", "size": "sd ratio"}


def validate(
    out: Annotated[Path, typer.Option(help="Folder of tables, figures and scores.")] = OUT,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the data sets.  [default: $MUJO_DATA]")] = None,
    channels: Annotated[str, typer.Option(help="3, 6 or both.")] = "3,6",
    models: Annotated[str, typer.Option(help="Classifiers, comma-separated, or none.")] = "forest,student",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of the student.")] = 300,
) -> None:
    """Compare the virtual IMU with UTD-MHAD's real one: correlation, spectrum, macro-F1."""
    root = data or data_root()
    settings = Settings(chosen_models(models), chosen_channels(channels), steps)
    pairs, without = read_pairs(root)
    record = provenance(root, settings)  # before anything is written, as it states whether tracked files changed
    out.mkdir(parents=True, exist_ok=True)
    curves = spectra(pairs)
    scored = scores(pairs, settings, out / "scores.jsonl")
    results = {
        "trials": len(pairs),
        "trials_without": without,
        "lag_ms": lags_ms(pairs),
        "agreement": agreement(pairs),
        "bands": {placement: band_ratios(curve) for placement, curve in curves.items()},
        "scores": summary(scored),
    }
    write_json(out / "results.json", results)
    write_json(out / "run.json", record)
    text = markdown(results)
    (out / "table.md").write_text(text, "utf-8")
    page = out.with_suffix(".md")
    if page.exists() and MARK in (whole := page.read_text("utf-8")):
        page.write_text(whole.split(MARK)[0] + MARK + "\n" + text, "utf-8")
    plot_traces(pairs, out / "trials.png")
    plot_spectra(curves, out / "spectrum.png")
    Console(width=200).print(text, highlight=False, markup=False)


def chosen_models(text: str) -> tuple[Model, ...]:
    """ "forest,student", one of them, or "none". Raises `UsageError`."""
    names = tuple(name for name in text.split(",") if name != "none")
    if unknown := set(names) - set(get_args(Model)):
        raise UsageError(f"no model {sorted(unknown)[0]!r}; choose from {', '.join(get_args(Model))} or none")
    return cast(tuple[Model, ...], names)


def chosen_channels(text: str) -> tuple[int, ...]:
    """ "3", "6" or "3,6". Raises `UsageError`."""
    if not set(parts := text.split(",")) <= {"3", "6"}:
        raise UsageError(f"--channels takes 3, 6 or 3,6, not {text!r}")
    return tuple(map(int, parts))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def provenance(root: Path, settings: Settings) -> dict[str, Any]:
    """Provenance of the numbers, with the hash of the skeletons."""
    path = skeletons.SOURCE.find(root)
    assert path is not None  # its trials were read
    with Tree.open(path) as tree:
        digest = tree.sha256(skeletons.MARKER)
    about = describe({"settings": settings}, {})
    return {**about, "data_sha256": {skeletons.SOURCE.name: digest}}


def summary(scored: Mapping[Condition, float]) -> list[dict[str, Any]]:
    """Entries with model, channels, trained and tested signal, mean and sd over the folds, and all folds."""
    rows: dict[tuple[str, int, str, str], list[float]] = {}
    for condition, value in scored.items():
        rows.setdefault((condition.model, condition.channels, condition.trained, condition.tested), []).append(value)
    return [
        dict(zip(("model", "channels", "trained", "tested"), key, strict=True))
        | {"mean": float(np.mean(v)), "sd": float(np.std(v)), "folds": [round(x, 4) for x in v]}
        for key, v in rows.items()
    ]


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of a validation."""
    lag = results["lag_ms"]
    lines = [
        f"{results['trials']} trials; {results['trials_without']} have no virtual IMU. The skeleton lags behind the "
        f"sensor by {lag[2]:.0f} ms (median; quartiles {lag[1]:.0f} and {lag[3]:.0f}, 5th and 95th percentile "
        f"{lag[0]:.0f} and {lag[4]:.0f} ms).",
    ]
    for placement, measures in results["agreement"].items():
        lines += ["", f"| {placement} | " + " | ".join(CHANNELS) + " |", "|---" * 7 + "|"]
        for name, title in MEASURES.items():
            lines.append(f"| {title} | " + " | ".join(f"{value:.2f}" for value in measures[name]) + " |")
    names = [f"{low:g}-{high:g} Hz" for low, high in BANDS_HZ]
    lines += ["", "| amplitude, virtual over real | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for placement, kinds in results["bands"].items():
        for kind, values in kinds.items():
            lines.append(f"| {placement}, {kind} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    if results["scores"]:
        columns = list(dict.fromkeys((row["model"], row["channels"]) for row in results["scores"]))
        heads = [f"{model}, {channels} ch" for model, channels in columns]
        lines += ["", "| macro-F1, trained on → tested on | " + " | ".join(heads) + " |"]
        lines.append("|---" * (len(heads) + 1) + "|")
        for pair in dict.fromkeys((row["trained"], row["tested"]) for row in results["scores"]):
            own = {(r["model"], r["channels"]): r for r in results["scores"] if (r["trained"], r["tested"]) == pair}
            cells = [f"{own[column]['mean']:.3f} ± {own[column]['sd']:.3f}" for column in columns]
            lines.append(f"| {pair[0]} → {pair[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def typical(pairs: Sequence[Pair], placement: str) -> tuple[Pair, np.ndarray]:
    """The recording of median agreement at a placement, and its real signal in the axes of the virtual IMU, by the
    mounting fitted to the other people."""
    rated = []
    for subject in dict.fromkeys(pair.subject for pair in pairs):
        turns = mountings([pair for pair in pairs if pair.subject != subject])
        for pair in pairs:
            if pair.subject == subject and pair.placement == placement:
                real = turned(pair.real, turns[placement].inv())
                rated.append((np.mean([correlation(pair.virtual[:, c], real[:, c]) for c in range(6)]), pair, real))
    rated.sort(key=lambda entry: entry[0])
    _, pair, real = rated[len(rated) // 2]
    return pair, real


def plot_traces(pairs: Sequence[Pair], path: Path) -> None:
    """The typical recording of every placement, by channel."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    placements = list(dict.fromkeys(pair.placement for pair in pairs))
    figure, axes = plt.subplots(6, len(placements), figsize=(5 * len(placements), 9), squeeze=False, sharex="col")
    for column, placement in enumerate(placements):
        pair, real = typical(pairs, placement)
        t_s = np.arange(len(real)) / IMU_RATE_HZ
        for row, axis in enumerate(axes[:, column]):
            axis.plot(t_s, real[:, row], color="0.3", linewidth=1, label="real")
            axis.plot(t_s, pair.virtual[:, row], color="C1", linewidth=1, label="virtual")
            r = correlation(pair.virtual[:, row], real[:, row])
            axis.set_ylabel(f"{CHANNELS[row]} {'m/s²' if row < 3 else 'rad/s'}", fontsize=8)
            axis.annotate(f"r = {r:.2f}", (0.99, 0.86), xycoords="axes fraction", ha="right", fontsize=7)
        axes[0, column].set_title(f"{placement}: {pair.action}, person {pair.subject}", fontsize=9)
        axes[-1, column].set_xlabel("s", fontsize=8)
    axes[0, 0].legend(fontsize=7)
    figure.suptitle("Recordings of median agreement", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_spectra(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Power spectral density of force and rate at every placement, virtual and real."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(curves), figsize=(5 * len(curves), 6), squeeze=False, sharex=True)
    for column, (placement, curve) in enumerate(curves.items()):
        for row, (kind, unit) in enumerate((("force", "(m/s²)²/Hz"), ("rate", "(rad/s)²/Hz"))):
            for name, color in (("real", "0.3"), ("virtual", "C1")):
                axes[row, column].semilogy(
                    curve["frequency_hz"][1:], curve[f"{kind}_{name}"][1:], color=color, label=name
                )
            axes[row, column].set_title(f"{placement}, {kind}, {unit}", fontsize=9)
            axes[row, column].grid(alpha=0.3)
        axes[-1, column].set_xlabel("Hz", fontsize=8)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
