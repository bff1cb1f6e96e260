"""Small data sets in the publishers' layouts with known signals."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from training.corpora.metamotion import AXES
from training.corpora.motionsense import GRAVITY, ROTATION, USER

G = 9.80665
TURN_RAD_S = 0.5
"""Rotation about x in the generated signals, to detect a wrong unit of the gyroscope."""


def motion(n: int, rate_hz: float, seed: int = 0) -> np.ndarray:
    """(n, 6) specific force in m/s2, up along +z, and rad/s: a second of rest, then movement."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / rate_hz
    x = np.zeros((n, 6))
    x[:, 2] = G
    moving = t > 1.2
    x[moving, :3] += 2 * np.sin(2 * np.pi * np.outer(t[moving], rng.uniform(0.5, 1.5, 3)))
    x[:, :3] += rng.normal(0, 0.01, (n, 3))
    x[:, 3] = TURN_RAD_S
    return x


def write_csv(path: Path, header: list[str] | None, rows: np.ndarray, *texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(header)] if header else []
    columns = zip(rows.tolist(), *texts, strict=True)
    lines += [",".join([*map(repr, row), *rest]) for row, *rest in columns]
    path.write_text("\n".join(lines) + "\n")


def motionsense(root: Path) -> None:
    for trial in ("dws_1", "ups_3", "wlk_7", "jog_9", "sit_5", "std_6"):
        for subject in (1, 2, 10):
            x = motion(320, 50, seed=subject)
            gravity = np.tile([0, 0, -1.0], (len(x), 1))
            # Core Motion: gravity points down, and total = gravity + user is minus the specific force.
            rows = np.column_stack([np.arange(len(x)), gravity, x[:, 3:], -x[:, :3] / G - gravity])
            write_csv(root / trial / f"sub_{subject}.csv", ["", *GRAVITY, *ROTATION, *USER], rows)
    copy = root / "sit_13" / "sub_1.csv"
    copy.parent.mkdir()
    copy.write_bytes((root / "sit_5" / "sub_1.csv").read_bytes())


def utd_mhad(root: Path) -> None:
    root.mkdir(parents=True)
    for action in (1, 21, 22, 27):
        for subject in (1, 2):
            x = motion(120 + 40 * subject, 50, seed=action)
            raw = np.column_stack([x[:, :3] / G, np.rad2deg(x[:, 3:])])
            savemat(root / f"a{action}_s{subject}_t1_inertial.mat", {"d_iner": raw})


def sp_sw(root: Path) -> None:
    header = ["x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro", "timestamp", "label"]
    for device, rate_hz in (("sp", 102.0), ("sw", 104.0)):
        for subject in ("01", "02"):
            x = motion(900, rate_hz, seed=int(subject))
            t_ms = np.floor(1657533977813 + np.arange(len(x)) * 1000 / rate_hz)
            labels = (
                ["SEATED"] * 300 + ["STANDING_UP"] * 100 + ["WALKING"] * 400 + ["TURNING"] * 40 + ["SITTING_DOWN"] * 60
            )
            path = root / "DATA" / f"s{subject}" / f"s{subject}_01_{device}.csv"
            write_csv(path, header, np.column_stack([x, t_ms]), labels)


def muvr(root: Path) -> None:
    for session, exercise in (("arms", "biceps-curl"), ("chest", "dumbbell-chest-fly")):
        x = motion(400, 50)
        write_csv(
            root / session / f"labeled_{session}_jan-1_1.csv", None, -x[:, :3] / G, [f"{exercise},,45.0,15"] * len(x)
        )


def metamotion(root: Path) -> None:
    for person, day in (("A", 0), ("E", 1)):  # E's files are A's with the clock moved by a day
        for sensor, rate_hz, late_ms in (("Accelerometer", 12.5, 330), ("Gyroscope", 25.0, 0)):
            x = motion(int(12 * rate_hz), rate_hz)
            t_ms = 1547918739908 + day * 86_400_000 + late_ms + np.arange(len(x)) * 1000 / rate_hz
            values = x[:, :3] / G if sensor == "Accelerometer" else np.rad2deg(x[:, 3:])
            rows = np.column_stack([t_ms, t_ms, np.arange(len(x)) / rate_hz, values])
            stem = f"{person}-bench-heavy2-rpe8_MetaWear_2019-01-18T18.25.39.382_C42732BE255C"
            path = root / f"{stem}_{sensor}_{rate_hz:.3f}Hz_1.4.4.csv"
            write_csv(path, ["epoch (ms)", "time (01:00)", "elapsed (s)", *AXES[sensor]], rows)


def mm_fit(root: Path) -> None:
    for workout in ("w00", "w12"):
        folder = root / workout
        folder.mkdir(parents=True)
        for device, rate_hz in (("sw_l", 100.0), ("sp_r", 210.0)):
            x = motion(int(20 * rate_hz), rate_hz, seed=int(workout[1:]))
            t_s = np.arange(len(x)) / rate_hz
            for sensor, columns, late_s in (("acc", slice(3), 0.013), ("gyr", slice(3, 6), 0.0)):
                stamps = np.column_stack([1000 + np.floor(30 * t_s), 1.5e12 + 1000 * (t_s + late_s)])
                np.save(folder / f"{workout}_{device}_{sensor}.npy", np.column_stack([stamps, x[:, columns]]))
        (folder / f"{workout}_labels.csv").write_text("1060,1240,10,squats\n1330,1480,12,bicep_curls\n")


def mhealth(root: Path) -> None:
    root.mkdir(parents=True)
    for subject in (1, 2):
        x = motion(600, 50, seed=subject)
        turn = np.rad2deg(x[:, 3:])
        zero = np.zeros((len(x), 3))
        label = np.repeat([0, 1, 4], 200)
        rows = np.column_stack([x[:, :3], zero[:, :2], x[:, :3], turn, zero, x[:, :3], turn, zero, label])
        np.savetxt(root / f"mHealth_subject{subject}.log", rows, delimiter="\t", fmt="%.6g")


def myogym(root: Path) -> None:
    root.mkdir(parents=True)
    x = np.concatenate([motion(500, 50, seed=person) for person in (1, 2)])
    t = np.arange(len(x))
    raw = np.column_stack([t, np.zeros((len(x), 8)), t, x[:, :3] / G, t, np.rad2deg(x[:, 3:])])
    labels = np.column_stack([np.tile(np.repeat([99, 1, 30], [100, 200, 200]), 2), np.repeat([1, 2], 500)])
    again = np.r_[0:300, 280:1000]  # 20 rows come twice
    savemat(root / "MyoGym.mat", {"raw_data": raw[again], "raw_data_labels": labels[again].astype(float)})


def mhealth_fragments(root: Path) -> None:
    root.mkdir(parents=True)
    x = np.stack([np.tile(motion(200, 50, seed=i)[:, :3], 3) for i in range(4)]).astype(np.float32)
    channels = [f"{site}_{axis}" for site in ("arm", "ankle", "chest") for axis in "xyz"]
    classes = np.array(["standing still", "cycling"])
    unique = np.array([True, True, True, False])
    np.savez(
        root / "mhealth_fragments_acc.npz",
        X=x,
        y=np.array([0, 1, 1, 1]),
        unique=unique,
        channels=channels,
        classes=classes,
    )


def wisdm_records(user: int) -> list[str]:
    """Twenty seconds of one person; a sample is lost, and another written three times."""
    x = motion(400, 20, seed=user)[:, :3]
    activity = np.repeat(["Walking", "Downstairs"], 200)
    records = [
        f"{user},{name},{4_991_922_345_000 + i * 50_000_000},{','.join(map(repr, row))};"
        for i, (name, row) in enumerate(zip(activity, x.tolist(), strict=True))
    ]
    return [*records[:120], f"{user},Walking,0,0,0,0.0;", *records[119:120] * 2, *records[120:]]


def wisdm(root: Path) -> None:
    """The publisher's layout: one file, records end in semicolons."""
    root.mkdir(parents=True)
    (root / "WISDM_ar_v1.1_raw.txt").write_text("\n".join([*wisdm_records(33), *wisdm_records(1)]) + "\n")


def hapt(root: Path) -> None:
    """The phone lies on its side: x up where the recordings have y, -y to the left where they have x."""
    folder = root / "RawData"
    folder.mkdir(parents=True)
    labels = []
    for experiment, user in ((1, 1), (2, 1), (3, 2)):
        x = motion(600, 50, seed=experiment)
        device = np.column_stack([x[:, 1], -x[:, 0], x[:, 2], x[:, 4], -x[:, 3], x[:, 5]])
        for sensor, columns in (("acc", device[:, :3] / G), ("gyro", device[:, 3:])):
            np.savetxt(folder / f"{sensor}_exp{experiment:02d}_user{user:02d}.txt", columns, fmt="%.8f")
        labels += [(experiment, user, 5, 101, 300), (experiment, user, 7, 301, 360), (experiment, user, 1, 401, 600)]
    np.savetxt(folder / "labels.txt", labels, fmt="%d")


def dsads(root: Path) -> None:
    """Segments 1 to 3 and 7: fifteen seconds, a pause, five seconds. Axes of the five units as they are worn."""
    for activity, person in ((9, 1), (17, 8)):
        x = motion(500, 25, seed=person)
        ax, ay, az = x[:, :3].T
        gx, gy, gz = x[:, 3:].T
        none = np.zeros((len(x), 3))
        units = [
            (ay, -ax, az, gy, -gx, gz),
            (ax, az, -ay, gx, gz, -gy),
            (-ax, -az, -ay, -gx, -gz, -gy),
            (-ay, az, -ax, -gy, gz, -gx),
            (-ay, -az, ax, -gy, -gz, gx),
        ]
        noise = np.random.default_rng(0).normal(0, [0.01] * 3 + [0.0] * 3, (len(units), len(x), 6))
        read = [np.stack(unit, 1) + own for unit, own in zip(units, noise, strict=True)]
        rows = np.concatenate([part for unit in read for part in (unit, none)], 1)
        folder = root / f"a{activity:02d}" / f"p{person}"
        folder.mkdir(parents=True)
        for i, segment in enumerate((1, 2, 3, 7)):
            start = min(i, 3) * 125 if segment < 7 else 0
            np.savetxt(folder / f"s{segment:02d}.txt", rows[start : start + 125], delimiter=",", fmt="%.6f")


def mex(root: Path) -> None:
    start = np.datetime64("2018-11-08 11:34:51.474")
    for person in ("01", "02"):
        for sensor, exercise, trial in (("act", "04", 1), ("act", "04", 2), ("acw", "01", 1)):
            x = motion(500, 1000 / 9, seed=100 * int(person) + 10 * trial + (sensor == "acw"))
            stamps = start + np.arange(len(x)) * np.timedelta64(9, "ms")
            path = root / sensor / person / f"{exercise}_{sensor}_{trial}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = zip(stamps, (x[:, :3] / G).tolist(), strict=True)
            lines = [f"{str(t).replace('T', ' ')}000,{','.join(map(repr, row))}" for t, row in rows]
            path.write_text("\n".join(lines) + "\n")


def stress_predict(root: Path) -> None:
    for person in (1, 35):
        x = motion(640, 32, seed=person)[:, :3]
        lines = ["1644226061.000000, 1644226061.000000, 1644226061.000000", "32.000000, 32.000000, 32.000000"]
        lines += [",".join(map(str, row)) for row in np.rint(x / G * 64).astype(int).tolist()]
        path = root / "Raw_data" / f"S{person:02d}" / "ACC.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")


def emlearn_file(x: np.ndarray) -> bytes:
    """(n, 3) m/s2 as int16 with a header that announces 1,000 rows, as written by MicroPython's npyfile."""
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (1000,3), }".ljust(70)
    return b"\x93NUMPY\x01\x00\x46\x00" + header + np.rint(x / G * 16384).astype("<i2").tobytes()


def emlearn_exercises(root: Path) -> None:
    data = root / "data" / "raw" / "har_record_exercises_1" / "data"
    data.mkdir(parents=True)
    for i, (time, label) in enumerate((("162337", "jumpingjack"), ("162428", "lunge"), ("162541", "squat"))):
        (data / f"2024-12-01T{time}_{label}.npy").write_bytes(emlearn_file(motion(450, 100, seed=i)[:, :3]))
    (data / "2000-01-01T000407_squat.npy").write_bytes(b"")
    labels = data.parent / "labels"
    labels.mkdir()
    rows = [
        '"annotation_id","annotator","timeseriesUrl","trend_forecast"',
        '40,"1","/data/upload/3/f80d506c-2024-12-01T162428_lunge.npy.csv","other"',
    ]
    (labels / "project-3-at-2024-12-01-17-29-ba296417.csv").write_text("\n".join(rows) + "\n")


PTEX_HEADER = "time index;acc_x;acc_y;acc_z;gyr_x;gyr_y;gyr_z;mag_x;mag_y;mag_z"


def ptex(root: Path) -> None:
    """Right thigh (exercise 1, unit 3) and wrist (6, 2), axes as they are worn: three seconds still, then movement; a
    test has a rest of 15 s."""
    for exercise, unit in ((1, 3), (6, 2)):
        folder = root / "s2" / f"e{exercise}" / f"u{unit}"
        folder.mkdir(parents=True)
        for kind, seconds in (("template_session", (3, 20)), ("test", (3, 24, 15, 20))):
            x = motion(25 * sum(seconds), 25, seed=exercise + len(seconds))
            t = np.arange(len(x)) / 25
            moves = np.repeat([False, True, False, True][: len(seconds)], np.multiply(seconds, 25))
            x[moves, 3] += 0.8 * np.sin(2 * np.pi * 0.5 * t[moves])
            ax, ay, az, gx, gy, gz = x.T
            worn = (-ay, az, -ax, -gy, gz, -gx) if unit == 3 else (-ax, ay, -az, -gx, gy, -gz)
            rows = np.column_stack([np.arange(1, len(x) + 1), *worn, np.zeros((len(x), 3))])
            np.savetxt(folder / f"{kind}.txt", rows, delimiter=";", fmt="%.6f", header=PTEX_HEADER, comments="")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "motionsense": motionsense,
    "utd_mhad": utd_mhad,
    "sp_sw_watch": sp_sw,
    "sp_sw_phone": sp_sw,
    "muvr": muvr,
    "metamotion": metamotion,
    "mm_fit": mm_fit,
    "mhealth": mhealth,
    "myogym": myogym,
    "mhealth_fragments": mhealth_fragments,
    "wisdm_v1": wisdm,
    "hapt": hapt,
    "dsads": dsads,
    "mex_thigh": mex,
    "mex_wrist": mex,
    "ptex": ptex,
    "stress_predict": stress_predict,
    "emlearn_exercises": emlearn_exercises,
}


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, Path(folder.name) / file.relative_to(folder))
    return archive
