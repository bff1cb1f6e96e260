"""`mujo-edge models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mujo_edge.cli.arguments import Bundle, BundleOption, Command, Group, Json, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mujo_edge.bundle.manifest import Manifest

models = typer.Typer(cls=Group, no_args_is_help=True, help="Model bundles: list, show, verify, push, pull.")


@models.command("list", cls=Command)
def list_models(json: Json = False) -> None:
    """Bundles that came with mujo-edge, those that were pulled, and the label sets that were taught."""
    from mujo_edge.bundle.manifest import LabelSet, read_manifest
    from mujo_edge.bundle.store import DEFAULT_BUNDLE, pulled_bundles, shipped_bundles
    from mujo_edge.bundle.taught import taught_file, taught_names
    from mujo_edge.core import DataError

    manifests = {name: read_manifest(name) for name in [*shipped_bundles(), *pulled_bundles()]}
    if json:
        print_json([{"bundle": name} | _summary(manifest) for name, manifest in manifests.items()])
        return
    for name, manifest in manifests.items():
        mark = " (default)" if name == DEFAULT_BUNDLE else ""
        print(f"{name} {manifest.version}{mark}: {', '.join(manifest.label_sets)}")
        print(f"  {', '.join(model.file for model in manifest.models)} in {manifest.folder}")
    for name in taught_names():
        try:
            labels = LabelSet.load(taught_file(name))
            print(f"{name} (taught, of {labels.bundle}): {', '.join(labels.names[:-1])}\n  in {taught_file(name)}")
        except DataError as error:
            print(f"{name} (taught): {error}")


@models.command(cls=Command)
def show(
    bundle: Bundle = None,
    card: Annotated[bool, typer.Option("--card", help="Show the model card.")] = False,
    json: Json = False,
) -> None:
    """Show a bundle's input, labels, files and training data."""
    from mujo_edge.bundle.manifest import read_manifest

    manifest = read_manifest(bundle)
    if json:
        print_json(_summary(manifest))
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.markup import escape

    console = Console(emoji=False)
    if card:
        text = (manifest.folder / manifest.card).read_text("utf-8")
        console.print(Markdown(text.split("---\n", 2)[-1]))
        return
    spec = manifest.input
    console.print(
        f"[bold]{manifest.name}[/] {manifest.version}, made {escape(manifest.created)}, {escape(str(manifest.folder))}",
        soft_wrap=True,
    )
    console.print(
        f"takes {spec.window} samples at {spec.rate_hz:g} Hz of {' '.join(spec.channels)} (m/s2 with gravity, rad/s; "
        f"gyroscope optional), every {spec.hop / spec.rate_hz:g} s; gives {manifest.embedding_dim} values"
    )
    console.print(_models_table(manifest))
    if manifest.lowered:
        console.print(_lowered_table(manifest))
        console.print(*(escape(f"  {model.file}: {model.measured}") for model in manifest.lowered), sep="\n")
    console.print(_labels_table(manifest))
    if names := manifest.vocabulary:
        seen = sum(name.trained for name in names.names)
        console.print(
            f"and, from text only, {len(names.names):,} names, {seen} of them seen in training: "
            f'stream --labels "squat, deadlift, bench press"; `models names` lists them, unknown is below '
            f"{names.unknown_threshold:.2f}",
            soft_wrap=True,
        )


@models.command(cls=Command)
def names(
    words: Annotated[str | None, typer.Argument(metavar="WORDS", help="Only names that are like these words.")] = None,
    bundle: BundleOption = None,
    json: Json = False,
) -> None:
    """Activities that a bundle knows by name, for `stream --labels "squat, deadlift, bench press"`."""
    from dataclasses import asdict

    from mujo_edge.bundle.manifest import read_manifest
    from mujo_edge.core import UsageError

    manifest = read_manifest(bundle)
    if manifest.vocabulary is None:
        raise UsageError(f"bundle {manifest.name} knows only its label sets: {', '.join(manifest.label_sets)}")
    names = (
        manifest.vocabulary.names if words is None else manifest.vocabulary.near(words, len(manifest.vocabulary.names))
    )
    if not names:
        raise UsageError(f"no name of bundle {manifest.name} is like {words!r}; `models names` lists all")
    if json:
        print_json([asdict(name) for name in names])
        return
    for name in names:
        also = f" ({', '.join(name.also)})" if name.also else ""
        print(f"{name.name}{also}{' *' if name.trained else ''}")
    print("* seen in training under this name; the others are known from text only")


@models.command(cls=Command)
def verify(bundle: Bundle = None, json: Json = False) -> None:
    """Check every hash, and run every model in every installed runtime against the reference outputs."""
    from dataclasses import asdict

    from mujo_edge.bundle import verify as run
    from mujo_edge.bundle.manifest import read_manifest

    manifest = read_manifest(bundle)
    checks = run(manifest)
    if json:
        print_json(
            {"bundle": manifest.name, "files": len(manifest.files), "checks": [asdict(check) for check in checks]}
        )
        return
    from rich.console import Console

    from mujo_edge.benchmark.report import rich_table

    rows = [
        (
            check.file,
            check.runtime,
            str(check.parity.windows),
            f"{100 * check.parity.top1_agreement:.1f}",
            f"{check.parity.snr_db:.1f}",
            f"{check.parity.max_abs_delta:.4f}",
        )
        for check in checks
    ]
    Console().print(rich_table("", ("file", "runtime", "windows", "agree %", "SNR dB", "largest difference"), rows))
    print(f"{manifest.name}: {len(manifest.files)} files as they were written, {len(checks)} runs as they should be")


Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A model repository of the Hub.")]


@models.command(cls=Command)
def push(
    bundle: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A shipped bundle or a bundle's folder.")],
    repo: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Check a bundle and publish it on the Hub."""
    from rich.console import Console

    from mujo_edge.bundle.hub import push as run

    with Console(stderr=True).status("") as status:
        done = run(bundle, repo, private, lambda doing: status.update(doing))
    what = f"{done.manifest.name} {done.manifest.version}, {done.files} files, {done.size / 1e6:.1f} MB"
    if not done.changed:
        print(f"{done.url} has this already: {what}, commit {done.commit[:12]}")
    else:
        print(f"{'made' if done.created else 'renewed'} {done.url}: {what}, commit {done.commit[:12]}")
    for note in done.notes:
        print(f"the Hub says: {note}")


@models.command(cls=Command)
def pull(
    repo: Repository,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make the folder NAME here, not in the store of --bundle OWNER/NAME."),
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="R", help="Branch, tag or commit instead of main.")] = None,
    max_files: Annotated[
        int, typer.Option(metavar="N", min=1, envvar="MUJO_EDGE_MAX_FILES", help="Refuse a bundle of more files.")
    ] = 500,
    max_minutes: Annotated[
        float, typer.Option(metavar="MIN", min=0, envvar="MUJO_EDGE_MAX_MINUTES", help="Give up after so many minutes.")
    ] = 10.0,
    min_speed: Annotated[
        float, typer.Option(metavar="KB/S", min=0, envvar="MUJO_EDGE_MIN_SPEED", help="Give up a slower download.")
    ] = 1.0,
) -> None:
    """Get a published bundle from the Hub and check it. MUJO_EDGE_MAX_MB limits its size (256)."""
    from rich.console import Console

    from mujo_edge.bundle.hub import Limits
    from mujo_edge.bundle.hub import pull as run

    with Console(stderr=True).status("") as status:
        limits = Limits(max_files, max_minutes, min_speed)
        manifest = run(repo, out, revision, lambda doing: status.update(doing), limits)
    name = repo if out is None else manifest.folder
    print(f"{manifest.name} {manifest.version} in {manifest.folder}; use it with --bundle {name}")


def _summary(manifest: Manifest) -> dict[str, Any]:
    """A manifest for `--json`: everything but the arrays."""
    from dataclasses import asdict

    return {
        "name": manifest.name,
        "version": manifest.version,
        "created": manifest.created,
        "folder": str(manifest.folder),
        "input": asdict(manifest.input),
        "embedding_dim": manifest.embedding_dim,
        "models": [asdict(model) for model in manifest.models],
        "lowered": [asdict(model) for model in manifest.lowered],
        "label_sets": {
            name: {
                "placement": labels.placement,
                "labels": [label.name for label in labels.labels],
                "unknown_threshold": labels.unknown_threshold,
                "smoothing": asdict(labels.smoothing),
            }
            for name, labels in manifest.label_sets.items()
        },
        "default_label_set": manifest.default_label_set,
        "names": len(manifest.vocabulary.names) if manifest.vocabulary else 0,
        "training": manifest.training,
        "metrics": manifest.metrics,
    }


def _models_table(manifest: Manifest) -> RenderableType:
    from mujo_edge.benchmark.report import rich_table

    rows = [
        (
            model.file,
            model.runtime,
            f"{(manifest.folder / model.file).stat().st_size / 1000:.1f}",
            f"{100 * model.parity.top1_agreement:.2f}",
            f"{model.parity.snr_db:.1f}",
        )
        for model in manifest.models
    ]
    title = f"Models, and how they agreed with fp32 on {manifest.models[0].parity.windows:,} real windows"
    return rich_table(title, ("file", "runtime", "KB", "agree %", "SNR dB"), rows)


def _lowered_table(manifest: Manifest) -> RenderableType:
    from mujo_edge.benchmark.report import rich_table

    rows = [
        (
            model.file,
            model.backend,
            f"{(manifest.folder / model.file).stat().st_size / 1000:.1f}",
            f"{100 * model.parity.top1_agreement:.2f}" if model.parity else "-",
            f"{model.parity.snr_db:.1f}" if model.parity else "-",
        )
        for model in manifest.lowered
    ]
    title = "For runtimes that only their devices have: not run as files; what was measured instead is said below"
    return rich_table(title, ("file", "backend", "KB", "agree %", "SNR dB"), rows)


def _labels_table(manifest: Manifest) -> RenderableType:
    from mujo_edge.benchmark.report import rich_table

    rows = [
        (
            labels.name,
            labels.placement,
            f"{labels.unknown_threshold:.2f}",
            labels.smoothing.method,
            ", ".join(label.name for label in labels.labels),
        )
        for labels in manifest.label_sets.values()
    ]
    title = (
        f"Label sets (default {manifest.default_label_set}); a window whose best cosine is below 'unknown' is unknown"
    )
    return rich_table(title, ("label set", "worn at", "unknown", "smoothing", "labels"), rows)
