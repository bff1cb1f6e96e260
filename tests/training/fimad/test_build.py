"""Builder: shards from sources, resumption, bad takes, and killed processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_takes import in_turn, made_source

from mujo_edge.core import DataError
from training.fimad import build as builder
from training.fimad import shards
from training.fimad.build import FAILURES, STATS, build, splits
from training.fimad.clip import Task
from training.fimad.shards import read

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def call(folder: Path, out: Path, **options: Any) -> builder.Progress:
    """Build from the text files in `folder`."""
    source = made_source(folder, 0)
    return build([(source, folder)], out, engine=in_turn, **options)[0]


def calls(folder: Path) -> Counter[str]:
    """Number of times that each person was read."""
    log = folder / "calls.log"
    return Counter(log.read_text().split()) if log.exists() else Counter()


def failures(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / FAILURES).read_text().splitlines()]


def test_source_becomes_shards(tmp_path):
    made_source(tmp_path / "data")
    progress = call(tmp_path / "data", tmp_path / "out")
    clips = list(read(tmp_path / "out"))
    assert progress.clips == len(clips) == 24
    assert {c.subject for c in clips if c.split == "val"} == {"p4"}
    assert {c.title for c in clips} == {"squat", "deep squat"}
    assert [c.id for c in clips[:5]] == ["made/p0 t0", "made/p0 t1", "made/p0 t2", "made/p0 t3", "made/p1 t0"]
    assert json.loads((tmp_path / "out" / STATS).read_text())["made"] == {
        "clips": 24,
        "train": 20,
        "val": 4,
        "people": 6,
        "titles": 2,
        "hours": 0.02,
        "imu": 24,
        "pose": 24,
        "video": 0,
        "text": 24,
        "license": "CC0",
    }
    assert failures(tmp_path / "out") == []


def test_finished_tasks_are_not_repeated(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data)
    call(data, out)
    shard = next(out.glob("*.parquet"))
    before = shard.stat().st_mtime_ns
    again = call(data, out)
    assert (again.done_before, again.done, again.clips, again.new_clips) == (6, 0, 24, 0)
    assert set(calls(data).values()) == {1}
    assert shard.stat().st_mtime_ns == before, "shards were written again for nothing"

    (data / "6.txt").write_text("fine")
    (data / "2.txt").write_text("fine, and changed")
    more = call(data, out)
    assert (more.done_before, more.done, more.clips) == (5, 2, 28)
    assert calls(data)["2"] == 2
    assert len(list(read(out))) == 28
    assert len(list((out / "parts" / "made").iterdir())) == 7, "parts of changed files remain"


def test_deleted_shards_are_rebuilt_from_parts(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data)
    call(data, out)
    for shard in out.glob("*.parquet"):
        shard.unlink()
    call(data, out)
    assert len(list(read(out))) == 24
    assert set(calls(data).values()) == {1}


def test_damaged_part_is_made_again(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data)
    call(data, out)
    part = sorted((out / "parts" / "made").iterdir())[0]
    part.write_bytes(part.read_bytes()[:-50])
    assert call(data, out).done == 1
    assert len(list(read(out))) == 24


def test_each_bad_take_is_one_line_of_the_log(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data, p1="broken", p2="odd", p3="bug")
    progress = call(data, out)
    assert progress.clips == len(list(read(out))) == 24 - 3 - 1 - 3
    lines = failures(out)
    assert [(line["source"], line["id"]) for line in lines] == [
        ("made", "person 1"),
        ("made", "made/p2 t2"),
        ("made", "person 3"),
    ]
    assert lines[0]["what"].endswith("1.txt is cut off fetch it again")
    assert lines[2]["what"] == "unexpected IndexError: list index out of range"

    assert call(data, out).done == 0, "failures are done work too"
    assert failures(out) == lines
    (data / "1.txt").write_text("repaired")
    assert call(data, out, retry=True).done == 3
    assert [line["id"] for line in failures(out)] == ["made/p2 t2", "person 3"]
    assert len(list(read(out))) == 20


def test_failures_of_other_sources_stay_in_the_log(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data, p1="broken")
    call(data, out)
    lines = [{"source": "other", "id": "x", "what": "y"}, *failures(out)]
    (out / FAILURES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    call(data, out)
    assert failures(out) == lines


def test_dead_process_loses_only_its_task(tmp_path):
    source = made_source(tmp_path / "data")

    def one_dies(function: Callable[[Any], Any], items: Iterable[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
        return ((item, None if item.id == "person 3" else function(item)) for item in items)

    (progress,) = build([(source, tmp_path / "data")], tmp_path / "out", engine=one_dies)
    assert progress.clips == 20
    (line,) = failures(tmp_path / "out")
    assert line["id"] == "person 3"
    assert "--retry" in line["what"]
    assert call(tmp_path / "data", tmp_path / "out", retry=True).clips == 24


def test_build_without_any_clip_is_an_error(tmp_path):
    data = tmp_path / "data"
    made_source(data, 0)
    with pytest.raises(DataError, match="not one clip"):
        call(data, tmp_path / "out")
    made_source(data, 1, p0="bug")
    assert call(data, tmp_path / "out").clips == 1


def test_unreadable_list_affects_only_its_source(tmp_path):
    def damaged(path: Path) -> Iterator[Task]:
        raise DataError("the list is cut off")

    data, out = tmp_path / "data", tmp_path / "out"
    sound = made_source(data, 1)
    other = replace(sound, name="other", tasks=damaged)
    broken, whole = build([(other, data), (sound, data)], out, engine=in_turn)
    assert (broken.clips, whole.clips) == (0, 4)
    assert failures(out) == [{"source": "other", "id": "other", "what": "the list is cut off"}]

    build([(replace(sound, tasks=damaged), data), (replace(sound, name="third"), data)], out, engine=in_turn)
    assert (out / "made-00000.parquet").exists(), "what was built before is gone"


def test_repeated_ids_are_left_out_and_logged(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data, 2)
    (data / "00.txt").write_text("the same person once more")
    progress = call(data, out)
    assert progress.clips == len(list(read(out))) == 8
    assert [line["id"] for line in failures(out)] == [f"made/p0 t{i}" for i in range(4)]
    assert "same id" in failures(out)[0]["what"]


def test_large_sources_become_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100_000)
    monkeypatch.setattr(shards, "GROUP_BYTES", 50_000)
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data)
    call(data, out)
    assert len(list(out.glob("made-*.parquet"))) > 2
    assert len({clip.id for clip in read(out)}) == 24


@pytest.mark.parametrize(
    ("people", "held_out"),
    [
        (1, {"clip 5", "clip 10"}),
        (2, {"p2"}),
        (4, {"p4"}),
        (5, {"p5"}),
        (11, {"p5", "p10"}),
    ],
)
def test_splits_share_no_person(people, held_out):
    names = [f"clip {i + 1}" for i in range(12 if people == 1 else 3 * people)]
    subjects = [f"p{i % people + 1}" for i in range(len(names))]
    got = splits(names, subjects, [None] * len(names))
    keys = names if people == 1 else subjects
    assert {key for key, split in zip(keys, got, strict=True) if split == "val"} == held_out
    assert set(got) == {"train", "val"}


def test_publishers_split_is_kept():
    declared = ["val", None, "train", None, None]
    assert splits("abcde", ["1", "2", "1", "3", "3"], declared) == ["val", "train", "train", "val", "val"]
    assert splits("ab", ["1", "1"], ["val", "val"]) == ["val", "val"]
    assert splits("", [], []) == []


BUILD = """
import sys
from pathlib import Path
from made_takes import in_turn, made_source
from training.fimad.build import build

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    build([(made_source(folder, 0), folder)], Path(sys.argv[2]), jobs=2)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_build_resumes(tmp_path, sent):
    data, out = tmp_path / "data", tmp_path / "out"
    made_source(data)
    script = tmp_path / "run.py"
    script.write_text(BUILD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "MADE_TAKE_S": "0.3"}
    process = subprocess.Popen([sys.executable, script, data, out], env=environment, stderr=subprocess.PIPE)
    parts = out / "parts" / "made"
    end_s = time.monotonic() + 60
    while not list(parts.glob("*.parquet")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end_s
        time.sleep(0.05)
    process.send_signal(sent)
    process.communicate()  # ends when the last worker has closed stderr too
    assert process.returncode != 0
    done = len(list(parts.glob("*.parquet")))
    assert 1 <= done < 6
    before = calls(data)
    assert call(data, out).done_before == done
    assert len(list(read(out))) == 24
    assert sum((calls(data) - before).values()) == 6 - done
