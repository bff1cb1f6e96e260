"""Sources -> shards. Each task writes its clips to a part; once all tasks of a source are done, parts become shards.

A build that was killed resumes when the same command is given again: a part in `parts/` stays valid until its task, the
files it reads or the code that reads them change. `failures.jsonl` has one line for each take or task that could not be
used, `stats.json` the counts, `build.json` the settings and sources.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from mujo_edge.core import DataError
from mujo_edge.files import atomic_file
from training.corpora.files import natural
from training.fimad import convert
from training.fimad.clip import MODALITIES, Source, Task
from training.fimad.convert import Part, read_task
from training.fimad.fingerprint import digest, fingerprint
from training.fimad.shards import LIGHT, open_shard, read_light, write_shards
from training.support.engine import Engine, on_processes

FAILURES, STATS = "failures.jsonl", "stats.json"
DIED = "the process that read it died; the machine may have run out of memory. Try again with --retry --jobs 1"


@dataclass(slots=True)
class Progress:
    """State of one source: its number of tasks, how many were done in earlier builds and in this one, and their clips.

    `seconds` is the time that the tasks of this build took, summed over processes; `failures` are (id, reason).
    """

    source: Source
    tasks: int = 0
    done_before: int = 0
    done: int = 0
    clips: int = 0
    new_clips: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)


Report = Callable[[Progress], None]


def build(
    sources: Sequence[tuple[Source, Path]],
    out: Path,
    jobs: int = 1,
    engine: Engine = on_processes,
    retry: bool = False,
    report: Report = lambda _: None,
) -> list[Progress]:
    """Run the tasks of `sources` (each with its path) that are not done yet; write shards, stats and failures to `out`.

    `retry` runs tasks that had failures again. `report` is called after each task. Raises `DataError` if there is not a
    single clip.
    """
    results = []
    for source, path in sources:
        progress = Progress(source)
        results.append(progress)
        try:
            tasks = list(source.tasks(path))
        except DataError as error:  # one source's list of clips is damaged: its shards from earlier builds remain
            progress.failures.append((source.name, convert.reason(error)))
        else:
            parts = do_tasks(tasks, out, jobs, engine, retry, progress, report)
            progress.clips = make_shards(source, parts, out, progress)
        log_failures(out, progress)
    if not any(progress.clips for progress in results):
        raise DataError(f"not one clip could be made. The reasons are in {out / FAILURES}")
    write_atomic(out / STATS, (json.dumps(stats(out), indent=1) + "\n").encode())
    return results


def do_tasks(
    tasks: Sequence[Task], out: Path, jobs: int, engine: Engine, retry: bool, progress: Progress, report: Report
) -> list[Path]:
    """Paths of the parts of all tasks of a source, in the order of the tasks; those that do not exist are made."""
    source = progress.source
    folder = out / "parts" / source.name
    stamps: dict[Path, str] = {}
    parts = {task.id: folder / f"{digest(task.id)}-{fingerprint(task, source, stamps)}.parquet" for task in tasks}
    progress.tasks = len(tasks)
    waiting = []
    for task in tasks:
        about = read_part(parts[task.id])
        if about is None or (retry and about["failures"]):
            waiting.append(task)
        else:
            progress.done_before += 1
            progress.clips += about["clips"]
            progress.failures += [(id_, why) for id_, why in about["failures"]]
    report(progress)
    for task, result in engine(partial(read_task, license=source.license), waiting, jobs):
        part: Part = result or convert.pack(task.id, [], [(task.id, DIED)], 0.0)
        write_atomic(parts[task.id], part.rows)
        for old in set(folder.glob(f"{digest(task.id)}-*")) - {parts[task.id]}:
            old.unlink()
        progress.done += 1
        progress.clips += part.clips
        progress.new_clips += part.clips
        progress.seconds += part.seconds
        if part.failures:
            progress.failures += part.failures
            log_failures(out, progress)
        report(progress)
    return list(parts.values())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically: a killed build leaves no incomplete file at `path`."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def read_part(part: Path) -> dict[str, Any] | None:
    """Metadata of a part; None if it does not exist or is damaged."""
    try:
        return open_shard(part)[1] if part.exists() else None
    except DataError:
        return None


def make_shards(source: Source, parts: Sequence[Path], out: Path, progress: Progress) -> int:
    """Write the shards of one source from its parts, every clip with its split; returns the number of clips.

    Of several clips with one id only the first is used, and the id is added to the failures of `progress`. Nothing is
    written if the shards were made from the same parts already.
    """
    light = pa.concat_tables([LIGHT.empty_table(), *(open_shard(part)[0].read(columns=LIGHT.names) for part in parts)])
    ids, subjects, published = (light.column(name).to_pylist() for name in ("id", "subject", "split"))
    for id_ in sorted(id_ for id_, count in Counter(ids).items() if count > 1):
        progress.failures.append((id_, "another clip of this source has the same id; only the first is kept"))
    state = out / "parts" / f"{source.name}.json"
    made_from = digest([(part.name, part.stat().st_mtime_ns) for part in parts])
    before = json.loads(state.read_text()) if state.exists() else {}
    if before.get("made_from") != made_from or not all((out / name).exists() for name in before["shards"]):
        split = dict(reversed([*zip(ids, splits(ids, subjects, published), strict=True)]))
        note = {"source": source.name, "citation": source.citation}
        shards = write_shards(out, source.name, with_splits(parts, split), note)
        write_atomic(state, json.dumps({"made_from": made_from, "shards": [path.name for path in shards]}).encode())
    return len(set(ids))


def with_splits(parts: Sequence[Path], split: Mapping[str, str]) -> Iterator[pa.Table]:
    """The tables of the parts, each clip once and with its split (by clip id)."""
    remaining = dict(split)
    for part in parts:
        table = open_shard(part)[0].read().replace_schema_metadata(None)
        column = pa.array([remaining.pop(id_, None) for id_ in table.column("id").to_pylist()], pa.string())
        table = table.set_column(table.column_names.index("split"), "split", column)
        yield table.filter(column.is_valid())


def splits(ids: Sequence[str], subjects: Sequence[str], published: Sequence[str | None]) -> list[str]:
    """Split of every clip, "train" or "val": the publisher's split where there is one (`published`).

    Otherwise by person in natural order: every fifth person is val, or the last of fewer than five. If there is only
    one person, every fifth clip is val, in natural order of the ids.
    """
    free = [i for i, split in enumerate(published) if split is None]
    groups, of = [subjects[i] for i in free], subjects
    if len(set(groups)) == 1:
        groups, of = [ids[i] for i in free], ids
    ordered = sorted(set(groups), key=natural)
    held_out = set(ordered[4::5] or (ordered[-1:] if of is subjects else ()))
    return [split or ("val" if of[i] in held_out else "train") for i, split in enumerate(published)]


def log_failures(out: Path, progress: Progress) -> None:
    """Replace the lines of a source in `failures.jsonl` with its present failures."""
    path, name = out / FAILURES, progress.source.name
    lines = path.read_text().splitlines() if path.exists() else []
    others = [line for line in lines if json.loads(line)["source"] != name]
    own = [json.dumps({"source": name, "id": id_, "what": why}) for id_, why in progress.failures]
    write_atomic(path, "".join(line + "\n" for line in others + own).encode())


def stats(folder: Path) -> dict[str, dict[str, Any]]:
    """Corpus -> numbers of clips (total, per split and per modality), people and titles, and hours."""
    counts: dict[str, dict[str, Any]] = {}
    rows = read_light(folder).to_pylist()
    for corpus in sorted({row["corpus"] for row in rows}):
        mine = [row for row in rows if row["corpus"] == corpus]
        counts[corpus] = {
            "clips": len(mine),
            **{split: sum(row["split"] == split for row in mine) for split in ("train", "val")},
            "people": len({row["subject"] for row in mine}),
            "titles": len({row["title"] for row in mine}),
            "hours": round(sum(row["duration_s"] for row in mine) / 3600, 4),
            **{modality: sum(modality in row["modalities"] for row in mine) for modality in MODALITIES},
            "license": mine[0]["license"],
        }
    return counts
