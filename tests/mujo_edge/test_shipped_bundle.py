"""Every bundle that ships is whole, runs in every runtime, and is as small as promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from mujo_edge.bundle import verify
from mujo_edge.manifest import read_manifest, shipped_bundles

pytestmark = pytest.mark.parametrize("name", shipped_bundles())


def test_every_model_gives_the_reference_outputs(name: str) -> None:
    manifest = read_manifest(name)
    assert manifest.name == name
    checks = verify(manifest)
    assert {check.file for check in checks} == {model.file for model in manifest.models}


def test_it_is_as_small_as_promised(name: str) -> None:
    manifest = read_manifest(name)
    assert (manifest.folder / manifest.model("litert").file).stat().st_size <= 100_000
    assert manifest.metrics["tflite_micro_arena_bytes"] <= 32 * 1024


def test_every_file_passed_the_gate(name: str) -> None:
    for model in read_manifest(name).models:
        assert model.parity.windows >= 1000
        assert model.parity.top1_agreement >= 0.99
        assert model.parity.snr_db >= 20


def test_the_card_names_every_training_set_and_licence(name: str) -> None:
    manifest = read_manifest(name)
    card = (manifest.folder / manifest.card).read_text()
    for corpus in manifest.training["corpora"]:
        assert corpus["title"] in card
        assert corpus["licence"] in card


def test_no_file_carries_a_path_of_the_machine_that_made_it(name: str) -> None:
    roots = [str(Path.home()).encode(), str(Path(__file__).parents[2]).encode(), b"site-packages"]
    for path in read_manifest(name).folder.rglob("*"):
        if path.is_file():
            assert not [root for root in roots if root in path.read_bytes()], path.name
