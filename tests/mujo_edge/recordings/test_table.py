"""Damaged and unusual files: each gives an error that names the place, or a note."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mujo_edge.core import Chunk, DataError, MujoError, UsageError
from mujo_edge.recordings import table
from mujo_edge.recordings.reader import Recording, open_recording
from mujo_edge.recordings.table import MAX_LINE_BYTES

HEADER = "t_s,ax_m_s2,ay_m_s2,az_m_s2,label\n"
ROWS = [f"{i / 50:.2f},0.{i:04d},0,9.81,walk\n" for i in range(200)]
GOOD = HEADER + "".join(ROWS)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def read(path: Path, content: str | bytes, block_bytes: int = 1 << 16) -> tuple[Recording, list[Chunk]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    recording = open_recording(path)
    return recording, list(recording.chunks(block_bytes))


def refusal(path: Path, content: bytes, block_bytes: int = 1 << 16) -> str:
    """The message if the file is rejected, "" if it is read; any error but a `MujoError` fails the test."""
    try:
        read(path, content, block_bytes)
    except MujoError as error:
        return str(error)
    return ""


def samples(chunks: list[Chunk]) -> int:
    return sum(len(chunk.t_s) for chunk in chunks)


def test_valid_file_is_read(tmp_path: Path) -> None:
    recording, chunks = read(tmp_path / "a.csv", GOOD)
    assert samples(chunks) == 200
    assert recording.notes == []
    assert chunks[0].truth == ("walk",) * 200


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_block_size_and_line_ends_make_no_difference(tmp_path: Path, size: int, newline: str, packed: bool) -> None:
    content = GOOD.replace("\n", newline).encode()
    _, chunks = read(tmp_path / "a.csv", gzip.compress(content) if packed else content, size)
    expected = read(tmp_path / "b.csv", GOOD)[1][0]
    np.testing.assert_array_equal(np.concatenate([c.t_s for c in chunks]), expected.t_s)
    np.testing.assert_array_equal(np.concatenate([c.x for c in chunks]), expected.x)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + GOOD,
        "# made by hand\n\n# device: watch\n" + GOOD,
        "sep=,\n" + GOOD,
        GOOD.rstrip("\n"),
        GOOD + "\n\n",
        GOOD.replace("\n", ",\n").replace(HEADER.strip() + ",", HEADER.strip()),
        GOOD.replace("walk", '"walk"').replace("ax_m_s2", '"ax_m_s2"'),
    ],
    ids=[
        "byte order mark",
        "comments",
        "sep=",
        "no newline at the end",
        "blank lines",
        "delimiter at the end",
        "quotes",
    ],
)
def test_dialects_of_other_programs_are_read(tmp_path: Path, content: str) -> None:
    recording, chunks = read(tmp_path / "a.csv", content)
    assert samples(chunks) == 200
    assert recording.notes == []
    assert set(chunks[0].truth or ()) == {"walk"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n  \n", "is empty"),
        (HEADER, "no samples below"),
        (HEADER.strip(), "no samples below"),
        (HEADER + "\n\n", "no samples below"),
        (HEADER + ROWS[0] + "0.02,1,2\n" + ROWS[2], "line 3: 3 cells, but the header has 5"),
        (HEADER + ROWS[0] + "0.02,1,2,3,walk,7\n" + ROWS[2], "line 3: 6 cells, but the header has 5"),
        (HEADER + ROWS[0] + "0.02,1,two,3,walk\n" + ROWS[2], "line 3: 'two' in column 'ay_m_s2' is not a number"),
        (HEADER + ROWS[0] + "yesterday,1,2,3,walk\n", "line 3: 'yesterday' in column 't_s' is not a number"),
        (HEADER + ROWS[0] + '0.02,1,2,3,"walk\n' + ROWS[2], "line 3: "),
        (HEADER + "\n" + "".join(ROWS) + "\n0.02,x,2,3,walk\n", "line 204: 'x'"),
        (b"\x00\x01\x02" * 1000, "binary data"),
        (b"PK\x03\x04" + b"\0" * 100, "an Excel workbook or a zip archive: save the sheet as CSV"),
        (b'[{"x": 1}]', "is JSON: write a CSV"),
        (bytes(range(1, 256)) * 20, "a.csv"),
        (b"\x1f\x8b" + b"garbage" * 9, "damaged"),
        ("t_s,ax_m_s2,ay_m_s2,az_m_s2\n" + "nan,nan,nan,nan\n" * 30, "no finite number"),
    ],
)
def test_errors_are_at_most_two_lines(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "a.csv", content)
    assert str(tmp_path / "a.csv") in str(caught.value)
    assert str(caught.value).count("\n") <= 1
    assert len(str(caught.value)) < 1000


def test_rows_before_a_bad_row_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "".join(ROWS * 100) + "1,2\n")
    chunks = open_recording(path).chunks(1 << 14)
    got: list[Chunk] = []
    with pytest.raises(DataError, match="line 20002"):
        got.extend(chunks)
    assert samples(got) > 18_000


@pytest.mark.parametrize("cut", range(1, len(ROWS[-1])))
def test_incomplete_last_line_is_dropped_with_a_note(tmp_path: Path, cut: int) -> None:
    recording, chunks = read(tmp_path / "a.csv", GOOD[:-cut])
    complete = GOOD[:-cut].rsplit("\n", 1)[1].count(",") == 4
    assert samples(chunks) == 199 + complete
    assert len(recording.notes) == 1 - complete
    assert complete or "line 201: the last line is incomplete" in recording.notes[0]


def test_truncated_gzip_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode())
    recording, chunks = read(tmp_path / "a.csv.gz", packed[: len(packed) // 2])
    assert 0 < samples(chunks) < 200
    assert any("cut off" in note for note in recording.notes)


def test_empty_cells_and_nan_words_are_read_as_nan(tmp_path: Path) -> None:
    rows = ["0.00,,0,9.81,a\n", "0.02,NaN,0,9.81,a\n", "0.04,inf,0,9.81,a\n", "0.06,-1e999,0,9.81,a\n", ",1,0,9.81,\n"]
    _, chunks = read(tmp_path / "a.csv", HEADER + "".join(rows) + "".join(ROWS[5:]))
    np.testing.assert_array_equal(chunks[0].x[:5, 0], np.float32([np.nan, np.nan, np.inf, -np.inf, 1]))
    np.testing.assert_array_equal(chunks[0].t_s[:5], [0.0, 0.02, 0.04, 0.06, np.nan])
    assert chunks[0].truth is not None
    assert chunks[0].truth[4] == ""


def test_repeated_rows_and_time_that_steps_back_are_passed_on(tmp_path: Path) -> None:
    order = [0, 1, 1, 5, 3, 2, *range(6, 200)]
    _, chunks = read(tmp_path / "a.csv", HEADER + "".join(ROWS[i] for i in order))
    np.testing.assert_allclose(chunks[0].t_s, np.array(order) / 50)


@pytest.mark.parametrize("start", ["", GOOD])
def test_endless_line_is_rejected_in_little_memory(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(start)
    with path.open("r+b") as file:
        file.truncate(2 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="longer than 1 MB"):
            list(open_recording(path).chunks())
        assert tracemalloc.get_traced_memory()[1] < 32 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()


def test_gzip_bomb_is_rejected_early(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="longer than 1 MB"):
        read(tmp_path / "a.csv.gz", gzip.compress(b"1" * (64 << 20)))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "".join(ROWS * 1000))
    tracemalloc.start()
    try:
        assert sum(len(chunk.t_s) for chunk in open_recording(path).chunks()) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@SLOW
@given(content=st.binary(max_size=4000), suffix=st.sampled_from([".csv", ".csv.gz", ".parquet"]))
def test_arbitrary_bytes_are_read_or_rejected(tmp_path: Path, content: bytes, suffix: str) -> None:
    assert refusal(tmp_path / f"a{suffix}", content).count("\n") <= 1


Edit = tuple[int, int, bytes]
EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=4)


def mutate(content: bytes, edits: list[Edit]) -> bytes:
    for at, length, new in edits:
        at %= len(content) + 1
        content = content[:at] + new + content[at + length :]
    return content


@SLOW
@given(edits=EDITS, packed=st.booleans())
def test_damaged_csv_is_read_or_rejected(tmp_path: Path, edits: list[Edit], packed: bool) -> None:
    content = gzip.compress(GOOD.encode(), mtime=0) if packed else GOOD.encode()
    assert refusal(tmp_path / "a.csv", mutate(content, edits), 1000).count("\n") <= 1


def parquet(path: Path, columns: dict[str, object], **options: object) -> bytes:
    pq.write_table(pa.table(columns), path, **options)
    return path.read_bytes()


def columns_of(n: int = 2000) -> dict[str, object]:
    return {
        "timestamp": pa.array([1_700_000_000_000_000 + 20_000 * i for i in range(n)], pa.timestamp("us")),
        "accX": pa.array([None if i == 5 else 0.01 * (i % 7) for i in range(n)], pa.float32()),
        "accY": pa.array([0] * n, pa.int16()),
        "accZ": pa.array([9.81] * n, pa.float64()),
        "activity": pa.array([("walk", "sit", None)[i % 3] for i in range(n)]).dictionary_encode(),
    }


def test_parquet_file_is_read(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", columns_of(), row_group_size=300)
    recording = open_recording(tmp_path / "a.parquet")
    chunks = list(recording.chunks(4096))
    assert recording.info.rate_hz == 50
    np.testing.assert_allclose(np.concatenate([c.t_s for c in chunks]), np.arange(2000) / 50, atol=1e-6)
    x = np.concatenate([c.x for c in chunks])
    assert np.isnan(x[5, 0])
    np.testing.assert_allclose(x[6:], np.array([[0.01 * (i % 7), 0, 9.81] for i in range(6, 2000)]), rtol=1e-6)
    assert [label for c in chunks for label in c.truth or ()][:4] == ["walk", "sit", "", "walk"]


def whole(content: bytes) -> bytes:
    return content


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        (lambda b: b[: len(b) // 2], columns_of(), "not a readable Parquet file"),
        (lambda b: b[:-1], columns_of(), "not a readable Parquet file"),
        (lambda b: b"PAR1", columns_of(), "not a readable Parquet file"),
        (lambda b: b"", columns_of(), "not a readable Parquet file"),
        (whole, columns_of(0), "holds no samples"),
        (whole, columns_of() | {"accX": ["a"] * 2000}, "'accX' holds string, not numbers"),
        (whole, {"accX": [1.0], "accY": [1.0]}, "no accelerometer"),
        (whole, columns_of() | {"accX": [[1.0]] * 2000}, "'accX' holds list"),
    ],
)
def test_unusable_parquet_is_an_error(
    tmp_path: Path, change: Callable[[bytes], bytes], columns: dict[str, object], message: str
) -> None:
    content = change(parquet(tmp_path / "a.parquet", columns))
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "a.parquet", content)
    assert str(tmp_path / "a.parquet") in str(caught.value)


@SLOW
@given(edits=EDITS)
def test_damaged_parquet_is_read_or_rejected(tmp_path: Path, edits: list[Edit]) -> None:
    content = parquet(tmp_path / "a.parquet", columns_of(200))
    assert refusal(tmp_path / "a.parquet", mutate(content, edits)).count("\n") <= 1


def test_paths_that_are_not_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        open_recording(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"no session\.json"):
        open_recording(tmp_path)
    with pytest.raises(DataError, match="not a regular file"):
        open_recording(Path("/dev/null"))


@pytest.mark.parametrize("line", ["\n", " \t\n", "\r\n"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_file_of_blank_lines_is_rejected(
    tmp_path: Path, line: str, gzipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 MB of them fit into a .gz of 0.3 MB, and would take minutes."""
    monkeypatch.setattr(table, "MAX_BLANK_LINES", 10_000)
    content = (GOOD + line * 50_000).encode()
    assert "lines are blank: not a table of samples" in refusal(
        tmp_path / "a.csv", gzip.compress(content) if gzipped else content
    )


def test_blank_lines_between_rows_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_BLANK_LINES", 10)
    assert samples(read(tmp_path / "a.csv", HEADER + "\n\n\n".join(ROWS), 512)[1]) == len(ROWS)
