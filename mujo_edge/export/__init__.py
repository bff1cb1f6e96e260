"""Folders that a developer adds to a product: the model with everything that is needed to use it correctly.

Each folder holds

    mujo.json       the model's input and output, and how to interpret them, see `contract`
    golden/         streams with the Python recognizer's results, see `mujo_edge.export.golden`
    README.md       how to build it in, and how to run its self-test
    LICENSES.md     licenses of the code, the weights and the golden streams; LICENSE is that of the code
    MODEL_CARD.md   the bundle's model card
    SHA256SUMS      hashes of all other files, for `sha256sum -c`

and the files of its target. A target is a package here with `write(job) -> Written`, which fills `job.folder`, and with
the template of its README.md ($name stands for a value of `common` or of `Written.readme`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from mujo_edge.bundle import ModelBundle, verify
from mujo_edge.bundle.labels import label_table
from mujo_edge.bundle.manifest import LabelSet, Manifest, read_manifest
from mujo_edge.core import DataError, MissingExtraError, UsageError
from mujo_edge.export import golden
from mujo_edge.export.escape import markdown
from mujo_edge.files import atomic_directory, sha256
from mujo_edge.printable import NAME
from mujo_edge.signal import InputSpec
from mujo_edge.version import __version__

TARGETS = ("web", "android", "ios", "mcu")
CONTRACT = "mujo.json"
CONTRACT_SCHEMA = 1
SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Job:
    """Input of a target: the verified `bundle` with its int8 model loaded, the artifact's default label set `labels`,
    the golden streams `cases`, and the `folder` to fill."""

    bundle: ModelBundle
    labels: LabelSet
    cases: tuple[golden.Case, ...]
    folder: Path

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    def copy(self, file: str) -> Path:
        """Copy a file of the bundle into the folder, under its own name -> its new path."""
        path = self.folder / Path(file).name
        path.write_bytes((self.manifest.folder / file).read_bytes())
        return path


@dataclass(frozen=True, slots=True)
class Model:
    """A model file of an artifact: its `runtime` ("litert", "executorch", "coreml", "onnx", ...), `precision` of its
    weights, and `dtype` of its input and output."""

    file: str
    runtime: str
    precision: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Written:
    """Result of a target: its model files, and values for its README.md template."""

    models: tuple[Model, ...]
    readme: Mapping[str, str] = field(default_factory=dict)


def export(
    target: str,
    bundle: str | Path | None,
    out: Path,
    labels: str | Path | LabelSet | None = None,
    report: Callable[[str], None] = lambda doing: None,
    written: Callable[[Path], None] = lambda folder: None,
) -> list[Path]:
    """Write `out`/TARGET for one target or "all" -> the folders, each whole or not there.

    With "all", a target that needs something that is not installed does not keep the others from being written.

    Args:
        target: one of `TARGETS`, or "all".
        bundle: a bundle's folder or name; None for the shipped default. Its hashes are checked and its models run.
        out: parent of the folders; those of an earlier export are replaced.
        labels: the default label set: a name, names of activities ("squat, deadlift, bench press"), one of your own or
            its file; None for the bundle's default.
        report: called with a line of progress. written: called with each folder once it is complete.

    Raises:
        UsageError: no such target, bundle or label set; `out` holds something else or cannot be written.
        DataError: the bundle is damaged, newer than this mujo-edge, or fails its check.
        MissingExtraError: a target needs a package or program that is not installed.
    """
    if target not in (*TARGETS, "all"):
        raise UsageError(f"no target is called {target!r}; choose one of: {', '.join(TARGETS)}, all")
    report("checking the bundle")
    manifest = read_manifest(bundle)
    chosen = named(manifest.labels(labels))
    verify(manifest)
    loaded = ModelBundle.load(manifest.folder).with_labels(chosen)
    cases = golden.cases(loaded, chosen)
    done, missing = [], []
    for name in TARGETS if target == "all" else (target,):
        report(f"writing {name}")
        folder = out / name
        try:
            with atomic_directory(folder, lambda path: (path / CONTRACT).is_file(), "export of mujo-edge") as partial:
                write(name, Job(loaded, chosen, cases, partial))
        except MissingExtraError as error:
            if target != "all":
                raise
            missing.append(f"{name} was not written: {error}")
            continue
        done.append(folder)
        written(folder)
    if missing:
        raise MissingExtraError("\n".join(missing))
    return done


def named(labels: LabelSet) -> LabelSet:
    """`labels` with a name that file names and code may have, and without background, which the kits do not know; a set
    made of names of activities has neither."""
    if labels.background is not None:
        labels = replace(labels, background=None, note=f"{labels.note}, and no unknown")
    if NAME.fullmatch(labels.name):
        return labels
    name = re.sub(r"[^a-z0-9]+", "-", labels.name.casefold()).strip("-")[:64].strip("-")
    return replace(labels, name=name or "named")


def write(target: str, job: Job) -> None:
    """Fill one target's folder: its own files, then those that all targets share."""
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
    """Content of mujo.json: what a program needs to use the model, with the numbers of the Python recognizer."""
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
    """The table `input` of mujo.json: rate, window, channels, units, axes and scale."""
    return asdict(spec) | {
        "units": ["m/s2 with gravity" if name[0] == "a" else "rad/s" for name in spec.channels],
        "axes": "right-handed sensor frame; on a watch x to 3 o'clock, y to 12 o'clock, z out of the display; "
        "the axis that points up shows +9.81 m/s2 at rest",
    }


def common(job: Job) -> dict[str, str]:
    """Values that every README.md template may use."""
    spec = job.manifest.input
    return {
        "bundle": job.manifest.name,
        "version": job.manifest.version,
        "mujo_edge": __version__,
        "labels": job.labels.name,
        "label_names": ", ".join(markdown(label.name) for label in job.labels.labels)
        + (f" ({markdown(job.labels.note)})" if job.labels.note else ""),
        "label_sets": ", ".join(job.manifest.label_sets),
        "placement": markdown(job.labels.placement),
        "rate_hz": f"{spec.rate_hz:g}",
        "window": str(spec.window),
        "window_s": f"{spec.window / spec.rate_hz:g}",
        "hop_s": f"{spec.hop / spec.rate_hz:g}",
        "dim": str(job.manifest.embedding_dim),
    }


def model_card(job: Job) -> str:
    """Text of the bundle's model card, without its YAML header."""
    text = (job.manifest.folder / job.manifest.card).read_text("utf-8")
    return text.split("---\n", 2)[-1].lstrip() if text.startswith("---\n") else text


def own_license() -> str:
    """Text of mujo-edge's license from the installed package. Raises `DataError` if it is missing."""
    text = distribution("mujo-edge").read_text("licenses/LICENSE")
    if text is None:
        raise DataError("the installation lacks its LICENSE. Install mujo-edge again")
    return text


def licenses(manifest: Manifest) -> str:
    """Content of LICENSES.md."""
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
