"""Broken data sets: each gives a DataError with the file's name and advice."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_corpora import LAYOUTS, zip_folder

from mujo_edge.core import DataError
from training.corpora import CORPORA
from training.corpora.base import Recording, constant, problems
from training.corpora.files import Tree


def first_file(name: str, folder: Path) -> Path:
    """The first file with signals that the reader of `name` reads."""
    with Tree.open(folder) as tree:
        return folder / next(n for n, _ in tree.match(CORPORA[name].marker) if "labels" not in n)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 - 3])


def edit(file: Path, line: int, change: Callable[[str], str]) -> None:
    lines = file.read_text().splitlines()
    lines[line] = change(lines[line])
    file.write_text("\n".join(lines) + "\n")


def nan(line: str) -> str:
    """Replace the third number that is read in a row: the fifth cell in MetaMotion, where two times come first."""
    separator = next(one for one in "\t, " if one in line)
    cells = line.split(separator)
    cells[4 if cells[0] == cells[1] else 2] = "nan"
    return separator.join(cells)


TEXT = ("motionsense", "sp_sw_watch", "muvr", "metamotion", "mhealth", "hapt", "dsads", "mex_thigh")
BINARY = ("utd_mhad", "mm_fit", "myogym", "mhealth_fragments")


@pytest.mark.parametrize("name", [*TEXT, *BINARY, "wisdm_v1", "ptex"])
def test_truncated_file_is_an_error(name, make):
    folder = make(name)
    file = first_file(name, folder)
    truncate(file)
    with pytest.raises(DataError, match=file.name) as caught:
        CORPORA[name].load(folder)
    assert "Fetch" in str(caught.value)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, "not a finite number"),
        (lambda line: line.replace(".", "x"), "malformed"),
        (lambda line: line + ",1\t2", "malformed"),
        (lambda line: line[: len(line) // 2], "malformed"),
    ],
    ids=["nan", "letters", "extra column", "half a row"],
)
def test_broken_row_is_an_error(name, change, message, make):
    folder = make(name)
    file = first_file(name, folder)
    edit(file, 7, change)
    with pytest.raises(DataError, match=message) as caught:
        CORPORA[name].load(folder)
    assert file.name in str(caught.value)


@pytest.mark.parametrize("name", ["motionsense", "sp_sw_watch", "metamotion"])
def test_wrong_columns_are_an_error(name, make):
    folder = make(name)
    file = first_file(name, folder)
    edit(file, 0, lambda line: line.replace("x", "q"))
    with pytest.raises(DataError, match="lacks one of the columns") as caught:
        CORPORA[name].load(folder)
    assert file.name in str(caught.value)


def test_file_with_only_a_header_is_an_error(make):
    folder = make("motionsense")
    file = first_file("motionsense", folder)
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="has no rows"):
        CORPORA["motionsense"].load(folder)


def test_empty_file_is_an_error(make):
    folder = make("motionsense")
    first_file("motionsense", folder).write_bytes(b"")
    with pytest.raises(DataError, match=r"sub_1\.csv is cut off or malformed"):
        CORPORA["motionsense"].load(folder)


def test_unknown_label(make):
    folder = make("sp_sw_watch")
    file = folder / "DATA" / "s01" / "s01_01_sw.csv"
    edit(file, 5, lambda line: line.replace("SEATED", "FLYING"))
    with pytest.raises(DataError, match=r"s01_01_sw\.csv.*FLYING"):
        CORPORA["sp_sw_watch"].load(folder)


def test_exercise_of_a_newer_version_is_an_error(make):
    folder = make("muvr")
    file = first_file("muvr", folder)
    file.write_text(file.read_text().replace("biceps-curl", "handstand"))
    with pytest.raises(DataError, match=r"arms/.*'handstand'.*newer version"):
        CORPORA["muvr"].load(folder)


@pytest.mark.parametrize("name", ["utd_mhad", "myogym"])
def test_unrelated_matlab_file_is_an_error(name, make):
    from scipy.io import savemat

    folder = make(name)
    file = first_file(name, folder)
    savemat(file, {"something": np.zeros((4, 6))})
    with pytest.raises(DataError, match="has no variable"):
        CORPORA[name].load(folder)
    variable = "d_iner" if name == "utd_mhad" else "raw_data"
    savemat(file, {variable: np.zeros((4, 5)), "raw_data_labels": np.zeros((4, 2))})
    with pytest.raises(DataError, match=file.name):
        CORPORA[name].load(folder)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.97])
def test_truncated_zip_is_an_error(name, part, make, tmp_path):
    archive = zip_folder(make(name), tmp_path / "half.zip")
    archive.write_bytes(archive.read_bytes()[: int(part * archive.stat().st_size)])
    with pytest.raises(DataError, match=r"half\.zip is not a complete zip archive"):
        CORPORA[name].load(archive)


def test_flipped_byte_in_a_zip_is_an_error(make, tmp_path):
    archive = zip_folder(make("motionsense"), tmp_path / "flipped.zip")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"flipped\.zip: .*cannot be read"):
        CORPORA["motionsense"].load(archive)


def test_missing_path_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        CORPORA["spar"].load(tmp_path / "nowhere.zip")
    with pytest.raises(DataError, match="holds no recording of MotionSense"):
        CORPORA["motionsense"].load(tmp_path)


def still(scale: float) -> Recording:
    """Ten seconds at rest in a unit in which g is `scale`."""
    rng = np.random.default_rng(0)
    x = scale * (np.tile([0.1, 0.2, 0.97], (500, 1)) + rng.normal(0, 0.002, (500, 3)))
    return Recording(
        "made", "1", "still", "wrist", 50.0, x.astype(np.float32), constant("walking", 500), channels=("ax", "ay", "az")
    )


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1.0, "looks like g:"),
        (999.0, "beyond 1,000|looks like mg"),
        (0.02, "free of gravity"),
        (98.1, "m/s2 where the publisher has g"),
    ],
)
def test_wrong_unit_is_reported(scale, message, monkeypatch):
    reported = list(problems([still(scale)], ["walking"]))
    assert reported
    assert all(where in ("still", "") for where, _ in reported)
    assert any(part in what for _, what in reported for part in message.split("|")), reported


def test_si_units_are_accepted():
    assert not list(problems([still(9.81)], ["walking"]))


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e9])
def test_out_of_range_values_are_reported(value):
    recording = still(9.81)
    recording.x[100, 1] = value
    assert [where for where, what in problems([recording], ["walking"]) if "beyond 1,000" in what] == ["still"]


def test_single_file_in_another_unit_is_reported(make):
    """One file in m/s2 where the others are in g."""
    from scipy.io import loadmat, savemat

    folder = make("utd_mhad")
    file = first_file("utd_mhad", folder)
    savemat(file, {"d_iner": loadmat(file)["d_iner"] * 9.80665})
    with pytest.raises(DataError, match=r"a1_s1_t1: .*m/s2 where the publisher has g"):
        CORPORA["utd_mhad"].load(folder)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    for name in LAYOUTS:
        LAYOUTS[name](root / name)
    return root


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(LAYOUTS)), seed=st.integers(0, 2**32 - 1), zipped=st.booleans())
def test_random_damage_gives_a_data_error_or_valid_recordings(originals, tmp_path, name, seed, zipped):
    """Truncate a file, flip a bit or insert bytes anywhere: the result is valid recordings or a `DataError`."""
    rng = random.Random(seed)
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals / name, folder)
    victim = (
        zip_folder(folder, tmp_path / "damaged.zip")
        if zipped
        else rng.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size))
    )
    content = bytearray(victim.read_bytes())
    at = rng.randrange(len(content))
    match rng.choice(("cut", "flip", "insert")):
        case "cut":
            del content[at:]
        case "flip":
            content[at] ^= 1 << rng.randrange(8)
        case _:
            content[at:at] = rng.randbytes(rng.randrange(1, 40))
    victim.write_bytes(content)
    with suppress(DataError):
        recordings = CORPORA[name].load(victim if zipped else folder)
        assert recordings
        assert all(np.isfinite(r.x).all() for r in recordings)


def test_zip_members_with_parent_paths_are_not_extracted(tmp_path):
    """A zip is not unpacked: member names are matched and read, never written."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../sit_5/sub_1.csv", "x")
    with Tree.open(tmp_path / "evil.zip") as tree:
        assert [name for name, _ in tree.match(CORPORA["motionsense"].marker)] == ["../../sit_5/sub_1.csv"]
    assert not (tmp_path.parent.parent / "sit_5").exists()
