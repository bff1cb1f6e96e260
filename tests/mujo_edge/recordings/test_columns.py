"""Exports of loggers and phone apps, converted to SI units."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.core import STANDARD_GRAVITY as G
from mujo_edge.core import DataError, UsageError
from mujo_edge.recordings import columns
from mujo_edge.recordings.reader import open_recording

RATE_HZ = 50.0
DATA = Path(os.environ.get("MUJO_DATA", Path(__file__).parents[4] / "shared" / "data"))


def motion(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """(n,) seconds and (n, 6) SI of a sensor that turns about x, then y, with gravity only."""
    t = np.arange(n) / RATE_HZ
    angle = 0.5 * np.sin(t)
    rate = 0.5 * np.cos(t)
    zero = np.zeros(n)
    # dg/dt = -w x g, about x: g = (0, sin, cos) * G
    return t, np.stack([zero, G * np.sin(angle), G * np.cos(angle), rate, zero, zero], 1)


@dataclass(frozen=True)
class App:
    """Column names of an app, and the content of each column from seconds and SI samples."""

    name: str
    header: str
    cells: list[Callable[[float, np.ndarray], object]]
    channels: int = 6
    delimiter: str = ","
    encoding: str = "utf-8"
    rate_hz: float | None = None


def si(*scales: float) -> list[Callable[[float, np.ndarray], object]]:
    """Cells of the channels in order, each divided by its unit."""
    return [lambda t, x, i=i, s=s: f"{x[i] / s:.9f}" for i, s in enumerate(scales)]


def iso(t: float, x: np.ndarray) -> str:
    return str(np.datetime64("2026-01-01T12:00:00", "ms") + np.timedelta64(round(t * 1000), "ms")).replace("T", " ")


def ms(t: float, x: np.ndarray) -> int:
    return 1_700_000_000_000 + round(t * 1000)


def ns(t: float, x: np.ndarray) -> int:
    return 1_700_000_000_000_000_000 + round(t * 1e9)


def seconds(t: float, x: np.ndarray) -> str:
    return f"{t:.4f}"


D = pi / 180
APPS = [
    App("mujo-edge", "t_s,ax_m_s2,ay_m_s2,az_m_s2,gx_rad_s,gy_rad_s,gz_rad_s,label",
        [seconds, *si(1, 1, 1, 1, 1, 1), lambda t, x: "walk"]),
    App("Sensor Logger, TotalAcceleration", "time,seconds_elapsed,z,y,x", [ns, seconds, *si(1, 1, 1)[::-1]], 3),
    App("Sensor Logger, WristMotion (Core Motion)", "time,seconds_elapsed,rotationRateX,rotationRateY,rotationRateZ,"
        "gravityX,gravityY,gravityZ,accelerationX,accelerationY,accelerationZ,quaternionW",
        [ns, seconds, *si(1, 1, 1, 1, 1, 1)[3:], *si(-G, -G, -G), *[lambda t, x: 0.0] * 4]),
    App("Sensor Logger, WristMotion, standardized", "time,seconds_elapsed,rotationRateX,rotationRateY,rotationRateZ,"
        "gravityX,gravityY,gravityZ,accelerationX,accelerationY,accelerationZ",
        [ns, seconds, *si(1, 1, 1, 1, 1, 1)[3:], *si(1, 1, 1), *[lambda t, x: 0.0] * 3]),
    App("Sensor Logger, AccelerometerUncalibrated (Core Motion)", "time,seconds_elapsed,z,y,x",
        [ns, seconds, *si(-G, -G, -G)[::-1]], 3),
    App("Android, linear acceleration and gravity", "timestamp_ns,linear_acceleration_x,linear_acceleration_y,"
        "linear_acceleration_z,gravity_x,gravity_y,gravity_z", [ns, *[lambda t, x: 0.0] * 3, *si(1, 1, 1)], 3),
    App("an accelerometer, gravity beside it", "timestamp_ns,acc_x,acc_y,acc_z,gravity_x,gravity_y,gravity_z",
        [ns, *si(1, 1, 1), *si(1, 1, 1)], 3),
    App("phyphox", '"Time (s)","Acceleration x (m/s^2)","Acceleration y (m/s^2)","Acceleration z (m/s^2)",'
        '"Absolute acceleration (m/s^2)"', [seconds, *si(1, 1, 1), lambda t, x: G], 3),
    App("phyphox, decimal comma",
        '"Time (s)";"Acceleration x (m/s^2)";"Acceleration y (m/s^2)";"Acceleration z (m/s^2)"',
        [lambda t, x, c=c: str(c(t, x)).replace(".", ",") for c in (seconds, *si(1, 1, 1))], 3, ";"),
    App("phyphox, tabs", "Time (s)\tAcceleration x (m/s^2)\tAcceleration y (m/s^2)\tAcceleration z (m/s^2)\t"
        "Gyroscope x (rad/s)\tGyroscope y (rad/s)\tGyroscope z (rad/s)", [seconds, *si(1, 1, 1, 1, 1, 1)], 6, "\t"),
    App("AndroSensor", "ACCELEROMETER X (m/s²);ACCELEROMETER Y (m/s²);ACCELEROMETER Z (m/s²);GRAVITY X (m/s²);"
        "LINEAR ACCELERATION X (m/s²);GYROSCOPE X (rad/s);GYROSCOPE Y (rad/s);GYROSCOPE Z (rad/s);"
        "Time since start in ms ;YYYY-MO-DD HH-MI-SS_SSS",
        [*si(1, 1, 1), lambda t, x: 0, lambda t, x: 0, *si(1, 1, 1, 1, 1, 1)[3:], lambda t, x: round(t * 1000), iso],
        6, ";", "latin-1"),
    App("AndroSensor, code page lost", "ACCELEROMETER X (m/s\ufffd);ACCELEROMETER Y (m/s\ufffd);"
        "ACCELEROMETER Z (m/s\ufffd);Time since start in ms ", [*si(1, 1, 1), lambda t, x: round(t * 1000)], 3, ";"),
    App("MetaMotion", "epoc (ms),timestamp (+0100),elapsed (s),x-axis (g),y-axis (g),z-axis (g)",
        [ms, iso, seconds, *si(G, G, G)], 3),
    App("Edge Impulse", "timestamp,accX,accY,accZ", [lambda t, x: round(t * 1000), *si(1, 1, 1)], 3),
    App("Edge Impulse, IMU", "timestamp,accX,accY,accZ,gyrX,gyrY,gyrZ",
        [lambda t, x: round(t * 1000), *si(1, 1, 1, D, D, D)]),
    App("Physics Toolbox", "time,gFx,gFy,gFz,wx,wy,wz", [seconds, *si(G, G, G, 1, 1, 1)]),
    App("SensorLog (Core Motion)", "loggingTime(txt),accelerometerTimestamp_sinceReboot(s),"
        "accelerometerAccelerationX(G),accelerometerAccelerationY(G),accelerometerAccelerationZ(G),"
        "motionRotationRateX(rad/s),motionRotationRateY(rad/s),motionRotationRateZ(rad/s),label(N)",
        [lambda t, x: "2026-01-01 12:00:00.000 +0100", seconds, *si(-G, -G, -G, 1, 1, 1), lambda t, x: 3]),
    App("MotionSense (Core Motion)", ",attitude.roll,gravity.x,gravity.y,gravity.z,rotationRate.x,rotationRate.y,"
        "rotationRate.z,userAcceleration.x,userAcceleration.y,userAcceleration.z",
        [lambda t, x: round(t * 50), lambda t, x: 0, *si(-G, -G, -G, 1, 1, 1), *[lambda t, x: 0.0] * 3], rate_hz=50.0),
    App("sp-sw", "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label",
        [*si(1, 1, 1, 1, 1, 1), ms, lambda t, x: "W"]),
    App("Polar Sensor Logger", "Phone timestamp;sensor timestamp [ns];X [mg];Y [mg];Z [mg] ",
        [iso, ns, *si(G / 1000, G / 1000, G / 1000)], 3, ";"),
    App("WitMotion", "time,AccX(g),AccY(g),AccZ(g),AsX(°/s),AsY(°/s),AsZ(°/s)", [iso, *si(G, G, G, D, D, D)]),
    App("plain", "timestampMs,acc_x_mg,acc_y_mg,acc_z_mg,gyro_x_dps,gyro_y_dps,gyro_z_dps",
        [ms, *si(G / 1000, G / 1000, G / 1000, D, D, D)]),
    App("no time", "ax,ay,az,gx,gy,gz", si(G, G, G, 1, 1, 1), rate_hz=50.0),
]  # fmt: skip


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_exports_of_known_apps_are_converted_to_si(app: App, tmp_path: Path) -> None:
    t, x = motion()
    rows = [app.delimiter.join(str(cell(a, b)) for cell in app.cells) for a, b in zip(t, x, strict=True)]
    path = tmp_path / "export.csv"
    path.write_text("\n".join([app.header, *rows]) + "\n", encoding=app.encoding)
    recording = open_recording(path, app.rate_hz)
    chunks = list(recording.chunks())
    assert recording.info.channels == ("ax", "ay", "az", "gx", "gy", "gz")[: app.channels]
    assert recording.info.rate_hz == pytest.approx(RATE_HZ)
    np.testing.assert_allclose(np.concatenate([c.t_s for c in chunks]), t, atol=2e-6)
    np.testing.assert_allclose(np.concatenate([c.x for c in chunks]), x[:, : app.channels], atol=1e-5)
    labels = {label for c in chunks for label in c.truth or ()}
    assert len(labels) == ("label" in app.header)


def read(path: Path, header: str, rows: np.ndarray, rate_hz: float | None = None) -> tuple[list[str], np.ndarray]:
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.9g")
    recording = open_recording(path, rate_hz)
    return recording.notes, np.concatenate([c.x for c in recording.chunks()])


@pytest.mark.parametrize(("scale", "unit"), [(1, "m/s2"), (G, "g"), (G / 1000, "mg")])
def test_accelerometer_unit_is_inferred_with_a_note(tmp_path: Path, scale: float, unit: str) -> None:
    t, x = motion()
    notes, got = read(tmp_path / "a.csv", "t_s,ax,ay,az", np.column_stack([t, x[:, :3] / scale]))
    assert any(re.search(rf"accelerometer unit .*: {unit}; overrule it with --units", note) for note in notes)
    np.testing.assert_allclose(got, x[:, :3], atol=1e-5)


@pytest.mark.parametrize(("scale", "unit"), [(1, "rad/s"), (pi / 180, "deg/s")])
def test_gyroscope_unit_is_inferred_with_a_note(tmp_path: Path, scale: float, unit: str) -> None:
    t, x = motion()
    rows = np.column_stack([t, x[:, :3], x[:, 3:] / scale])
    notes, got = read(tmp_path / "a.csv", "t_s,ax,ay,az,gx,gy,gz", rows)
    assert any(re.search(rf"gyroscope unit .*: {unit}; overrule", note) for note in notes)
    np.testing.assert_allclose(got, x, atol=1e-5)


def test_gyroscope_unit_that_cannot_be_inferred_is_an_error(tmp_path: Path) -> None:
    t, x = motion()
    x[:, 3:] = 0
    with pytest.raises(DataError, match="gx_rad_s or gx_deg_s"):
        read(tmp_path / "a.csv", "t_s,ax,ay,az,gx,gy,gz", np.column_stack([t, x]))


@pytest.mark.parametrize(
    ("rate_hz", "rounded_s", "expected"),
    [(50, 1e-3, 50), (100, 1e-6, 100), (60, 1e-6, 60), (60, 1e-4, None), (60, 1e-3, None), (52, 1e-3, None)],
)
def test_nominal_rate_needs_even_times(rate_hz: float, rounded_s: float, expected: float | None) -> None:
    t = np.round(np.arange(500) / rate_hz / rounded_s) * rounded_s
    gaps = np.delete(t, [5, 6, 7, 90, 200, 201, 202, 203])
    for times in (t, gaps, np.append(gaps, [np.nan, gaps[-1]])):
        assert columns.even_rate_hz(times) == (None if expected is None else pytest.approx(expected, rel=1e-3))
    assert columns.even_rate_hz(np.zeros(3)) is None
    assert columns.even_rate_hz(np.zeros(0)) is None


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns")])
def test_time_unit_is_inferred_from_the_steps(tmp_path: Path, factor: float, unit: str) -> None:
    t, x = motion()
    path = tmp_path / "a.csv"
    np.savetxt(path, np.column_stack([t * factor, x[:, :3]]), delimiter=",", header="timestamp,ax,ay,az", comments="")
    recording = open_recording(path)
    assert any(note.endswith(f"steps: {unit}") for note in recording.notes)
    assert recording.info.rate_hz == pytest.approx(50)


@pytest.mark.parametrize(
    ("header", "scale", "message"),
    [
        ("t_s,ax,ay,az", 0.001, "no usual unit|not that of gravity"),
        ("t_s,ax,ay,az", 1669.0, "no usual unit|not that of gravity"),
        ("t_s,ax_m_s2,ay_m_s2,az_m_s2", 0.001, "gravity is not included"),
        ("t_s,ax_g,ay_g,az_g", 1.0, "the stated unit is wrong"),
        ("t_s,x (m/s^2),y (m/s^2),z (m/s^2)", 0.01, "gravity is not included"),
        ("time,Linear Acceleration x (m/s^2),Linear Acceleration y (m/s^2),Linear Acceleration z (m/s^2)", 1.0,
         "without gravity"),
        ("time,userAcceleration.x,userAcceleration.y,userAcceleration.z", 1.0, "without gravity"),
        ("time,ax,ay,temperature", 1.0, "(?s)no accelerometer.*'temperature'.*Accepted: accelerometer ax"),
        ("time,gx_rad_s,gy_rad_s,gz_rad_s", 1.0, "no accelerometer"),
        ("time,x (deg/s),y (deg/s),z (deg/s)", 1.0, "no accelerometer"),
        ("time,ax (furlong),ay (furlong),az (furlong)", 1.0, "no accelerometer"),
        ("0.1,0.2,0.3,9.8", 1.0, "no header line. Name the 4 columns with --columns"),
    ],
)  # fmt: skip
def test_unusable_columns_are_an_error(tmp_path: Path, header: str, scale: float, message: str) -> None:
    t, x = motion()
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "a.csv", header, np.column_stack([t, x[:, :3] * scale]))
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).count("\n") <= 1


def test_rate_option_is_required_exactly_without_a_time_column(tmp_path: Path) -> None:
    t, x = motion()
    with pytest.raises(UsageError, match="--rate HZ"):
        read(tmp_path / "a.csv", "ax,ay,az", x[:, :3])
    assert len(read(tmp_path / "a.csv", "ax,ay,az", x[:, :3], 25.0)[1]) == len(x)
    with pytest.raises(UsageError, match="leave --rate out"):
        read(tmp_path / "a.csv", "t_s,ax,ay,az", np.column_stack([t, x[:, :3]]), 25.0)
    for rate_hz in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="positive"):
            read(tmp_path / "a.csv", "ax,ay,az", x[:, :3], rate_hz)


def test_implausible_time_step_is_an_error(tmp_path: Path) -> None:
    _, x = motion()
    for step in (0.0, 1e20):
        with pytest.raises(DataError, match="time column steps"):
            read(tmp_path / "a.csv", "time,ax,ay,az", np.column_stack([np.arange(len(x)) * step, x[:, :3]]))


def test_unused_columns_are_noted(tmp_path: Path) -> None:
    t, x = motion()
    notes, _ = read(tmp_path / "a.csv", "t_s,ax_m_s2,ay_m_s2,az_m_s2,heart_rate", np.column_stack([t, x[:, :4]]))
    assert notes[0] == "columns not used: 'heart_rate'"


def test_no_spelling_has_two_meanings() -> None:
    spellings = [
        s
        for units in (columns.ACCELEROMETER_UNITS, columns.GYROSCOPE_UNITS)
        for _, all_ in units.values()
        for s in all_
    ]
    assert len(set(spellings)) == len(spellings)
    names = [
        re.sub("[^a-z]", "", n)
        for n in (*columns.ACCELEROMETER, *columns.GYROSCOPE, *columns.GRAVITY, *columns.LINEAR)
        if n
    ]
    assert len(set(names)) == len(names)


def corpus(folder: str) -> zipfile.ZipFile:
    archives = sorted((DATA / folder).glob("*.zip"))
    if not archives:
        pytest.skip(f"no {folder} in MUJO_DATA ({DATA})")
    return zipfile.ZipFile(archives[0])


@pytest.mark.parametrize(
    ("folder", "pattern", "rate_hz", "channels"),
    [
        ("motionsense", r"wlk_7/sub_1\.csv", 50.0, 6),
        ("sp_sw_har", r"s01_01_(sp|sw)\.csv", None, 6),
        ("metamotion_barbell", r"A-bench-heavy.*Accelerometer.*csv", None, 3),
    ],
)
def test_published_files_are_read(
    tmp_path: Path, folder: str, pattern: str, rate_hz: float | None, channels: int
) -> None:
    archive = corpus(folder)
    names = [n for n in archive.namelist() if re.search(pattern, n) and "MACOSX" not in n]
    assert names
    for name in names:
        recording = open_recording(Path(archive.extract(name, tmp_path)), rate_hz)
        x = np.concatenate([c.x for c in recording.chunks()])
        assert x.shape[1] == channels
        assert 7 < np.median(np.linalg.norm(x[:, :3], axis=1)) < 13


def test_gyroscope_units_of_real_files(tmp_path: Path) -> None:
    """Every hundredth file of sp-sw without its units (rad/s), and the same in deg/s."""
    archive = corpus("sp_sw_har")
    for name in [n for n in archive.namelist() if re.search(r"s\d\d_\d\d_s[pw]\.csv", n)][::20]:
        x = np.loadtxt(archive.read(name).decode().splitlines(), delimiter=",", skiprows=1, usecols=range(6))
        for scale, unit in ((1, "rad/s"), (pi / 180, "deg/s")):
            assert columns._gyro_unit(100.0, x[:, :3], x[:, 3:] / scale) == unit
