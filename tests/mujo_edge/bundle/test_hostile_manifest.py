"""Names, versions, placements and files of a bundle must be plain; other text must have no hidden characters."""

from __future__ import annotations

import io
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_text import HIDDEN, VISIBLE, replaced, sign, table_of

from mujo_edge.bundle import verify
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


RANGES = {
    "input/rate_hz": (float("nan"), 0, float("inf"), -50, 1e-9, 1e9),
    "input/window": (0, -150, 10**9, 150.5, 10**30),
    "input/hop": (0, -1, 151, 10**9),
    "input/clip": (0, -4, float("nan"), float("inf"), 10**400),
    "input/scale/0": (0, -1, float("nan"), 1e-320),
    "input/scale": ([], [1.0], 1.0),
    "input/channels": ([], ["ax"], ["az", "ay", "ax"], ["ax"] * 6),
    "input/max_gap_s": (0, -1, float("inf"), 1e12),
    "embedding_dim": (0, -1, 10**12, 64.5, "64", True),
    "label_sets/gym-wrist/temperature": (0, -1, float("nan"), float("inf"), 1e-320, "0.1", None, True),
    "label_sets/gym-wrist/unknown_threshold": (float("nan"), float("-inf"), 7, "0.1", None),
    "label_sets/gym-wrist/channels": (0, 4, 7, "6", True, 6.0),
    "label_sets/gym-wrist/labels/0/name": ("", "x" * 300, 5, None),
    "label_sets/gym-wrist/labels": ([], None, "ab"),
    "label_sets/gym-wrist/smoothing/stay": (-0.1, 1.5, float("nan")),
    "label_sets/gym-wrist/smoothing/windows": (0, -5, 10**9, 5.5),
    "models/0/parity/snr_db": (float("nan"), "27", None),
    "models/0/parity/windows": (-1, 1.5),
    "models": ([], [5], "x"),
    "label_sets": ({}, [], None),
    "vocabulary/names": (0, -1, 10**12, "5"),
    "vocabulary/temperature": (0, float("nan"), "x"),
    "training": ([], "x", {"loss": float("nan")}, {"loss": float("inf")}),
}
"""Values out of range, not finite or of another kind, for each number and list of bundle.json."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle; tests write its bundle.json anew."""
    return Path(shutil.copytree(find_bundle(), tmp_path_factory.mktemp("bundle") / "hostile"))


SHIPPED = table_of(find_bundle())


def refusal(bundle: Path, path: str, value: object) -> str:
    sign(bundle, replaced(SHIPPED, path, value))
    with pytest.raises(DataError) as caught:
        read_manifest(bundle)
    message = str(caught.value)
    assert str(bundle) in message
    assert message.isprintable()
    assert len(message) < 600
    return message


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


@pytest.mark.parametrize("path", RANGES)
def test_values_out_of_range_are_rejected(bundle: Path, path: str) -> None:
    for value in RANGES[path]:
        assert path.partition("/")[0].partition("_")[0] in refusal(bundle, path, value) or "not finite" in refusal(
            bundle, path, value
        )


@pytest.mark.parametrize("key", ["rate_hz", "hop", "scale", "max_gap_s"])
def test_input_without_a_field_is_rejected(bundle: Path, key: str) -> None:
    entry = {name: value for name, value in SHIPPED["input"].items() if name != key}
    assert f"input: '{key}' is missing" in refusal(bundle, "input", entry)
    assert "input" in refusal(bundle, "input", SHIPPED["input"] | {"surprise": 1})


def with_file(bundle: Path, name: str, content: bytes) -> DataError:
    """The error of a bundle whose file `name` is `content`, with the right SHA-256."""
    path = bundle / name
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        sign(bundle, SHIPPED)
        with pytest.raises(DataError) as caught:
            verify(read_manifest(bundle))
        assert str(caught.value).isprintable()
        return caught.value
    finally:
        path.write_bytes(before)


def npy(shape: str, dtype: str = "<f4", data: bytes = b"") -> bytes:
    """A .npy file that claims a shape, whatever follows."""
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def npz(content: bytes, method: int = zipfile.ZIP_DEFLATED, names: tuple[str, ...] = ("x", "y", "member")) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name in names:
            archive.writestr(f"{name}.npy", content)
    return packed.getvalue()


HEADERS = {
    "4 TB": npy("(1000000000000,)"),
    "product overflows": npy("(4294967296, 4294967296, 4294967296)"),
    "negative": npy("(-1, 64)"),
    "no bytes each": npy("(1000000000000,)", "<U0"),
    "objects": npy("(1,)", "|O", b"cos\nsystem\n(S'true'\ntR."),
    "record": npy("(1,)", "<f4,|O"),
    "dates": npy("(1,)", "<M8[s]", bytes(8)),
    "short": npy("(5, 64)", data=bytes(8)),
    "long": npy("(1,)", data=bytes(4096)),
    "deep": npy("(" * 60),
    "code": npy("().__class__"),
    "not NumPy": b"\x93NUMPX" + bytes(100),
    "version 9": b"\x93NUMPY\x09\x00" + bytes(100),
    "empty": b"",
}


@pytest.mark.parametrize("what", HEADERS)
def test_array_that_contradicts_its_header_is_rejected(bundle: Path, what: str) -> None:
    """Headers that ask for more memory than there is are refused before any is taken."""
    assert "gym-wrist.npy" in str(with_file(bundle, "prototypes/gym-wrist.npy", HEADERS[what]))
    for name in ("reference.npz", "vocabulary/arrays.npz"):
        names = ("x", "y", "member") if name == "reference.npz" else ("prototypes", "weight", "bias")
        assert Path(name).name in str(with_file(bundle, name, npz(HEADERS[what], names=names)))


def test_decompression_bomb_of_arrays_is_rejected_in_little_memory(bundle: Path) -> None:
    bomb = npy("(100000000,)", "|u1", bytes(100_000_000))
    deep = {
        "deflated": npz(bomb),
        "bzip2": npz(npy("(1000,)", "|u1", bytes(1000)), zipfile.ZIP_BZIP2),
        "members": npz(b"x", names=tuple(f"{n}" for n in range(2000))),
        "truncated": npz(npy("(8,)", data=bytes(32)))[:-30],
        "comment": npz(npy("(8,)", data=bytes(32))) + b"x",
        "none of ours": npz(npy("(8,)", data=bytes(32)), names=("a", "b")),
    }
    tracemalloc.start()
    try:
        for content in deep.values():
            assert "reference.npz" in str(with_file(bundle, "reference.npz", content))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_reference_of_another_shape_is_rejected(bundle: Path) -> None:
    with np.load(bundle / "reference.npz") as arrays:
        good = dict(arrays)
    for changes in (
        {"x": good["x"][:, :, :-1]},
        {"y": good["y"][:, :-1]},
        {"y": good["y"][:-1]},
        {"member": good["member"][None]},
        {"x": good["x"] * np.nan},
        {part: array[:0] for part, array in good.items()},
    ):
        packed = io.BytesIO()
        np.savez(packed, **good | changes)
        assert "reference.npz holds x" in str(with_file(bundle, "reference.npz", packed.getvalue()))


SPECIAL = {
    "a FIFO": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("name", ["bundle.json", "MODEL_CARD.md", "reference.npz", "student_int8.tflite"])
def test_file_that_is_not_regular_is_never_opened(bundle: Path, name: str, what: str) -> None:
    sign(bundle, SHIPPED)
    path, aside = bundle / name, bundle.parent / "aside"
    path.rename(aside)
    try:
        SPECIAL[what](path)
        with pytest.raises(DataError, match=r"is not a regular file|has no bundle\.json"):
            read_manifest(bundle)
    finally:
        path.rmdir() if what == "a folder" else path.unlink()
        aside.rename(path)


def test_links_to_files_are_followed(bundle: Path, tmp_path: Path) -> None:
    """Caches of model hubs and some package managers hold links."""
    sign(bundle, SHIPPED)
    for path in bundle.rglob("*"):
        target = tmp_path / path.relative_to(bundle)
        target.mkdir() if path.is_dir() else target.symlink_to(path)
    assert read_manifest(tmp_path).name == "mujo-student"


def test_too_large_file_is_rejected(bundle: Path) -> None:
    sign(bundle, SHIPPED)
    path = bundle / "student_int8.tflite"
    before = path.read_bytes()
    try:
        os.truncate(path, 1 << 40)  # sparse
        with pytest.raises(DataError, match="larger than 64 MB"):
            read_manifest(bundle)
    finally:
        path.write_bytes(before)


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
