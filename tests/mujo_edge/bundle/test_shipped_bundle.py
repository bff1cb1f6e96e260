"""Every shipped bundle is complete, runs in every runtime, and has the documented size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from self_description import constants_are_those_of, json_is_that_of

from mujo_edge.bundle import verify
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.bundle.store import shipped_bundles
from mujo_edge.bundle.vocabulary import EXAMPLE, NEVER, key
from mujo_edge.runtimes import open_model

pytestmark = pytest.mark.parametrize("name", shipped_bundles())


def test_every_model_gives_the_reference_outputs(name: str) -> None:
    manifest = read_manifest(name)
    assert manifest.name == name
    checks = verify(manifest)
    assert {check.file for check in checks} == {model.file for model in manifest.models}


def test_bundle_is_as_small_as_documented(name: str) -> None:
    manifest = read_manifest(name)
    assert (manifest.folder / manifest.model("litert").file).stat().st_size <= 100_000
    assert manifest.metrics["tflite_micro_arena_bytes"] <= 32 * 1024
    words = manifest.folder / "vocabulary"
    sizes = {path: path.stat().st_size for path in manifest.folder.rglob("*") if path.is_file()}
    assert sum(size for path, size in sizes.items() if words not in path.parents) < 1_600_000
    assert sum(size for path, size in sizes.items() if words in path.parents) < 500_000


def test_vocabulary_has_a_thousand_names_and_agrees_with_the_label_sets(name: str) -> None:
    manifest = read_manifest(name)
    assert manifest.vocabulary is not None
    assert len(manifest.vocabulary.names) >= 1000
    known = {each.name: each.trained for each in manifest.vocabulary.names}
    assert all(known[word.strip()] for word in EXAMPLE.strip('"').split(","))  # the example has only trained names
    assert manifest.labels(EXAMPLE.strip('"')).unknown_threshold > NEVER
    assert manifest.labels("squat, push-up, plank").names[:3] == ("squat", "push-up", "plank")
    for labels in manifest.label_sets.values():
        own = [name for name in labels.names if name not in ("unknown", "background")]
        by_name = manifest.labels(",".join(own))
        assert not by_name.note
        # Fitted to windows, the set's prototypes are near those of its words, but not the same.
        cosine = labels.prototypes[: len(own)] @ by_name.prototypes.T
        assert (cosine.argmax(0) == np.arange(len(own))).mean() > 0.7


def test_projection_gives_the_prototypes(name: str) -> None:
    from mujo_edge.bundle.sentence_embedding import embed

    manifest = read_manifest(name)
    known = manifest.vocabulary
    assert known is not None
    words = ["atlas stones", "ankle circles"]  # names without synonyms
    rows = [known.rows[key(word)] for word in words]
    assert ((known.project(embed(words)) * known.prototypes[rows]).sum(1) > 0.999).all()


def test_every_file_passed_the_gate(name: str) -> None:
    for model in read_manifest(name).models:
        assert model.parity.windows >= 1000
        assert model.parity.top1_agreement >= 0.99
        assert model.parity.snr_db >= 20


@pytest.mark.parametrize("file", ["student_int8.pte", "student_coreml.pte", "student_cortex_m.pte"])
def test_every_pte_has_the_metadata_for_apps(name: str, file: str) -> None:
    manifest = read_manifest(name)
    constants = open_model((manifest.folder / file).read_bytes(), "executorch").constants()
    constants_are_those_of(manifest, constants, with_labels=file != "student_cortex_m.pte")


def test_onnx_has_the_metadata_for_apps(name: str) -> None:
    manifest = read_manifest(name)
    session = onnxruntime.InferenceSession(manifest.folder / manifest.model("onnx").file)
    json_is_that_of(manifest, session.get_modelmeta().custom_metadata_map["mujo.json"])


def test_lowered_files_state_their_parity(name: str) -> None:
    manifest = read_manifest(name)
    assert {model.backend for model in manifest.lowered} == {"coreml", "cortex_m"}
    for model in manifest.lowered:
        assert model.parity is not None
        assert model.parity.windows >= 1000
        assert model.parity.top1_agreement >= 0.99
        assert model.parity.snr_db >= 20


def test_card_names_every_training_set_and_license(name: str) -> None:
    manifest = read_manifest(name)
    card = (manifest.folder / manifest.card).read_text()
    for corpus in manifest.training["corpora"]:
        assert corpus["title"] in card
        assert corpus["licence"] in card


def test_card_has_scores_and_macs(name: str) -> None:
    manifest = read_manifest(name)
    card = (manifest.folder / manifest.card).read_text()
    for row in manifest.metrics["protocol_v2"]["rows"]:
        assert (
            row["method"].endswith("prototypes") or row["method"] == "broad, logistic" or f"{row['mean']:.3f}" in card
        )
    assert f"{manifest.metrics['macs']:,} multiply-accumulates" in card


def test_no_file_has_a_path_of_the_build_machine(name: str) -> None:
    roots = [str(Path.home()).encode(), str(Path(__file__).parents[3]).encode(), b"site-packages"]
    for path in read_manifest(name).folder.rglob("*"):
        if path.is_file():
            assert not [root for root in roots if root in path.read_bytes()], path.name
