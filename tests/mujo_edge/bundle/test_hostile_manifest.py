"""Names, versions, places and files of a bundle are plain or refused; all other text is, if it hides anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hostile_text import HIDDEN, VISIBLE, replaced, sign, table_of

from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.bundle.store import find_bundle
from mujo_edge.core import DataError

IDENTIFIERS = (
    "name",
    "version",
    "label_sets/gym-wrist@",
    "label_sets/gym-wrist/placement",
    "label_sets/gym-wrist/prototypes",
    "label_sets/gym-wrist/smoothing/method",
    "models/0/file",
    "models/0/runtime",
    "models/1/precision",
    "lowered/0/file",
    "lowered/0/backend",
    "lowered/0/precision",
    "input/channels/0",
    "reference",
    "card",
)
TEXTS = (
    "created",
    "label_sets/gym-wrist/labels/0/name",
    "label_sets/gym-wrist/labels/0/prompts/0",
    "lowered/0/measured",
    "lowered/0/operators/0",
    "training/corpora/0/title",
    "training/corpora/0/license",
    "training/corpora/0/home",
    "metrics/results/0/dataset",
    "metrics/results@",
)
NUMBERS = (
    "input/hop",
    "input/window",
    "input/rate_hz",
    "input/clip",
    "input/scale/0",
    "input/max_gap_s",
    "label_sets/gym-wrist/smoothing/windows",
    "label_sets/gym-wrist/smoothing/stay",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle; tests write its bundle.json anew."""
    return Path(shutil.copytree(find_bundle(), tmp_path_factory.mktemp("bundle") / "hostile"))


SHIPPED = table_of(find_bundle())


def refusal(bundle: Path, path: str, value: object) -> str:
    sign(bundle, replaced(SHIPPED, path, value))
    with pytest.raises(DataError) as caught:
        read_manifest(bundle)
    said = str(caught.value)
    assert str(bundle) in said
    assert said.isprintable()
    assert len(said) < 600
    return said


@pytest.mark.parametrize("path", IDENTIFIERS)
def test_identifiers_must_be_plain(bundle: Path, path: str) -> None:
    for value in (*VISIBLE.values(), *HIDDEN.values(), "x" * 300):
        if not (path.endswith("placement") and value == VISIBLE["prototype"]):
            refusal(bundle, path, value)


@pytest.mark.parametrize("path", ["models/0/file", "label_sets/gym-wrist/prototypes", "card", "reference"])
@pytest.mark.parametrize("value", ["/etc/passwd", "../bundle.json", "a\\..\\b.onnx", "C:evil.onnx", "a/./b.onnx", ""])
def test_files_outside_the_bundle_are_rejected(bundle: Path, path: str, value: str) -> None:
    refusal(bundle, path, value)


@pytest.mark.parametrize("name", ["evil.html", "sw.js", "bundle.json", "Makefile", "README.md"])
def test_model_file_must_not_share_a_name(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes() if (bundle / name).exists() else b"{}")
    assert "models[2]" in refusal(bundle, "models/2/file", name)


def test_file_names_with_hidden_characters_are_rejected(bundle: Path) -> None:
    sign(bundle, SHIPPED)
    text = (bundle / "bundle.json").read_text("utf-8")
    for name in (*HIDDEN.values(), "a\\b", "a`b", "a<b", 'a"b', "a|b", "a:b"):
        table = json.loads(text)
        assert "reference.npz" in table["files"]
        table["files"][name] = table["files"].pop("reference.npz")
        from mujo_edge.bundle.manifest import NO_DIGEST, text_digest

        changed = json.dumps(table | {"sha256": NO_DIGEST})
        (bundle / "bundle.json").write_text(changed.replace(NO_DIGEST, text_digest(changed, NO_DIGEST), 1))
        with pytest.raises(DataError) as caught:
            read_manifest(bundle)
        assert str(caught.value).isprintable()
        assert "file" in str(caught.value)


@pytest.mark.parametrize("path", TEXTS)
def test_text_with_hidden_characters_is_rejected(bundle: Path, path: str) -> None:
    lines = path.startswith(("training", "metrics")) and not path.endswith("@")
    for what, value in HIDDEN.items():
        if not (lines and what in ("newline", "tab")):
            refusal(bundle, path, value)


def test_visible_text_is_read_unchanged(bundle: Path) -> None:
    table = SHIPPED
    for path in TEXTS[:-1]:
        table = replaced(table, path, "\n".join(VISIBLE.values()) if path.startswith("training") else "x")
    for n, value in enumerate(VISIBLE.values()):
        table = replaced(table, f"label_sets/gym-wrist/labels/{n}/name", value)
    sign(bundle, table)
    manifest = read_manifest(bundle)
    assert manifest.label_set("gym-wrist").names[: len(VISIBLE)] == tuple(VISIBLE.values())
    assert manifest.training["corpora"][0]["title"].split("\n") == list(VISIBLE.values())


@pytest.mark.parametrize("path", NUMBERS)
def test_number_instead_of_text_is_rejected(bundle: Path, path: str) -> None:
    for value in ("5", "5 }; int evil = 1; /*", None, True, [5]):
        refusal(bundle, path, value)


@pytest.mark.parametrize("name", ["1.0.0-rc.1+build.5", "physio-wrist", "a", "Größe", "x_y"])
def test_usual_names_are_accepted(bundle: Path, name: str) -> None:
    sign(bundle, replaced(SHIPPED, "label_sets/gym-wrist/placement", name))
    assert read_manifest(bundle).label_set("gym-wrist").placement == name
    if name.isascii():
        for path in ("name", "version", "label_sets/gym-wrist@"):
            sign(bundle, replaced(SHIPPED, path, name))
            read_manifest(bundle)


@pytest.mark.parametrize("placement", ["left wrist", "right_thigh", "upper arm (left)", "手首", "l'avant-bras", ""])
def test_usual_placements_are_accepted(bundle: Path, placement: str) -> None:
    sign(bundle, replaced(SHIPPED, "label_sets/gym-wrist/placement", placement))
    assert read_manifest(bundle).label_set("gym-wrist").placement == placement


def test_vocabulary_names_with_hidden_characters_are_rejected(bundle: Path) -> None:
    path = bundle / "vocabulary" / "names.json"
    before = path.read_bytes()
    try:
        for value in HIDDEN.values():
            for key in ("name", "also"):
                names = json.loads(before)
                names[3][key] = value if key == "name" else [value]
                path.write_text(json.dumps(names))
                sign(bundle, SHIPPED)
                with pytest.raises(DataError, match=r"names\.json") as caught:
                    read_manifest(bundle)
                assert str(caught.value).isprintable()
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("text", [*HIDDEN.values(), b"\xff\xfe\x00", "a\x0cb"], ids=ascii)
def test_model_card_with_hidden_characters_is_rejected(bundle: Path, text: str | bytes) -> None:
    path = bundle / "MODEL_CARD.md"
    before = path.read_bytes()
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        path.write_bytes(before + content)
        sign(bundle, SHIPPED)
        if text in (HIDDEN["newline"], HIDDEN["tab"]):
            read_manifest(bundle)
            return
        with pytest.raises(DataError, match=r"MODEL_CARD\.md") as caught:
            read_manifest(bundle)
        assert str(caught.value).isprintable()
    finally:
        path.write_bytes(before)
