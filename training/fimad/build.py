"""Sources -> shards: every task's clips become a part at once; when a source has no task left, its parts become shards.

A build that was killed goes on where it was when the same command is given again, for a part remains (`parts/`) until
its task, the files that it reads or the code that reads them change. What could not be used is one line each of
`failures.jsonl`; `stats.json` counts what there is, `build.json` says what it was made with.
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
from training.fimad.convert import Part, read_task, with_splits
from training.fimad.fingerprint import digest, fingerprint
from training.fimad.shards import LIGHT, open_shard, read_light, write_shards
from training.support.engine import Engine, on_processes

FAILURES, STATS = "failures.jsonl", "stats.json"
DIED = "the process that read it died; the machine may have run out of memory. Try again with --retry --jobs 1"


@dataclass(slots=True)
class Progress:
    """What became of one source so far: its tasks, those done in earlier builds and in this one, and their clips.
    `seconds` are those that the new tasks took, added up over processes."""

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
    """Every task of `sources`, each at its path, that is not done yet; then their shards, stats and failures in `out`.

    `retry` does tasks again that had failures. `report` is told when a task is done. Raises `DataError` where not one
    clip could be made.
    """
    made(out)
    results = []
    for source, path in sources:
        progress = Progress(source)
        results.append(progress)
        try:
            tasks = list(source.tasks(path))
        except DataError as error:  # of one list of clips among many sources: what was built of it before remains
            progress.failures.append((source.name, convert.reason(error)))
        else:
            parts = do_tasks(tasks, out, jobs, engine, retry, progress, report)
            progress.clips = make_shards(source, parts, out, progress)
        log_failures(out, progress)
    if not any(progress.clips for progress in results):
        raise DataError(f"not one clip could be made. What was wrong is in {out / FAILURES}")
    write_whole(out / STATS, (json.dumps(stats(out), indent=1) + "\n").encode())
    return results


def do_tasks(
    tasks: Sequence[Task], out: Path, jobs: int, engine: Engine, retry: bool, progress: Progress, report: Report
) -> list[Path]:
    """The parts of all tasks of a source, in their order, made where they were not there."""
    source = progress.source
    folder = made(out / "parts" / source.name)
    seen: dict[Path, str] = {}
    places = {task.id: folder / f"{digest(task.id)}-{fingerprint(task, source, seen)}.parquet" for task in tasks}
    progress.tasks = len(tasks)
    waiting = []
    for task in tasks:
        about = made_before(places[task.id])
        if about is None or (retry and about["failures"]):
            waiting.append(task)
        else:
            progress.done_before += 1
            progress.clips += about["clips"]
            progress.failures += [(where, what) for where, what in about["failures"]]
    report(progress)
    for task, result in engine(partial(read_task, license=source.license), waiting, jobs):
        part: Part = result or convert.pack(task.id, [], [], [(task.id, DIED)], 0.0)
        write_whole(places[task.id], part.rows)
        for old in set(folder.glob(f"{digest(task.id)}-*")) - {places[task.id]}:
            old.unlink()
        progress.done += 1
        progress.clips += part.clips
        progress.new_clips += part.clips
        progress.seconds += part.seconds
        if part.failures:
            progress.failures += part.failures
            log_failures(out, progress)
        report(progress)
    return list(places.values())


def made(folder: Path) -> Path:
    """`folder`, made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_whole(path: Path, content: bytes) -> None:
    """Write the file atomically: a killed build leaves no half-written file at `path`."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def made_before(part: Path) -> dict[str, Any] | None:
    """Metadata of a part that is there and whole, else None."""
    try:
        return open_shard(part)[1] if part.exists() else None
    except DataError:
        return None


def make_shards(source: Source, parts: Sequence[Path], out: Path, progress: Progress) -> int:
    """Parts of one source -> its shards, every clip with its split; the number of clips.

    A clip whose id was there before is left out, and is a failure of `progress`. Nothing is written where the shards
    are of these very parts already.
    """
    light = pa.concat_tables([LIGHT.empty_table(), *(open_shard(part)[0].read(columns=LIGHT.names) for part in parts)])
    names, subjects, given = (light.column(name).to_pylist() for name in ("id", "subject", "split"))
    for name in sorted(name for name, count in Counter(names).items() if count > 1):
        progress.failures.append((name, "another clip of this source has the same id; only the first is kept"))
    state = out / "parts" / f"{source.name}.json"
    made_from = digest([(part.name, part.stat().st_mtime_ns) for part in parts])
    before = json.loads(state.read_text()) if state.exists() else {}
    if before.get("made_from") != made_from or not all((out / name).exists() for name in before["shards"]):
        split = dict(reversed([*zip(names, splits(names, subjects, given), strict=True)]))
        note = {"source": source.name, "citation": source.citation}
        shard_files = write_shards(out, source.name, whole(parts, split), note)
        write_whole(state, json.dumps({"made_from": made_from, "shards": [path.name for path in shard_files]}).encode())
    return len(set(names))


def whole(parts: Sequence[Path], split: Mapping[str, str]) -> Iterator[pa.Table]:
    """The parts' tables, every clip once, with its split."""
    left = dict(split)
    for part in parts:
        table = open_shard(part)[0].read()
        names = table.column("id").to_pylist()
        keep = [left.pop(name, None) for name in names]
        rows = with_splits(table.replace_schema_metadata(None), keep)
        yield rows.filter(pa.array([s is not None for s in keep], pa.bool_()))


def splits(names: Sequence[str], subjects: Sequence[str], given: Sequence[str | None]) -> list[str]:
    """Train or val of every clip: as the publisher has it, where he gives any (`given`).

    Else by people in natural order: every fifth from the fifth on is val; of fewer than five the last; and where there
    is one alone every fifth clip from the fifth on, in natural order of the clips' names.
    """
    free = [i for i, split in enumerate(given) if split is None]
    groups, of = [subjects[i] for i in free], subjects
    if len(set(groups)) == 1:
        groups, of = [names[i] for i in free], names
    ordered = sorted(set(groups), key=natural)
    held = set(ordered[4::5] or (ordered[-1:] if of is subjects else ()))
    return [split or ("val" if of[i] in held else "train") for i, split in enumerate(given)]


def log_failures(out: Path, progress: Progress) -> None:
    """The failures of a source into `failures.jsonl`, in place of what stood there of that source."""
    path, name = out / FAILURES, progress.source.name
    old = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in old if json.loads(line)["source"] != name]
    new = [json.dumps({"source": name, "id": where, "what": what}) for where, what in progress.failures]
    write_whole(path, "".join(line + "\n" for line in kept + new).encode())


def stats(folder: Path) -> dict[str, dict[str, Any]]:
    """Corpus -> numbers of clips (in all, and of each split and modality), people and titles, and hours."""
    found: dict[str, dict[str, Any]] = {}
    rows = read_light(folder).to_pylist()
    for corpus in sorted({row["corpus"] for row in rows}):
        mine = [row for row in rows if row["corpus"] == corpus]
        found[corpus] = {
            "clips": len(mine),
            **{split: sum(row["split"] == split for row in mine) for split in ("train", "val")},
            "people": len({row["subject"] for row in mine}),
            "titles": len({row["title"] for row in mine}),
            "hours": round(sum(row["duration_s"] for row in mine) / 3600, 4),
            **{modality: sum(modality in row["modalities"] for row in mine) for modality in MODALITIES},
            "license": mine[0]["license"],
        }
    return found
