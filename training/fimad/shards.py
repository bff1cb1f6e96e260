"""Clips on disk: Parquet shards of about 64 MB, one row per clip, with the schema's version in the file's metadata.

Arrays are flattened in C order: `pose` n x 20 x 3, every IMU m x 6, `video` k x `video_width`. They are
byte-stream-split and compressed with Zstandard; reading verifies the checksum of every page. Any Parquet reader can
open a shard; rates, joints and units are in its metadata under the key `mujo_edge.clips`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mujo_edge.core import F32, DataError, UsageError
from mujo_edge.files import atomic_file
from training.fimad.clip import IMU_RATE_HZ, JOINTS, MODALITIES, POSE_RATE_HZ, VIDEO_RATE_HZ, Clip, Modality

VERSION = 2
"""Schema version, incremented when a reader of the older schema would misread the newer one."""

SHARD_BYTES, GROUP_BYTES = 64 * 2**20, 4 * 2**20
"""Sizes at which a shard (on disk) and a row group (in memory) are closed."""

KEY = b"mujo_edge.clips"
ABOUT = {
    "version": VERSION,
    "pose_rate_hz": POSE_RATE_HZ,
    "imu_rate_hz": IMU_RATE_HZ,
    "video_rate_hz": VIDEO_RATE_HZ,
    "joints": JOINTS,
    "units": "pose m, world z up; imu m/s2 with gravity, rad/s",
}

SAMPLES = pa.list_(pa.float32())
PLACED = pa.map_(pa.string(), SAMPLES)
LIGHT = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("title", pa.string()),
        ("subject", pa.string()),
        ("split", pa.string()),
        ("license", pa.string()),
        ("task", pa.string()),
        ("modalities", pa.list_(pa.string())),
        ("duration_s", pa.float64()),
    ]
)
"""Columns without arrays, for counting and selecting clips."""
HEAVY: Mapping[Modality, pa.Schema] = {
    "text": pa.schema([("texts", pa.list_(pa.string()))]),
    "pose": pa.schema([("pose", SAMPLES), ("flat", pa.bool_())]),
    "imu": pa.schema([("imu", PLACED), ("real_imu", PLACED)]),
    "video": pa.schema([("video", SAMPLES), ("video_width", pa.int32()), ("tower", pa.string())]),
}
"""Columns of each modality."""
SCHEMA = pa.schema([*LIGHT, *(field for part in HEAVY.values() for field in part)])

NAMES = ("id", "corpus", "title", "subject", "split", "license")
"""Columns that equal the `Clip` fields of the same name."""
PLACED_SAMPLES = "{}.key_value.value.list.element"
FLOATS = ("pose.list.element", "video.list.element", *map(PLACED_SAMPLES.format, ("imu", "real_imu")))
WORDS = [*NAMES, "task", "tower"]


def encode(clips: Sequence[Clip], task: str = "") -> pa.Table:
    """Rows of `clips`; `task` is the id of the task that made them."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for clip in clips:
        row = {
            **{name: getattr(clip, name) for name in NAMES},
            "task": task,
            "modalities": [m for m in MODALITIES if clip.has(m)],
            "duration_s": clip.duration_s,
            "texts": list(clip.texts),
            "pose": flatten(clip.pose),
            "flat": clip.flat,
            "imu": [(placement, flatten(x)) for placement, x in clip.imu.items()],
            "real_imu": [(placement, flatten(x)) for placement, x in clip.real_imu.items()],
            "video": flatten(clip.video),
            "video_width": 0 if clip.video is None else clip.video.shape[1],
            "tower": clip.tower,
        }
        for name, value in row.items():
            columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def flatten(x: F32 | None) -> F32 | None:
    """An array flattened to one dimension, float32."""
    return None if x is None else np.ascontiguousarray(x, np.float32).reshape(-1)


def decode(table: pa.Table) -> Iterator[Clip]:
    """The clips of `encode`, without the modalities whose columns are missing in `table`."""
    present = set(table.column_names)
    texts, pose, imu, video = ({*part.names} <= present for part in HEAVY.values())
    for batch in table.combine_chunks().to_batches():
        words = {
            name: batch.column(name).to_pylist() for name in present.intersection((*WORDS, "texts", "video_width"))
        }
        for i in range(batch.num_rows):
            yield Clip(
                **{name: words[name][i] for name in NAMES},
                texts=tuple(words["texts"][i]) if texts else (),
                pose=samples(batch.column("pose"), i, len(JOINTS), 3) if pose else None,
                flat=batch.column("flat")[i].as_py() if pose else False,
                imu=placed(batch.column("imu"), i) if imu else {},
                real_imu=placed(batch.column("real_imu"), i) if imu else {},
                video=samples(batch.column("video"), i, words["video_width"][i]) if video else None,
                tower=words["tower"][i] if video else "",
            )


def samples(column: pa.ListArray, row: int, *shape: int) -> F32 | None:
    """One row of a list column as (n, *shape), None if it is null. A copy, so that the batch can be freed."""
    if not column[row].is_valid:
        return None
    start, stop = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
    return np.array(column.values[start:stop].to_numpy()).reshape(-1, *shape)


def placed(column: pa.MapArray, row: int) -> dict[str, F32]:
    """One row of a map column: placement -> (m, 6)."""
    start, stop = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
    every = {column.keys[at].as_py(): samples(column.items, at, 6) for at in range(start, stop)}
    return {placement: x for placement, x in every.items() if x is not None}


class Writer:
    """Writes tables of `encode` to one Parquet file in row groups of `GROUP_BYTES`. A context manager.

    `note` is added to the file's metadata (`ABOUT`).
    """

    def __init__(self, target: Path | BinaryIO, note: Mapping[str, Any] | None = None) -> None:
        metadata = {KEY: json.dumps(ABOUT | dict(note or {}))}
        self._file = pq.ParquetWriter(
            target,
            SCHEMA.with_metadata(metadata),
            compression="zstd",
            use_dictionary=WORDS,
            column_encoding=dict.fromkeys(FLOATS, "BYTE_STREAM_SPLIT"),
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._flush()
        self._file.close()

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._waiting.append(table)
        if sum(t.nbytes for t in self._waiting) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting), row_group_size=2**20)
            self._waiting = []


def write_shards(folder: Path, name: str, tables: Iterable[pa.Table], note: Mapping[str, Any]) -> list[Path]:
    """Write tables of `encode` to NAME-00000.parquet ... in `folder`, replacing all shards of that name.

    The new shards replace the old ones once all are complete, so that a killed build leaves the old ones.
    """
    paths: list[Path] = []
    rest = iter(tables)
    table = next(rest, None)
    with ExitStack() as unfinished:
        while table is not None:
            paths.append(folder / f"{name}-{len(paths):05d}.parquet")
            partial = unfinished.enter_context(atomic_file(paths[-1]))
            with partial.open("wb") as file, Writer(file, note) as writer:
                while table is not None and file.tell() < SHARD_BYTES:
                    writer.write(table)
                    table = next(rest, None)
    for old in set(folder.glob(f"{name}-[0-9][0-9][0-9][0-9][0-9].parquet")) - set(paths):
        old.unlink()
    return paths


def open_shard(path: Path) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """A shard and its metadata. Raises `DataError` if it is damaged, not a shard, or of another version."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        about = json.loads((file.schema_arrow.metadata or {})[KEY])
        version = int(about["version"])
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from None
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{path} is not a shard of clips. Move it out of the folder") from None
    if version != VERSION:
        advice = "build the shards again" if version < VERSION else "update mujo-edge to read them"
        raise DataError(f"{path} has schema version {version}, this mujo-edge reads {VERSION}: {advice}")
    if not file.schema_arrow.equals(SCHEMA):
        raise DataError(f"{path} lacks columns of schema version {VERSION}. Delete it and build again")
    return file, about


def damaged(path: Path, error: Exception) -> DataError:
    """The error for a file that cannot be read completely."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{path} is damaged ({reason}). Delete it and build again: python -m training.fimad build")


def shard_paths(folder: Path) -> list[Path]:
    """The shards in `folder`, sorted by name. Raises `DataError` if there are none."""
    if paths := sorted(folder.glob("*.parquet")):
        return paths
    raise DataError(f"{folder} holds no shards. Make them with: python -m training.fimad build {folder}")


def read(
    folder: Path,
    corpora: Collection[str] | None = None,
    split: str | None = None,
    share: tuple[int, int] = (0, 1),
    modalities: Collection[Modality] = MODALITIES,
) -> Iterator[Clip]:
    """The clips of all shards in `folder`, in a fixed order.

    `corpora` and `split` select clips; the arrays of modalities other than `modalities` are not read, for speed.
    `share` (rank, world) is this process's share in distributed training: every world-th row group, from `rank` on.

    Raises:
        UsageError: `share` is not (rank, world) with 0 <= rank < world.
        DataError: there are no shards, or one is damaged or of another schema version.
    """
    rank, world = share
    if not 0 <= rank < world:
        raise UsageError(f"share {share} is not (rank, world) with 0 <= rank < world")
    columns = [*NAMES, *(name for modality in modalities for name in HEAVY[modality].names)]
    number = 0
    for path in shard_paths(folder):
        file, _ = open_shard(path)
        for group in range(file.num_row_groups):
            number += 1
            if (number - 1) % world != rank:
                continue
            try:
                wanted = chosen(file.read_row_group(group, columns=LIGHT.names, use_threads=False), corpora, split)
                if not wanted.any():
                    continue
                table = file.read_row_group(group, columns=columns, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise damaged(path, error) from None
            yield from decode(table.filter(pa.array(wanted)))


def corpora_of(folder: Path) -> tuple[str, ...]:
    """The data sets whose clips lie in `folder`, sorted. Raises `DataError` as `read` does."""
    return tuple(sorted(set(read_light(folder).column("corpus").to_pylist())))


def chosen(light: pa.Table, corpora: Collection[str] | None, split: str | None) -> np.ndarray:
    """(rows,) bool mask of the rows with these corpora and this split."""
    pairs = zip(light.column("corpus").to_pylist(), light.column("split").to_pylist(), strict=True)
    return np.array([(corpora is None or c in corpora) and split in (None, part) for c, part in pairs], bool)


def read_light(folder: Path) -> pa.Table:
    """Columns `LIGHT` of all shards in `folder`. Raises `DataError` as `read` does."""
    tables = []
    for path in shard_paths(folder):
        file, _ = open_shard(path)
        try:
            tables.append(file.read(columns=LIGHT.names, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from None
    return pa.concat_tables(tables)


def shards_sha256(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of every shard in `folder`. Raises `DataError` if there are none."""
    digests = {}
    for path in shard_paths(folder):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
