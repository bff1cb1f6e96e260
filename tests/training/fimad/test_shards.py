"""Round trip of clips through Parquet shards, and errors of damaged or foreign files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_takes import made_clip

from mujo_edge.core import DataError, UsageError
from training.fimad import shards
from training.fimad.clip import MODALITIES, Clip
from training.fimad.shards import KEY, VERSION, encode, read, read_light, write_shards

CLIPS = [made_clip(i) for i in range(60)]


def write(folder: Path, clips: Sequence[Clip] = CLIPS, name: str = "made") -> list[Path]:
    return write_shards(folder, name, (encode([clip], f"task of {clip.id}") for clip in clips), {"source": name})


def same(one: Clip, other: Clip) -> bool:
    """Whether two clips are equal, bit for bit."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return (value.shape, value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else value

    return all(plain(getattr(one, field)) == plain(getattr(other, field)) for field in Clip.__slots__)


def alike(some: Sequence[Clip], others: Sequence[Clip]) -> bool:
    return len(some) == len(others) and all(map(same, some, others))


def test_every_combination_of_modalities_round_trips(tmp_path):
    (path,) = write(tmp_path)
    assert alike(list(read(tmp_path)), CLIPS)
    assert path.name == "made-00000.parquet"
    assert sorted(tmp_path.iterdir()) == [path]


def test_arrays_are_writable(tmp_path):
    write(tmp_path)
    for clip in read(tmp_path):
        for x in (clip.pose, clip.video, *clip.imu.values(), *clip.real_imu.values()):
            assert x is None or x.flags.writeable


def test_units_and_rows_are_readable_with_plain_parquet(tmp_path):
    (path,) = write(tmp_path)
    about = json.loads(pq.read_schema(path).metadata[KEY])
    assert about["version"] == VERSION
    assert (about["imu_rate_hz"], about["source"], len(about["joints"])) == (50.0, "made", 20)
    row = pq.read_table(path).to_pylist()[4]
    assert row["task"] == "task of made/clip 4"
    assert row["duration_s"] == CLIPS[4].duration_s
    assert row["modalities"] == ["imu", "pose", "text"]
    np.testing.assert_array_equal(np.reshape(row["pose"], (-1, 20, 3)), CLIPS[4].pose)


def test_large_sets_become_many_shards_and_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 300_000)
    monkeypatch.setattr(shards, "GROUP_BYTES", 100_000)
    paths = write(tmp_path)
    assert [p.name for p in paths] == [f"made-{i:05d}.parquet" for i in range(len(paths))]
    assert len(paths) > 2
    assert pq.ParquetFile(paths[0]).num_row_groups > 1
    assert alike(list(read(tmp_path)), CLIPS)
    light = read_light(tmp_path)
    assert light.column("id").to_pylist() == [clip.id for clip in CLIPS]
    assert not {"pose", "imu", "video"} & set(light.column_names)

    for world in (2, 3, 50):
        parts = [[clip.id for clip in read(tmp_path, share=(rank, world))] for rank in range(world)]
        assert sorted(chain(*parts)) == sorted(clip.id for clip in CLIPS)
        assert world == 50 or all(parts)

    write(tmp_path, CLIPS[:5])
    assert [p.name for p in tmp_path.iterdir()] == ["made-00000.parquet"], "shards of an older build remain"
    assert alike(list(read(tmp_path)), CLIPS[:5])


def test_read_selects_corpora_split_and_modalities(tmp_path):
    other = [made_clip(i, "other") for i in range(20)]
    write(tmp_path)
    write(tmp_path, other, "other")
    assert alike(list(read(tmp_path)), CLIPS + other)
    assert alike(list(read(tmp_path, corpora=["other"])), other)
    assert alike(list(read(tmp_path, split="val")), [c for c in CLIPS + other if c.split == "val"])
    assert list(read(tmp_path, corpora=["nothing"])) == []
    bare = list(read(tmp_path, corpora=["made"], modalities=()))
    assert [c.title for c in bare] == [c.title for c in CLIPS]
    assert not any(c.has(m) for c in bare for m in MODALITIES)
    for modality in MODALITIES:
        for got, clip in zip(read(tmp_path, ["made"], modalities=[modality]), CLIPS, strict=True):
            assert [m for m in MODALITIES if got.has(m)] == [modality] * clip.has(modality)


def test_invalid_share_is_a_usage_error(tmp_path):
    write(tmp_path)
    for share in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(UsageError, match="rank"):
            list(read(tmp_path, share=share))


def test_folder_without_shards_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"holds no shards. Make them with: python -m training.fimad build"):
        list(read(tmp_path))


@pytest.mark.parametrize(
    ("version", "advice"), [(VERSION + 1, "update mujo-edge"), (VERSION - 1, "build the shards again")]
)
def test_other_schema_versions_are_errors(tmp_path, version, advice):
    (path,) = write(tmp_path)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[KEY]) | {"version": version}
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about)}), path)
    with pytest.raises(DataError, match=f"schema version {version}.*{advice}"):
        list(read(tmp_path))


@pytest.mark.parametrize("metadata", [None, {KEY: b"{"}, {KEY: b"[1]"}, {KEY: b"{}"}, {KEY: b'{"version": null}'}])
def test_other_parquet_files_are_errors(tmp_path, metadata):
    pq.write_table(pa.table({"id": ["x"]}).replace_schema_metadata(metadata), tmp_path / "theirs.parquet")
    with pytest.raises(DataError, match="is not a shard of clips"):
        list(read(tmp_path))


def test_missing_columns_are_an_error(tmp_path):
    (path,) = write(tmp_path)
    pq.write_table(pq.read_table(path).drop_columns(["flat"]), path)
    with pytest.raises(DataError, match="lacks columns"):
        list(read(tmp_path))


def test_truncated_shard_is_an_error(tmp_path):
    (path,) = write(tmp_path)
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="is damaged"):
            list(read(tmp_path))
        with pytest.raises(DataError, match="is damaged"):
            read_light(tmp_path)


def test_damaged_bytes_are_never_read_as_data(tmp_path_factory):
    """For any changed byte, reading gives the original clips or a `DataError`."""
    folder = tmp_path_factory.mktemp("damaged")
    clips = CLIPS[:6]
    (path,) = write(folder, clips)
    whole = path.read_bytes()

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def change(at: int, by: int) -> None:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1 :])
        try:
            got = list(read(folder))
        except DataError:
            return
        assert alike(got, clips)

    change()
