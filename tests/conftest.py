"""Shared fixtures: protocol v1's own code, and a small bundle trained for seconds on generated motion."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from generated_motion import CLASSES, ROOT, motion
from hypothesis import settings

import mujo_edge  # noqa: F401 (before onnxruntime, whose telemetry it switches off)

# Without deadlines: how long an example takes depends on what else runs on the machine.
settings.register_profile("mujo-edge", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "mujo-edge"))

NAMES_MEASURED = {
    "windows": 160,
    "macro_f1": 0.99,
    "macro_f1_reworded": 0.5,
    "kept": 0.95,
    "first_of_all_names": 0.9,
    "in_first_five": 1.0,
    "median_rank": 1.0,
}
"""Metrics of a label set as written by `training.names`."""


@pytest.fixture(scope="session")
def protocol() -> ModuleType:
    """The evaluation protocol's code, in the folder of the data sets."""
    data = Path(os.environ.get("MUJO_DATA") or ROOT.parent / "shared" / "data")
    path = data.parent / "eval" / "protocol.py"
    if not path.is_file():
        pytest.skip(f"protocol v1 is not beside MUJO_DATA ({path})")
    spec = importlib.util.spec_from_file_location("protocol_v1", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """The checkpoint written by `training.export.save_checkpoint` of a network trained on `motion`."""
    import torch

    from mujo_edge.bundle import l2_normalize
    from mujo_edge.bundle.manifest import Label, LabelSet, Smoothing
    from mujo_edge.bundle.vocabulary import TEXT_DIM, Name, Vocabulary
    from mujo_edge.signal import InputSpec, prepare
    from training.models.inference import float_embeddings
    from training.models.student import Student
    from training.release.bundle import Gate, Release, save_checkpoint

    target = cached(request, "checkpoint") / "student.pt"
    if target.exists():
        return target
    torch.manual_seed(0)
    model, spec = Student(), InputSpec()
    x, y = motion(300, seed=0)
    inputs, classes = torch.from_numpy(prepare(x, spec)), torch.from_numpy(y)
    head = torch.nn.Parameter(torch.randn(len(CLASSES), model.config.embedding))
    optimizer = torch.optim.AdamW([*model.parameters(), head], 3e-3)
    for _ in range(120):
        batch = torch.randint(0, len(y), (64,))
        cosine = torch.cosine_similarity(model(inputs[batch])[:, None], head[None], dim=2)
        loss = torch.nn.functional.cross_entropy(cosine / 0.1, classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    embeddings = l2_normalize(float_embeddings(model, prepare(x, spec)))
    sets = []
    for name, members in (("motion-wrist", (0, 1, 2, 3)), ("swings-wrist", (1, 2))):
        prototypes = l2_normalize(np.stack([embeddings[y == c].mean(0) for c in members]))
        labels = tuple(Label(CLASSES[c], (f"a person at {CLASSES[c]}",)) for c in members)
        sets.append(LabelSet(name, labels, prototypes, "wrist", 0.1, 0.3, Smoothing(), 6))
    corpus = {
        "name": "motion",
        "title": "Generated motion",
        "licence": "Apache-2.0",
        "open_licence": True,
        "citation": "none",
        "home": "tests/conftest.py",
        "subjects": 1,
        "windows": len(y),
    }
    result = {"dataset": "motion", "task": "accelerometer", "metric": "macro-F1", "value": 0.99}
    metrics = {"results": [result], "names": {"names": 5, "label_sets": {"motion-wrist": NAMES_MEASURED}}}
    names = Vocabulary(
        (*(Name(name, trained=True) for name in CLASSES), Name("plank", ("planking",))),
        np.concatenate([sets[0].prototypes, -sets[0].prototypes[:1]]),
        np.zeros((model.config.embedding, TEXT_DIM), np.float32),
        np.ones(model.config.embedding, np.float32),
        temperature=0.1,
        unknown_threshold=0.3,
    )
    release = Release(sets, "motion-wrist", {"seed": 0, "corpora": [corpus]}, metrics, name="small", vocabulary=names)
    gate_x, gate_y = motion(260, seed=1)
    member = np.where(np.isin(gate_y, (1, 2)), "swings-wrist", "motion-wrist")
    save_checkpoint(target, model, spec, x[::4], Gate(gate_x, member, gate_y != 2), release)
    return target


@pytest.fixture(scope="session")
def bundle_folder(request: pytest.FixtureRequest, checkpoint: Path) -> Path:
    """A whole bundle exported from `checkpoint`. Tests copy it before they change it."""
    from training.release.bundle import export_bundle, load_checkpoint

    folder = cached(request, "bundle")
    if not (folder / "small" / "bundle.json").exists():
        built = folder / f"building-{os.getpid()}"
        export_bundle(built, *load_checkpoint(checkpoint))
        try:
            built.rename(folder / "small")
        except OSError:  # another worker was quicker
            shutil.rmtree(built)
    return folder / "small"


@pytest.fixture
def bundle_copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "small"))


def cached(request: pytest.FixtureRequest, name: str) -> Path:
    """A folder in pytest's cache for the current version of the code that fills it."""
    rooms = ("mujo_edge/bundle", "mujo_edge/runtimes", "training/models", "training/learn", "training/release")
    sources = [path for room in rooms for path in sorted((ROOT / room).glob("*.py"))]
    sources += [
        ROOT / "mujo_edge" / "signal.py",
        ROOT / "mujo_edge" / "export" / "__init__.py",
        Path(__file__),
        ROOT / "tests" / "generated_motion.py",
        *sorted((ROOT / "training").rglob("model_card.md.j2")),
    ]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = request.config.cache.mkdir(f"{name}-{digest}")
    return Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """With MUJO_ALL_TOOLS set, as in CI, a test that would be skipped for a tool that is not installed fails."""
    report = yield
    if report.skipped and os.environ.get("MUJO_ALL_TOOLS") and "not installed" in str(report.longrepr):
        report.outcome = "failed"
    return report
