"""WISDM activity prediction v1.1: 36 people, 6 daily activities, Android phone in the front trouser pocket, 20 Hz.

Layout (Kwapisz, Weiss, Moore, 2010): `WISDM_ar_v1.1_raw.txt`, records `user,activity,timestamp (ns),x,y,z;` in m/s2
with gravity, +10 on the axis that points up; or the same rows as one CSV per person, `wisdm_subject{n}.csv`, with a
header. Most people wore the phone upright, y up the thigh and the screen to the front, which is the thigh frame of
`training.fimad.virtual_imu`; some did not.

Defects of the published data and their treatment: a few records are cut off or run together (skipped; more than one in
a thousand is an error); rows of zeros with timestamp zero represent lost samples (dropped); samples are duplicated,
12,151 rows of person 19 as one block (duplicates dropped); clocks jump back by hours and have gaps (a new recording
begins wherever time does not increase or more than `GAP_S` is missing); samples arrive in bursts, so that the rate
varies between 9 and 20 Hz (resampled to an even grid by their timestamps).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from mujo_edge.core import CHANNELS, F64, DataError
from training.corpora.base import Corpus, Download, Recording, columns, join
from training.corpora.files import Tree, usable

ACTIVITIES = {
    "Walking": "walking",
    "Jogging": "jogging",
    "Upstairs": "walking upstairs",
    "Downstairs": "walking downstairs",
    "Sitting": "sitting",
    "Standing": "standing",
}
MARKER = r"(?:WISDM_ar_v1\.1_raw\.txt|wisdm_subject\d+\.csv)"
COLUMNS = {"user": pa.string(), "activity": pa.string(), **dict.fromkeys(("t_ns", "x", "y", "z"), pa.float64())}
RATE_HZ = 20.0
GAP_S = 0.5
"""Longest time between samples within a recording."""
SHORTEST_S = 1.0
"""Duration below which a stretch between gaps is dropped."""
MAX_BROKEN = 0.001
"""Maximum fraction of broken records; the published file has fewer."""


def read(tree: Tree) -> Iterator[Recording]:
    """One recording per person and stretch without gaps."""
    for name, _ in tree.match(MARKER):
        user, activity, t_s, x = table(tree, name)
        for person in dict.fromkeys(user.tolist()):
            mine = user == person
            yield from recordings(person, activity[mine], t_s[mine], x[mine])


def table(tree: Tree, name: str) -> tuple[np.ndarray, np.ndarray, F64, F64]:
    """User (n,), activity (n,), seconds (n,) and m/s2 (n, 3) of one file, without lost and broken records."""
    where, broken = tree.where(name), 0
    content = tree.read(name).replace(b";", b"\n")
    if content.startswith(b"user,"):
        content = content.partition(b"\n")[2]
    if not content.endswith(b"\n"):
        raise DataError(f"{where} is cut off or malformed (its last record has no end). Fetch the file again")

    def skip(_: csv.InvalidRow) -> str:
        nonlocal broken
        broken += 1
        return "skip"

    try:
        rows = csv.read_csv(
            BytesIO(content),
            read_options=csv.ReadOptions(column_names=list(COLUMNS), use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(column_types=COLUMNS),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where} is cut off or malformed ({reason}). Fetch the file again") from None
    records = rows.drop_null()
    broken += len(rows) - len(records)
    if broken > MAX_BROKEN * (len(records) + broken):
        raise DataError(f"{where} is cut off or malformed ({broken} of {len(rows)} records). Fetch the file again")
    if unknown := set(pc.unique(records["activity"]).to_pylist()) - set(ACTIVITIES):
        raise DataError(f"{where} has unknown activities {sorted(unknown)}. Is it another data set's file?")
    t_ns, *axes = (records[column].to_numpy() for column in ("t_ns", "x", "y", "z"))
    x = np.stack(axes, 1)
    if not usable(np.column_stack([t_ns / 1e9, x])).all():
        raise DataError(f"{where} holds values that are not finite numbers. Drop or repair those rows first")
    valid = (t_ns > 0) & x.any(1)
    user, activity = (records[column].to_numpy(zero_copy_only=False)[valid] for column in ("user", "activity"))
    return user, activity, t_ns[valid] / 1e9, x[valid]


def recordings(person: str, activity: np.ndarray, t_s: F64, x: F64) -> Iterator[Recording]:
    """Recordings from one person's samples, which may contain duplicates and jumps in time."""
    _, first = np.unique(np.column_stack([t_s, x]), axis=0, return_index=True)
    first.sort()
    activity, t_s, x = activity[first], t_s[first], x[first]
    fresh = np.r_[True, np.diff(t_s) != 0]
    activity, t_s, x = activity[fresh], t_s[fresh], x[fresh]
    step = np.diff(t_s)
    edges = [0, *(np.flatnonzero((step < 0) | (step > GAP_S)) + 1).tolist(), len(t_s)]
    number = 0
    for a, b in pairwise(edges):
        if b - a < 2 or t_s[b - 1] - t_s[a] < SHORTEST_S:
            continue
        own = t_s[a:b] - t_s[a]
        grid, even = join([(own, x[a:b])], RATE_HZ)
        nearest = np.searchsorted((own[1:] + own[:-1]) / 2, grid)
        number += 1
        yield Recording(
            corpus="wisdm_v1",
            subject=person,
            session=f"person {person} part {number}",
            placement="pocket",
            rate_hz=RATE_HZ,
            x=columns(even),
            labels=np.asarray([ACTIVITIES[name] for name in activity[a:b]])[nearest],
            channels=CHANNELS[:3],
        )


CORPUS = Corpus(
    name="wisdm_v1",
    title="WISDM activity prediction v1.1",
    classes=tuple(ACTIVITIES.values()),
    license="research, please cite",
    open_license=False,
    citation="J. R. Kwapisz, G. M. Weiss, S. A. Moore. Activity Recognition using Cell Phone Accelerometers. "
    "SensorKDD 2010.",
    home="https://www.cis.fordham.edu/wisdm/dataset.php",
    marker=MARKER,
    read=read,
    download=Download(
        "https://www.cis.fordham.edu/wisdm/includes/datasets/latest/WISDM_ar_latest.tar.gz", "WISDM_ar_latest.tar.gz"
    ),
)
