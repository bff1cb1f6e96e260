"""Folders that a developer drops into a product: the model with all that it needs to be right.

Every one of them holds

    mujo.json       what to feed the model and what to make of its output, see `contract`
    golden/         streams with what the Python recognizer makes of them, see `mujo_edge.export.golden`
    README.md       how to build it in, and how to run its self-test
    LICENSES.md     what may be done with the code, the weights and the golden streams; LICENSE is the code's
    MODEL_CARD.md   the bundle's
    SHA256SUMS      of every file, for `sha256sum -c`

and what its target adds. A target is a package here with `write(job) -> Written`, which fills `job.folder`, and with
the template of its README.md ($name stands for a value of `common` or of `Written.readme`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mujo_edge.bundle import ModelBundle, verify
from mujo_edge.bundle.labels import label_table
from mujo_edge.bundle.manifest import LabelSet, Manifest, read_manifest
from mujo_edge.core import DataError, UsageError
from mujo_edge.export import golden
from mujo_edge.export.escape import markdown
from mujo_edge.files import atomic_directory, sha256
from mujo_edge.signal import InputSpec
from mujo_edge.version import __version__

TARGETS = ("web", "android", "ios", "mcu")
CONTRACT = "mujo.json"
CONTRACT_SCHEMA = 1
SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Job:
    """What a target is written from.

    `bundle` is checked and its int8 model loaded; `labels` is the label set that the artifact starts with, `cases`
    are the golden streams, `folder` is to be filled.
    """

    bundle: ModelBundle
    labels: LabelSet
    cases: tuple[golden.Case, ...]
    folder: Path

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    def copy(self, file: str) -> Path:
        """A file of the bundle into the folder, under its own name."""
        path = self.folder / Path(file).name
        path.write_bytes((self.manifest.folder / file).read_bytes())
        return path


@dataclass(frozen=True, slots=True)
class Model:
    """A model file of an artifact. `runtime` is what it is for ("litert", "executorch", "coreml", "onnx", ...), `dtype`
    that of its input and output, `precision` that of its weights."""

    file: str
    runtime: str
    precision: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a target wrote: its model files, and values for its README.md template."""

    models: tuple[Model, ...]
    readme: Mapping[str, str] = field(default_factory=dict)


def export(
    target: str,
    bundle: str | Path | None,
    out: Path,
    labels: str | Path | LabelSet | None = None,
    report: Callable[[str], None] = lambda doing: None,
) -> list[Path]:
    """Write `out`/TARGET for one target or "all" -> the folders, each whole or not there.

    Args:
        target: one of `TARGETS`, or "all".
        bundle: a bundle's folder or name; None for the shipped default. Its hashes are checked and its models run.
        out: folder of the folders; what an earlier export left there is replaced.
        labels: the label set to start with: a name, one of your own or its file; None for the bundle's default.
        report: told what is being done.

    Raises:
        UsageError: no such target, bundle or label set; `out` holds something else or cannot be written.
        DataError: the bundle is damaged, newer than this mujo-edge, or does not compute what it should.
        MissingExtraError: a target needs a package or program that is not installed.
    """
    if target not in (*TARGETS, "all"):
        raise UsageError(f"no target is called {target!r}; choose one of: {', '.join(TARGETS)}, all")
    report("checking the bundle")
    manifest = read_manifest(bundle)
    chosen = manifest.label_set(labels)
    verify(manifest)
    loaded = ModelBundle.load(manifest.folder).with_labels(chosen)
    cases = golden.cases(loaded, chosen)
    done = []
    for name in TARGETS if target == "all" else (target,):
        report(f"writing {name}")
        folder = out / name
        with atomic_directory(folder, lambda path: (path / CONTRACT).is_file(), "export of mujo-edge") as partial:
            write(name, Job(loaded, chosen, cases, partial))
        done.append(folder)
    return done


def write(target: str, job: Job) -> None:
    """One target's folder: its own files, then what all have in common."""
    home = files("mujo_edge.export") / target
    written: Written = import_module(f"mujo_edge.export.{target}").write(job)
    table = contract(job) | {"models": [asdict(model) for model in written.models]}
    (job.folder / CONTRACT).write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    golden.write(job.folder / "golden", job.cases)
    (job.folder / "MODEL_CARD.md").write_bytes((job.manifest.folder / job.manifest.card).read_bytes())
    (job.folder / "LICENSES.md").write_text(licenses(job.manifest), "utf-8")
    (job.folder / "LICENSE").write_text(own_license(), "utf-8")
    (job.folder / "README.md").write_text(
        Template((home / "README.md").read_text("utf-8")).substitute(common(job) | dict(written.readme)), "utf-8"
    )
    listed = sorted(path for path in job.folder.rglob("*") if path.is_file())
    sums = [f"{sha256(path)}  {path.relative_to(job.folder).as_posix()}\n" for path in listed]
    (job.folder / SUMS).write_text("".join(sums), "utf-8")


def contract(job: Job) -> dict[str, Any]:
    """mujo.json: what a program must know to use the model; every number is that of the Python recognizer."""
    return {
        "schema_version": CONTRACT_SCHEMA,
        "bundle": job.manifest.name,
        "version": job.manifest.version,
        "created": job.manifest.created,
        "exported_by": f"mujo-edge {__version__}",
        "input": input_table(job.manifest.input),
        "embedding_dim": job.manifest.embedding_dim,
        "label_sets": {name: label_table(labels) for name, labels in job.manifest.label_sets.items()},
        "default_label_set": job.labels.name,
    }


def input_table(spec: InputSpec) -> dict[str, Any]:
    """What the model takes, in mujo.json."""
    return asdict(spec) | {
        "units": ["m/s2 with gravity" if name[0] == "a" else "rad/s" for name in spec.channels],
        "axes": "right-handed sensor frame; on a watch x to 3 o'clock, y to 12 o'clock, z out of the display; "
        "the axis that points up shows +9.81 m/s2 at rest",
    }


def common(job: Job) -> dict[str, str]:
    """What every README.md template may name."""
    spec = job.manifest.input
    return {
        "bundle": job.manifest.name,
        "version": job.manifest.version,
        "mujo_edge": __version__,
        "labels": job.labels.name,
        "label_names": ", ".join(markdown(label.name) for label in job.labels.labels),
        "label_sets": ", ".join(job.manifest.label_sets),
        "placement": markdown(job.labels.placement),
        "rate_hz": f"{spec.rate_hz:g}",
        "window": str(spec.window),
        "window_s": f"{spec.window / spec.rate_hz:g}",
        "hop_s": f"{spec.hop / spec.rate_hz:g}",
        "dim": str(job.manifest.embedding_dim),
    }


def own_license() -> str:
    """The text of our license, as the installation holds it. Raises `DataError`."""
    text = distribution("mujo-edge").read_text("licenses/LICENSE")
    if text is None:
        raise DataError("the installation lacks its LICENSE. Install mujo-edge again")
    return text


def licenses(manifest: Manifest) -> str:
    """LICENSES.md."""
    data: Iterable[Mapping[str, Any]] = [*manifest.training["corpora"], *manifest.training.get("clips", [])]
    lines = [
        f"# Licenses of {manifest.name} {manifest.version}",
        "",
        "- Code in this folder: Apache-2.0, the mujo-edge authors; the text is in `LICENSE`. Where there is a",
        "  `THIRD_PARTY.md`, it names what is not ours, and under which license.",
        "- Weights and prototypes: Apache-2.0 as far as they are ours. They were trained on the data below; where its",
        "  license restricts use, ask a lawyer whether that reaches the weights.",
        "- `golden/`: made from SPAR (D. M. Burns et al.), BSD-3-Clause; its text is below.",
        "",
        "| training data | license | source |",
        "|---|---|---|",
        *(f"| {' | '.join(markdown(str(each[key])) for key in ('title', 'licence', 'home'))} |" for each in data),
        "",
        "## SPAR",
        "",
        "```",
        (files("mujo_edge") / "assets" / "recordings" / "LICENSE-SPAR").read_text("utf-8").strip(),
        "```",
        "",
    ]
    return "\n".join(lines)
