"""Text of a bundle is escaped in every exported file: it never becomes code, markup or a file name."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile_text import VISIBLE, replaced, sign, table_of
from java_reference import JAVA, compiled, java
from markdown_it import MarkdownIt

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.store import find_bundle
from mujo_edge.core import UNKNOWN, DataError
from mujo_edge.export import SUMS, TARGETS, Job, export, golden, web, write
from mujo_edge.export.escape import c_comment, c_identifier, c_string, java_property, markdown
from mujo_edge.printable import printable

LABEL_SET = "gym-wrist"
PLACEMENT = "left (l'avant-bras, 手首)"
TEXTS = tuple(VISIBLE.values())


def bundle_with(texts: Sequence[str], folder: Path) -> Path:
    """The shipped bundle with each of `texts` in every field that may hold it."""
    shutil.copytree(find_bundle(), folder)
    table = table_of(folder) | {"created": " ".join(texts)}
    for n, label in enumerate(table["label_sets"][LABEL_SET]["labels"]):
        text = texts[n % len(texts)]
        label |= {"name": text if n < len(texts) else f"{text} {n}", "prompts": [text]}
    table["label_sets"][LABEL_SET] |= {"placement": PLACEMENT, "unknown_threshold": -1.0}
    for part in table["lowered"]:
        part |= {"measured": " ".join(texts), "operators": list(texts)}
    table["training"]["corpora"] = [{"title": text, "licence": text, "home": text} for text in texts]
    table["training"]["clips"] = [{"title": "two\nlines", "licence": "MIT", "home": "https://a.b/~c_d?e=f&amp=1"}]
    sign(folder, table)
    return folder


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """Of a hostile bundle, and of a harmless one of the same shape. One golden stream is enough here."""
    jobs = {}
    for name, texts in (("hostile", TEXTS), ("harmless", [f"word{n}" for n in range(len(TEXTS))])):
        bundle = ModelBundle.load(bundle_with(texts, tmp_path_factory.mktemp("bundle") / name))
        labels = bundle.manifest.label_set(LABEL_SET)
        jobs[name] = Job(bundle, labels, golden.cases(bundle, labels)[:1], Path())
    return jobs


@pytest.fixture(scope="module")
def exports(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that hold one a target, by the job's name."""
    page = tmp_path_factory.mktemp("page")  # in place of the built one, which is the same for all bundles
    (page / "index.html").write_text("<!doctype html>\n")
    (page / "sw.js").write_text(f'const edition = "{web.EDITION}";\n')
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "build", lambda: page)
        for name, job in jobs.items():
            for target in TARGETS:
                (out / name / target).mkdir(parents=True)
                write(target, replace(job, folder=out / name / target))
    return {name: out / name for name in jobs}


@pytest.fixture(scope="module")
def folder(exports: dict[str, Path]) -> Path:
    """The hostile bundle's."""
    return exports["hostile"]


@pytest.mark.parametrize("target", TARGETS)
def test_json_round_trips_every_text(folder: Path, target: str) -> None:
    table = json.loads((folder / target / "mujo.json").read_text("utf-8"))
    assert tuple(table["label_sets"][LABEL_SET]["labels"][: len(TEXTS)]) == TEXTS
    assert table["created"] == " ".join(TEXTS)
    assert table["label_sets"][LABEL_SET]["placement"] == PLACEMENT


@pytest.mark.parametrize("target", TARGETS)
def test_golden_streams_round_trip_every_label(jobs: dict[str, Job], folder: Path, target: str) -> None:
    with (folder / target / "golden" / "even.events.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [event.label for event in jobs["hostile"].cases[0].predictions]
    assert {row["raw_label"] for row in rows} - {UNKNOWN}


@pytest.mark.parametrize("target", TARGETS)
def test_checksums_match_the_files(folder: Path, target: str) -> None:
    command = ["sha256sum", "--strict", "--quiet", "-c", SUMS]
    done = subprocess.run(command, cwd=folder / target, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def inline(text: str) -> Iterator[Any]:
    """Tokens of Markdown, those within lines and cells included. GitHub's: with tables, deletions and HTML."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in parser.parse(text):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["README.md", "LICENSES.md"])
def test_markdown_keeps_its_structure(exports: dict[str, Path], target: str, name: str) -> None:
    def structure(path: Path) -> list[str]:
        tokens = inline(path.read_text("utf-8"))
        return [token.type for token in tokens if token.type not in ("text", "text_special")]

    assert structure(exports["hostile"] / target / name) == structure(exports["harmless"] / target / name)


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_text_adds_no_files(exports: dict[str, Path], target: str) -> None:
    one, other = ({path.relative_to(out).as_posix() for path in (out / target).rglob("*")} for out in exports.values())
    assert one == other


@pytest.mark.parametrize("target", TARGETS)
def test_license_rows_have_three_cells(folder: Path, target: str) -> None:
    tokens = list(inline((folder / target / "LICENSES.md").read_text("utf-8")))
    cells = [
        "".join(part.content for part in tokens[n + 1].children or ())
        for n, token in enumerate(tokens)
        if token.type == "td_open"
    ]
    rows = [cells[n : n + 3] for n in range(0, len(cells), 3)]
    assert rows[:-1] == [[" ".join(text.split())] * 3 for text in TEXTS]
    assert rows[-1] == ["two lines", "MIT", "https://a.b/~c_d?e=f&amp=1"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("around", ["{}", "a {} b", "{}, {}"])
def test_markdown_renders_the_literal_text(text: str, around: str) -> None:
    tokens = list(inline(around.format(markdown(text), markdown(text))))
    assert [token.type for token in tokens[:3]][::2] == ["paragraph_open", "text"] or tokens[1].children
    shown = "".join(token.content for token in tokens[1].children)
    plain = " ".join(text.split())
    assert shown == around.format(plain, plain)
    assert {token.type for token in tokens[1].children} <= {"text", "text_special"}
    assert [token.type for token in tokens if token.type.endswith("_open")] == ["paragraph_open"]


def test_markdown_keeps_plain_words() -> None:
    for text in (
        "push-up",
        "two-hand push",
        "SPAR (Smart Physiotherapy)",
        "CC BY 4.0",
        "https://a.b/~c/D_e.html#f",
        "a_b",
    ):
        assert markdown(text) == text


def test_label_file_has_one_label_per_line(folder: Path) -> None:
    for target in ("android", "ios", "web"):
        with zipfile.ZipFile(folder / target / "student_int8_float_io.tflite") as archive:
            assert all(re.fullmatch(r"labels-[a-z-]+\.txt", name) for name in archive.namelist())
            lines = archive.read(f"labels-{LABEL_SET}.txt").decode().split("\n")
        assert tuple(lines[: len(TEXTS)]) == TEXTS


def test_properties_have_one_key_per_line(folder: Path) -> None:
    lines = (folder / "android" / "mujo.properties").read_text("ascii").splitlines()
    pairs = dict(line.split("=") for line in lines)
    assert len(pairs) == len(lines)
    assert all(re.fullmatch(r"(?:[\w.+-]|\\u[0-9a-f]{4})+", key) for key in pairs)
    for n, text in enumerate(TEXTS):
        raw = pairs[java_property(f"label_sets.{LABEL_SET}.labels.{n}")]
        utf16 = raw.encode("ascii").decode("unicode_escape").encode("utf-16-le", "surrogatepass")
        assert utf16.decode("utf-16-le") == text


@JAVA
def test_java_reproduces_the_golden_streams(folder: Path, tmp_path: Path) -> None:
    classes = compiled(sorted((folder / "android" / "java" / "edge" / "mujo").glob("*.java")), tmp_path / "classes")
    assert java("edge.mujo.SelfTest", folder / "android", path=str(classes)).stdout == "passed\n"


def test_library_properties_keep_their_keys(folder: Path) -> None:
    template = (Path(web.__file__).parents[1] / "mcu" / "library.properties").read_text("utf-8")
    lines = (folder / "mcu" / "library.properties").read_text("utf-8").splitlines()
    assert [line.partition("=")[0] for line in lines] == [line.partition("=")[0] for line in template.splitlines()]


def gcc(*options: object) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    done = subprocess.run(["gcc", *map(str, options)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_c_sources_compile_without_injected_code(folder: Path, tmp_path: Path) -> None:
    src = folder / "mcu" / "src"
    strict = ["-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Wcomment", "-Wtrigraphs", "-Werror", "-pedantic"]
    gcc(*strict, "-fsyntax-only", f"-I{src}", *sorted(src.glob("*.c")), folder / "mcu" / "selftest.c")
    gcc(*strict, "-c", f"-I{src}", src / "mujo_labels.c", "-o", tmp_path / "labels.o")
    symbols = subprocess.run(["nm", tmp_path / "labels.o"], capture_output=True, text=True, check=True).stdout
    defined = {tuple(line.split()[1:]) for line in symbols.splitlines()}
    assert {kind for kind, _ in defined} <= {"R", "r", "D", "d"}  # only data, no functions
    assert all(name.startswith("mujo_labels_") for _, name in defined)
    sections = subprocess.run(["objdump", "-h", tmp_path / "labels.o"], capture_output=True, text=True, check=True)
    assert "init_array" not in sections.stdout


def test_c_program_prints_every_label(folder: Path, tmp_path: Path) -> None:
    src = folder / "mcu" / "src"
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "mujo_labels.h"\nint main(void) {\n    int i;\n'
        "    for (i = 0; i < MUJO_LABELS.classes; i++) puts(MUJO_LABELS.labels[i]);\n    return 0;\n}\n"
    )
    gcc("-trigraphs", f"-I{src}", tmp_path / "main.c", src / "mujo_labels.c", "-o", tmp_path / "main")
    output = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout.decode().split("\n")
    assert tuple(output[: len(TEXTS)]) == TEXTS


@pytest.mark.parametrize("text", [*TEXTS, "*/*/ /* //", "手首", "\\", "a\nb", "\u2028"])
def test_c_comments_cannot_be_closed_early(text: str, tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text(f"/* {c_comment(text)} */ int only; /* {c_comment(text)}*/\n", "ascii")
    gcc("-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", source, "-o", tmp_path / "a.o")
    symbols = subprocess.run(["nm", tmp_path / "a.o"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in symbols.splitlines()] == ["only"]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_escaped_for_c(text: str) -> None:
    assert re.fullmatch(r'"(?:[ !#->@-\[\]-~]|\\[0-7]{3})*"', c_string(text))
    assert re.fullmatch(r"[A-Za-z0-9_]+", c_identifier(text))


def test_service_worker_has_only_a_hash(folder: Path) -> None:
    assert re.fullmatch(r'const edition = "[0-9a-f]{16}";\n', (folder / "web" / "sw.js").read_text())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"label_sets/{LABEL_SET}/placement", VISIBLE["C comment"]),
        ("version", "1.0\nincludes=evil.h"),
        ("name", "</title><script>"),
        (f"label_sets/{LABEL_SET}@", "../../evil"),
        ("models/2/file", "index.html"),
        (f"label_sets/{LABEL_SET}/labels/0/name", "a\u2028b"),
    ],
)
def test_unrepresentable_text_is_rejected_and_nothing_is_written(
    target: str, path: str, value: str, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(find_bundle(), tmp_path / "bundle"))
    sign(bundle, replaced(table_of(bundle), path, value))
    with pytest.raises(DataError) as caught:
        export(target, bundle, tmp_path / "out")
    assert str(caught.value) == printable(str(caught.value))
    assert not (tmp_path / "out").exists()
