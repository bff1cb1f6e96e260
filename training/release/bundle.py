"""Export of a trained student as a bundle: quantize for every runtime, check every file, write the folder atomically.

python -m training.export runs/mujo_plus/release.pt mujo_edge/assets/bundles/mujo-student --results docs/mujo
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mujo_edge.bundle import LEAST_SNR_DB, compare, l2_normalize, verify
from mujo_edge.bundle.manifest import (
    Label,
    LabelSet,
    LoweredFile,
    Manifest,
    ModelFile,
    Parity,
    Smoothing,
    label_set_table,
    read_manifest,
    write_manifest,
)
from mujo_edge.bundle.vocabulary import Name, Vocabulary, write_vocabulary
from mujo_edge.core import F32, DataError, UsageError
from mujo_edge.files import atomic_directory
from mujo_edge.runtimes import open_model
from mujo_edge.signal import InputSpec, prepare
from training.models.inference import float_embeddings
from training.models.student import Student, StudentConfig, macs
from training.release.card import model_card
from training.release.equalize import equalize
from training.release.lower import BACKENDS
from training.release.metadata import ModelMetadata
from training.release.quantize import float_litert, quantize_executorch, quantize_litert, quantize_onnx
from training.release.tflite_micro import least_arena, micro_embeddings
from training.support.tensors import save_tensors

SHIPPED = "mujo-student"
"""Name of the bundle in the package."""

LEAST_WINDOWS = 1000
LEAST_AGREEMENT = 0.99
LARGEST_INT8_BYTES = 100_000
LARGEST_ARENA_BYTES = 32 * 1024
REFERENCE_WINDOWS = 64
VOCABULARY_ARRAYS = ("prototypes", "weight", "bias")


@dataclass(frozen=True, slots=True)
class Gate:
    """Real windows that every file is compared with fp32 on.

    Attributes:
        x: (N >= 1000, 3 or 6, T) in m/s2 and rad/s.
        member: (N,) name of the label set that each window belongs to.
        shareable: (N,) bool, whether the license of the data permits redistribution. Some of these windows are the
            bundle's reference.
    """

    x: F32
    member: np.ndarray
    shareable: np.ndarray


@dataclass(frozen=True, slots=True)
class Release:
    """Contents of a bundle besides its models: label sets, `vocabulary`, provenance and metrics.

    `training` is the provenance: recipe, seeds, data hashes, "git_commit", and "corpora", one table for each training
    set with name, title, licence, open_licence, citation, home, subjects and windows; "clips" likewise for every
    collection of clips, with the number of clips instead of the last two.
    `metrics` may hold "results" (tables with dataset, task, metric and value, for the front matter of the model card),
    "held_out" (label set -> metrics of `training.release.calibrate`), "names" (metrics of `known_names`) and
    "protocol_v2" (see `training.evaluation.transfer_sets_report.read_summary`).
    """

    label_sets: Sequence[LabelSet]
    default_label_set: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    name: str = SHIPPED
    version: str = "0.1.0"
    vocabulary: Vocabulary | None = None


def export_bundle(
    out: Path, model: Student, spec: InputSpec, calibration: F32, gate: Gate, release: Release
) -> Manifest:
    """Quantize, check and write the bundle `out`; an older bundle is replaced at the very end.

    Args:
        out: the bundle's folder; an older bundle there is replaced, anything else is refused.
        model: trained student.
        spec: input of the model.
        calibration: (N, 3 or 6, T) training windows in m/s2 and rad/s.
        gate: real windows that every file is checked on.
        release: label sets and provenance.

    Raises:
        UsageError: `out` holds something that is not a bundle; there are fewer than 1,000 gate windows, or none of
            them may be redistributed.
        DataError: a file fails the gate: top-1 agreement below 99 %, SNR below 20 dB, the int8 .tflite
            above 100 KB, in more than one XNNPACK partition, or above 32 KiB in tflite-micro. Nothing is left behind.
    """
    if len(gate.x) < LEAST_WINDOWS:
        raise UsageError(f"the parity gate needs {LEAST_WINDOWS} real windows and got {len(gate.x)}")
    if not gate.shareable.any():
        raise UsageError(
            "no gate window may be redistributed in the bundle; add an open corpus, such as spar, to the recipe"
        )
    with atomic_directory(out, lambda folder: (folder / "bundle.json").is_file(), "bundle") as partial:
        write_bundle(partial, model, spec, calibration, gate, release)
        verify(read_manifest(partial))
    return read_manifest(out)


def write_bundle(folder: Path, model: Student, spec: InputSpec, calibration: F32, gate: Gate, release: Release) -> None:
    """Write all files of a bundle into the empty `folder`. Raises `DataError` at the first failed check."""
    calibration, windows = prepare(calibration, spec), prepare(gate.x, spec)
    truth = l2_normalize(float_embeddings(model, windows))
    by_name = {labels.name: labels for labels in release.label_sets}
    model_metadata = ModelMetadata(
        release.name, release.version, spec, truth.shape[1], release.label_sets, release.default_label_set
    )
    models: list[ModelFile] = []
    lowered: list[LoweredFile] = []
    sizes: dict[str, int] = {}

    def parity_of(file: str, embeddings: F32) -> Parity:
        return gated(file, compare(truth, l2_normalize(embeddings), by_name, gate.member))

    def write(file: str, content: bytes) -> None:
        (folder / file).write_bytes(content)
        sizes[file] = len(content)

    def add(file: str, runtime: str, precision: Literal["int8", "fp32"], content: bytes) -> None:
        models.append(ModelFile(file, runtime, precision, parity_of(file, open_model(content, runtime).run(windows))))
        write(file, content)

    equal = equalize(model, calibration)
    int8 = quantize_litert(equal, calibration)
    add("student_int8.tflite", "litert", "int8", int8)
    arena_bytes = check_small(int8, windows)
    parity_of("student_int8.tflite in tflite-micro", micro_embeddings(int8, windows, arena_bytes))
    add("student_int8.pte", "executorch", "int8", quantize_executorch(equal, calibration, model_metadata))
    add("student_int8.onnx", "onnx", "int8", quantize_onnx(equal, calibration, model_metadata))
    add("student_fp32.tflite", "litert", "fp32", float_litert(model, calibration))
    for backend in BACKENDS:
        if not backend.obstacle:
            lowered_model = backend.lower(equal, calibration, model_metadata, windows)
            parity = parity_of(backend.file, lowered_model.embeddings)
            lowered.append(
                LoweredFile(
                    backend.file, backend.name, backend.precision, lowered_model.operators, parity, backend.measured
                )
            )
            write(backend.file, lowered_model.content)
    (folder / "prototypes").mkdir()
    for labels in release.label_sets:
        np.save(folder / "prototypes" / f"{labels.name}.npy", labels.prototypes)
    names = write_vocabulary(folder, release.vocabulary) if release.vocabulary else None
    shareable = np.flatnonzero(gate.shareable)
    chosen = shareable[np.linspace(0, len(shareable) - 1, REFERENCE_WINDOWS).round().astype(int)]
    six = np.zeros((REFERENCE_WINDOWS, len(spec.channels), spec.window), np.float32)
    six[:, : gate.x.shape[1]] = gate.x[chosen]
    np.savez_compressed(folder / "reference.npz", x=six, y=truth[chosen], member=gate.member[chosen].astype(np.str_))
    table = {
        "name": release.name,
        "version": release.version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": asdict(spec),
        "embedding_dim": truth.shape[1],
        "models": [asdict(model_file) for model_file in models],
        "lowered": [asdict(lowered_file) for lowered_file in lowered],
        "label_sets": {labels.name: label_set_table(labels) for labels in release.label_sets},
        "default_label_set": release.default_label_set,
        "vocabulary": names,
        "reference": "reference.npz",
        "card": "MODEL_CARD.md",
        "training": dict(release.training),
        "metrics": {
            **release.metrics,
            "parameters": sum(p.numel() for p in model.parameters()),
            "macs": macs(model, spec.window),
            "tflite_micro_arena_bytes": arena_bytes,
        },
    }
    card = model_card(table, spec, models, lowered, sizes, release.label_sets)
    (folder / "MODEL_CARD.md").write_text(card, "utf-8")
    write_manifest(folder, table)


def gated(file: str, parity: Parity) -> Parity:
    """The parity gate: returns `parity`, or raises `DataError` if it is below the limits."""
    if not (parity.top1_agreement >= LEAST_AGREEMENT and parity.snr_db >= LEAST_SNR_DB):
        raise DataError(
            f"export stopped: {file} has top-1 agreement {parity.top1_agreement:.4f} (limit {LEAST_AGREEMENT}) and SNR "
            f"{parity.snr_db:.1f} dB (limit {LEAST_SNR_DB:g}) against fp32 on {parity.windows} windows. "
            "Give more calibration windows of every corpus, or train with fake quantization"
        )
    return parity


def check_small(model: bytes, windows: F32) -> int:
    """Check size, XNNPACK partitions and tflite-micro's arena -> the arena in bytes. Raises `DataError`."""
    if len(model) > LARGEST_INT8_BYTES:
        raise DataError(f"export stopped: the int8 .tflite has {len(model)} bytes (limit {LARGEST_INT8_BYTES})")
    if not open_model(model, "litert").is_one_partition():
        raise DataError("export stopped: the int8 .tflite is not one XNNPACK partition; change the student's operators")
    arena = least_arena(model, windows[:1])
    if arena > LARGEST_ARENA_BYTES:
        raise DataError(f"export stopped: tflite-micro needs {arena} bytes of arena (limit {LARGEST_ARENA_BYTES})")
    return arena


def save_checkpoint(
    path: Path, model: Student, spec: InputSpec, calibration: F32, gate: Gate, release: Release
) -> None:
    """All arguments of `export_bundle` in one file that `torch.load(weights_only=True)` accepts."""
    sets = [asdict(labels) | {"prototypes": torch.from_numpy(labels.prototypes)} for labels in release.label_sets]
    names = asdict(release.vocabulary) if release.vocabulary else None
    if names:
        names |= {part: torch.from_numpy(names[part]) for part in VOCABULARY_ARRAYS}
    content = {
        "config": asdict(model.config),
        "state": model.state_dict(),
        "input": asdict(spec),
        "calibration": torch.from_numpy(calibration),
        "gate": torch.from_numpy(gate.x),
        "member": gate.member.tolist(),
        "shareable": torch.from_numpy(gate.shareable),
        "release": asdict(release) | {"label_sets": sets, "vocabulary": names},
    }
    save_tensors(path, content)


def load_checkpoint(path: Path) -> tuple[Student, InputSpec, F32, Gate, Release]:
    """The content of a file that `save_checkpoint` wrote. Raises `DataError` for any other file."""
    try:
        content = torch.load(path, weights_only=True)
        model = Student(StudentConfig(**content["config"]))
        model.load_state_dict(content["state"])
        spec = InputSpec(**content["input"])
        sets = [
            LabelSet(
                **entry
                | {
                    "prototypes": entry["prototypes"].numpy(),
                    "labels": tuple(Label(**label) for label in entry["labels"]),
                    "smoothing": Smoothing(**entry["smoothing"]),
                }
            )
            for entry in content["release"]["label_sets"]
        ]
        names = content["release"].get("vocabulary")
        if names:
            names |= {part: names[part].numpy() for part in VOCABULARY_ARRAYS}
            names = Vocabulary(**names | {"names": tuple(Name(**name) for name in names["names"])})
        release = Release(**content["release"] | {"label_sets": sets, "vocabulary": names})
        gate = Gate(content["gate"].numpy(), np.asarray(content["member"]), content["shareable"].numpy())
        return model.eval(), spec, content["calibration"].numpy(), gate, release
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{path} is not a checkpoint to export: {error!r}. Train again with python -m training.run"
        ) from error
