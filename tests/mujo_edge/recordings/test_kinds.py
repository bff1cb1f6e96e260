"""Files as people have them: read right, or refused with a way on, never read wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mujo_edge.core import STANDARD_GRAVITY as G
from mujo_edge.core import DataError, MujoError, UsageError
from mujo_edge.recordings.reader import Recording, open_recording
from mujo_edge.recordings.units import Answers

RATE_HZ, N = 50.0, 1500
NAMES = ("ax_m_s2", "ay_m_s2", "az_m_s2")


def walking(n: int = N, rate_hz: float = RATE_HZ, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n,) seconds and (n, 3) m/s2: two quiet seconds, then steps, with the noise of a sensor."""
    t = np.arange(n) / rate_hz
    stride = np.where(t < 2, 0, 1)[:, None]
    angle = 0.3 * np.sin(0.7 * t)
    gravity = np.stack([0 * t, G * np.sin(angle), G * np.cos(angle)], 1)
    phase = 2 * np.pi * 1.9 * t
    steps = np.stack([1.5 * np.sin(phase), 1.2 * np.sin(phase / 2), 2.5 * np.cos(phase)], 1)
    return t, gravity + stride * steps + np.random.default_rng(seed).normal(0, 0.03, (n, 3))


def write(path: Path, header: Sequence[str] | None, columns: Sequence[Sequence[object]], separator: str = ",") -> Path:
    lines = [separator.join(header)] if header is not None else []
    lines += [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def texts(x: np.ndarray, digits: int = 5) -> list[list[str]]:
    """The columns of (n, k) numbers as text."""
    return [[f"{value:.{digits}f}" for value in column] for column in np.asarray(x).T]


def samples(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(recording.chunks())
    return np.concatenate([c.t_s for c in chunks]), np.concatenate([c.x for c in chunks])


def check(path: Path, t: np.ndarray, a: np.ndarray, atol: float = 2e-4, **options: object) -> Recording:
    """The file gives the motion: every sample, at its time up to a constant, in m/s2."""
    recording = open_recording(path, **options)  # type: ignore[arg-type]
    got_t, got = samples(recording)
    assert len(got_t) == len(t)
    assert np.abs((got_t - got_t[0]) - (t - t[0])).max() < 0.02
    np.testing.assert_allclose(got[:, :3], a, atol=atol)
    return recording


# Not an accelerometer.


@pytest.mark.parametrize("names", [("x", "y", "z"), ("ax", "ay", "az"), ("acc_x_m_s2", "acc_y_m_s2", "acc_z_m_s2")])
@pytest.mark.parametrize("scale", [1.0, 1 / G, 1000 / G])
def test_acceleration_without_gravity_is_refused(tmp_path: Path, names: tuple[str, ...], scale: float) -> None:
    t, a = walking()
    gravity = np.stack([np.convolve(column, np.ones(101) / 101, "same") for column in a.T], 1)
    linear = (a - gravity)[150:-100] * scale
    path = write(tmp_path / "a.csv", ("t_s", *names), [*texts(t[150:-100, None]), *texts(linear)])
    with pytest.raises(DataError, match="gravity"):
        open_recording(path)


@pytest.mark.parametrize(
    ("stem", "what"),
    [
        ("Gyroscope", "a gyroscope"),
        ("Magnetometer", "a magnetometer"),
        ("LinearAcceleration", "without gravity"),
        ("Gravity", "gravity alone"),
    ],
)
def test_name_of_the_file_is_evidence(tmp_path: Path, stem: str, what: str) -> None:
    t, a = walking()
    path = write(tmp_path / f"{stem}.csv", ("seconds_elapsed", "z", "y", "x"), [*texts(t[:, None]), *texts(a[:, ::-1])])
    with pytest.raises(DataError, match=f"says that it holds .*{what}"):
        open_recording(path)
    check(path, t, a, answers=Answers.parse("t_s,az_m_s2,ay_m_s2,ax_m_s2"))


def test_magnetometer_is_refused(tmp_path: Path) -> None:
    t = np.arange(N) / RATE_HZ
    field = 44 * np.stack([np.sin(t), np.cos(t) * 0.6, np.cos(t) * 0.8], 1)
    path = write(tmp_path / "a.csv", ("t_s", "x", "y", "z"), [*texts(t[:, None]), *texts(field)])
    with pytest.raises(DataError, match=r"magnetometer|no usual unit"):
        open_recording(path)


# Raw counts.


@pytest.mark.parametrize("counts", [16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32])
def test_raw_counts_are_recognized_with_a_note(tmp_path: Path, counts: int) -> None:
    t, a = walking()
    raw = np.round(a / G * counts).astype(int)
    path = write(tmp_path / "a.csv", ("t_ms", "ax", "ay", "az"), [(t * 1000).round().astype(int), *raw.T])
    recording = check(path, t, a, atol=0.6 * G / counts + 0.02)
    assert any(f": {counts}/g" in note and "--units" in note for note in recording.notes)


def test_other_counts_are_asked_for(tmp_path: Path) -> None:
    t, a = walking()
    raw = np.round(a / G * 700).astype(int)
    path = write(tmp_path / "a.csv", ("t_ms", "ax", "ay", "az"), [(t * 1000).round().astype(int), *raw.T])
    with pytest.raises(DataError, match="--units"):
        open_recording(path)
    check(path, t, a, atol=0.02, answers=Answers.parse(units="acc=700/g"))


# Sign.


def test_core_motion_log_is_turned_and_can_be_left(tmp_path: Path) -> None:
    t, a = walking()
    header = ("timestamp", "DeviceOrientation", *(f"Acceleration{axis}" for axis in "XYZ"))
    path = write(tmp_path / "a.csv", header, [*texts(1.78e9 + t[:, None], 4), ["faceUp"] * N, *texts(-a / G)])
    assert any("--sign +" in note for note in check(path, t, a).notes)
    check(path, t, -a, answers=Answers.parse(sign="+"))


def test_doubtful_sign_is_noted_with_the_option(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("t_s", "ax_g", "ay_g", "az_g"), [*texts(t[:, None]), *texts(-a / G)])
    assert any("--sign -" in note for note in check(path, t, -a).notes)
    check(path, t, a, answers=Answers.parse(sign="-"))


# Stamps that several samples share.


def packs_of(size: int, period_ms: float = 20) -> Callable[[np.ndarray], list[str]]:
    """Epoch milliseconds, that of the last sample of each pack."""
    return lambda t: [str(1_780_000_000_000 + round(((i // size + 1) * size - 1) * period_ms)) for i in range(len(t))]


def bursts(t: np.ndarray) -> list[str]:
    return [f"{1.78e9 + (i // 5 + 1) * 0.1 + (i % 5) * 4e-5:.5f}" for i in range(len(t))]


def whole_seconds(t: np.ndarray) -> list[str]:
    return [str(np.datetime64("2026-03-01T12:00:00") + np.timedelta64(int(s), "s")).replace("T", " ") for s in t + 0.37]


def timer_ticks(t: np.ndarray) -> list[str]:
    """Windows' timer of 15.6 ms, which repeats stamps at 100 Hz."""
    return [f"{np.floor(s / 0.015625) * 0.015625:.6f}" for s in t]


@pytest.mark.parametrize(
    ("name", "rate_hz", "stamps"),
    [
        ("epoch (ms)", 50, packs_of(3)),
        ("timestamp", 50, packs_of(5)),
        ("timestamp", 50, packs_of(25)),
        ("time_s", 50, bursts),
        ("timestamp", 50, whole_seconds),
        ("t_s", 100, timer_ticks),
    ],
)
def test_no_sample_is_lost_to_coarse_stamps(
    tmp_path: Path, name: str, rate_hz: float, stamps: Callable[[np.ndarray], list[str]]
) -> None:
    t, a = walking(rate_hz=rate_hz)
    path = write(tmp_path / "a.csv", (name, *NAMES), [stamps(t), *texts(a)])
    recording = open_recording(path)
    got_t, got = samples(recording)
    assert len(got_t) == N
    assert np.diff(got_t).min() > 0.5 / rate_hz
    assert np.diff(got_t).max() < 2 / rate_hz
    assert (N - 1) / (got_t[-1] - got_t[0]) == pytest.approx(rate_hz, rel=0.01)
    assert recording.info.rate_hz == pytest.approx(rate_hz, rel=0.01)
    assert any("share a stamp" in note for note in recording.notes)
    np.testing.assert_allclose(got, a, atol=1e-4)


def test_gap_between_packs_stays_a_gap(tmp_path: Path) -> None:
    t, a = walking()
    stamps = packs_of(3)(t)
    left = np.r_[0:600, 660:N]
    path = write(tmp_path / "a.csv", ("timestamp", *NAMES), [[stamps[i] for i in left], *texts(a[left])])
    got_t, _ = samples(open_recording(path))
    steps = np.diff(got_t)
    assert steps[599] == pytest.approx(61 * 0.02, abs=0.01)
    assert np.delete(steps, 599).max() < 0.03


def test_rows_that_a_logger_repeats_are_not_spread(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("t_s", *NAMES), [*texts(t.repeat(2)[:, None]), *texts(a.repeat(2, 0))])
    got_t, _ = samples(open_recording(path))
    np.testing.assert_allclose(got_t, t.repeat(2), atol=1e-6)


# Counters.


def test_row_numbers_are_no_clock(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("time", *NAMES), [range(N), *texts(a)])
    with pytest.raises(DataError, match="column 'time' only counts rows"):
        open_recording(path)
    check(path, t, a, rate_hz=50.0)


def test_ticks_of_a_crystal_are_asked_for(tmp_path: Path) -> None:
    t, a = walking(9000)
    path = write(tmp_path / "a.csv", ("timestamp", *NAMES), [np.floor(t * 32768).astype(int), *texts(a)])
    with pytest.raises(DataError, match="--time-unit 1/32768"):
        open_recording(path)
    check(path, t, a, answers=Answers.parse(time_unit="1/32768"))


# Time columns.

FORMS: dict[str, Callable[[np.datetime64], str]] = {
    "iso": lambda m: str(m),
    "blank": lambda m: str(m).replace("T", " "),
    "slashes": lambda m: str(m).replace("T", " ").replace("-", "/"),
    "day first": lambda m: f"{str(m)[8:10]}/{str(m)[5:7]}/{str(m)[:4]} {str(m)[11:]}",
    "day first, dots": lambda m: f"{str(m)[8:10]}.{str(m)[5:7]}.{str(m)[:4]} {str(m)[11:]}",
    "clock": lambda m: str(m)[11:],
    "month first, twelve hours": lambda m: f"{str(m)[5:7]}/{str(m)[8:10]}/{str(m)[:4]} 01:{str(m)[14:]} PM",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["timestamp", "时间", ""])
def test_dates_and_times_are_read(tmp_path: Path, form: str, name: str) -> None:
    t, a = walking()
    moments = np.datetime64("2026-03-21T13:00:00", "ms") + (t * 1000).round().astype("timedelta64[ms]")
    path = write(tmp_path / "a.csv", (name, *NAMES), [[FORMS[form](m) for m in moments], *texts(a)])
    assert check(path, t, a).info.rate_hz == pytest.approx(50)


@pytest.mark.parametrize(
    ("name", "factor", "offset"),
    [("timestamps", 1, 0), ("timestamp(unix)", 1, 1.78e9), ("Milliseconds", 1000, 0), ("Zeitstempel", 1000, 1.78e12)],
)
def test_other_names_of_times_are_known(tmp_path: Path, name: str, factor: float, offset: float) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", (name, *NAMES), [*texts((offset + t * factor)[:, None], 3), *texts(a)])
    assert check(path, t, a).info.rate_hz == pytest.approx(50)


@pytest.mark.parametrize("dates", ["strings", "index"])
def test_parquet_dates_are_read(tmp_path: Path, dates: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    t, a = walking()
    moments = np.datetime64("2026-03-21T13:00:00", "ns") + (t * 1e9).round().astype("timedelta64[ns]")
    name = "timestamp" if dates == "strings" else "__index_level_0__"
    times = [str(m)[:26] for m in moments] if dates == "strings" else moments
    parquet.write_table(arrow.table({**dict(zip(NAMES, a.T, strict=True)), name: times}), tmp_path / "a.parquet")
    assert check(tmp_path / "a.parquet", t, a).info.rate_hz == pytest.approx(50)


def test_units_in_a_row_of_their_own_are_read(tmp_path: Path) -> None:
    t, a = walking()
    cells = [*texts(t[:, None] * 1000), *texts(a / G)]
    units = ("ms", "g", "g", "g")
    path = write(tmp_path / "a.csv", ("time", "ax", "ay", "az"), [[u, *c] for u, c in zip(units, cells, strict=True)])
    check(path, t, a)


def test_quoted_decimal_commas_are_read(tmp_path: Path) -> None:
    t, a = walking()
    cells = [[f'"{cell.replace(".", ",")}"' for cell in column] for column in [*texts(t[:, None]), *texts(a)]]
    check(write(tmp_path / "a.csv", ("t_s", *NAMES), cells), t, a)


def test_unreadable_time_column_is_named(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("my time", *NAMES), [[f"at {s:.3f}" for s in t], *texts(a)])
    with pytest.raises(UsageError, match=r"'my time' was not understood as time: it holds text .*--rate HZ"):
        open_recording(path)
    check(path, t, a, rate_hz=50.0)


# Headers.


def test_file_without_a_header_needs_names(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", None, [*texts(t[:, None]), *texts(a)])
    with pytest.raises(DataError, match=r"no header line. Name the 4 columns with --columns"):
        open_recording(path)
    check(path, t, a, answers=Answers.parse("t_s,ax_m_s2,ay_m_s2,az_m_s2"))
    with pytest.raises(UsageError, match="4 columns, and --columns names 3"):
        open_recording(path, answers=Answers.parse("ax,ay,az"))


@pytest.mark.parametrize("header", [True, False])
def test_preamble_of_a_logger_is_skipped(tmp_path: Path, header: bool) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("Accelerometer X", "Accelerometer Y", "Accelerometer Z"), texts(a / G, 6))
    lines = path.read_text().splitlines()[not header :]
    path.write_text("\n".join(["---- Data File at 50 Hz ----", "Serial Number: X", "Epoch 00:00:00", *lines]) + "\n")
    if header:
        assert any("50 Hz, as the file states" in note for note in check(path, t, a).notes)
    else:
        with pytest.raises(DataError, match="no header line"):
            open_recording(path)
        check(path, t, a, answers=Answers.parse("ax_g,ay_g,az_g"))


def test_acc_file_of_empatica_is_read(tmp_path: Path) -> None:
    t, a = walking(rate_hz=32.0)
    raw = np.round(a / G * 64).astype(int)
    path = write(tmp_path / "ACC.csv", None, [[1780000000.0, 32.0, *column] for column in raw.T])
    check(path, t, a, atol=0.1)


@pytest.mark.parametrize("separator", [" ", "\t", ";", "  "])
def test_other_separators_are_read(tmp_path: Path, separator: str) -> None:
    t, a = walking()
    check(write(tmp_path / "a.txt", ("t_s", *NAMES), [*texts(t[:, None]), *texts(a)], separator), t, a)


def test_utf_16_is_read(tmp_path: Path) -> None:
    t, a = walking()
    path = write(tmp_path / "a.csv", ("t_s", *NAMES), [*texts(t[:, None]), *texts(a)])
    for encoding in ("utf-16", "utf-16-be"):
        text = path.read_text("utf-8")
        other = tmp_path / f"{encoding}.csv"
        other.write_bytes((b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding))
        check(other, t, a)


# Several sensors.


def test_sensors_one_below_the_other_are_separated(tmp_path: Path) -> None:
    t, a = walking()
    w = np.stack([0.21 * np.cos(0.7 * t), 0 * t, 0 * t], 1)
    rows = []
    for s, acc, gyro in zip(t, a, w, strict=True):
        ms = 1_780_000_000_000 + round(s * 1000)
        rows += [(ms, "acc", *acc), (ms + 3, "gyro", *gyro), (ms + 5, "mag", 22.1, -5.3, -40.2)]
    path = write(tmp_path / "a.csv", ("timestamp", "type", "x", "y", "z"), [*zip(*rows, strict=True)])
    recording = check(path, t, a)
    assert recording.info.channels == ("ax", "ay", "az", "gx", "gy", "gz")
    np.testing.assert_allclose(samples(recording)[1][1:, 3], w[:-1, 0], atol=1e-4)
    assert any("column 'type'" in note for note in recording.notes)


def test_sensors_without_an_accelerometer_are_refused(tmp_path: Path) -> None:
    rows = [(i * 10, ("gyro", "mag")[i % 2], 0.1, 0.2, 9.8) for i in range(N)]
    path = write(tmp_path / "a.csv", ("timestamp", "type", "x", "y", "z"), [*zip(*rows, strict=True)])
    with pytest.raises(DataError, match="column 'type' names several sensors"):
        open_recording(path)


def test_outer_join_is_read(tmp_path: Path) -> None:
    t, a = walking()
    rows = []
    for i, (s, acc) in enumerate(zip(t, a, strict=True)):
        rows += [(s, *acc, "", "", ""), (s + 0.007, "", "", "", 0.001 * i, 0, 0)]
    header = ("t_s", *NAMES, "gx_rad_s", "gy_rad_s", "gz_rad_s")
    recording = check(write(tmp_path / "a.csv", header, [*zip(*rows, strict=True)]), t, a)
    np.testing.assert_allclose(samples(recording)[1][1:, 3], 0.001 * np.arange(N - 1), atol=1e-6)


def test_gyroscope_with_a_clock_of_its_own_is_left_out(tmp_path: Path) -> None:
    t, a = walking()
    names = [f"Acceleration {axis} (m/s^2)" for axis in "xyz"], [f"Gyroscope {axis} (rad/s)" for axis in "xyz"]
    columns = [*texts(t[:, None]), *texts(a), *texts(2 * t[:, None]), *texts(0 * a)]
    recording = check(write(tmp_path / "a.csv", ("Time (s)", *names[0], "Time (s)", *names[1]), columns), t, a)
    assert recording.info.channels == ("ax", "ay", "az")
    assert any("clock of its own" in note for note in recording.notes)


# Options.


@pytest.mark.parametrize(
    "options",
    [{"units": "acc=furlong"}, {"units": "speed=g"}, {"units": "acc=0/g"}, {"time_unit": "1/0"}, {"time_unit": "day"},
     {"sign": "up"}],
)  # fmt: skip
def test_wrong_options_are_usage_errors(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Answers.parse(**options)


# Mixtures.


class Mixture:
    """A file of the motion in a random form: its text, times, acceleration, rate, the step of its numbers."""

    def __init__(self, text: str, t: np.ndarray, a: np.ndarray, rate_hz: float, step: float, form: str) -> None:
        self.text, self.t, self.a, self.rate_hz, self.step, self.form = text, t, a, rate_hz, step, form

    def __repr__(self) -> str:
        return f"<{self.text[:60]!r} ..., {self.rate_hz} Hz, {self.form}, {len(self.t)} samples>"


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    rate_hz = draw(st.sampled_from([20.0, 25.0, 50.0, 100.0, 104.0]))
    t, a = walking(round(12 * rate_hz), rate_hz, draw(st.integers(0, 3)))
    unit, scale = draw(
        st.sampled_from([("m/s2", 1.0), ("g", G), ("mg", G / 1000), ("16384", G / 16384), ("256", G / 256)])
    )
    values = a / scale
    cells = [[str(round(v)) for v in c] for c in values.T] if unit.isdigit() else texts(values, 6)
    named = draw(st.booleans()) and not unit.isdigit()
    pattern = draw(st.sampled_from(["a{}", "acc_{}", "Accel{}", "Acceleration {}"]))
    header = [pattern.format(axis) + (f" ({unit})" if named else "") for axis in "xyz"]
    left = np.ones(len(t), bool)
    if draw(st.booleans()):
        left[len(t) // 2 : len(t) // 2 + round(rate_hz)] = False
    form = draw(st.sampled_from(["s", "ms", "epoch ms", "us", "ns", "iso", "packs", "seconds", "counter", "none"]))
    start, rows = 1_780_000_000, range(len(t))
    every = {
        "s": lambda: (["t_s"], [f"{v:.6f}" for v in t]),
        "ms": lambda: (["timestamp"], [f"{v * 1000:.3f}" for v in t]),
        "epoch ms": lambda: (["timestamp"], [str(round((start + v) * 1000)) for v in t]),
        "us": lambda: (["time_us"], [str(round(v * 1e6)) for v in t]),
        "ns": lambda: (["time"], [str(start * 10**9 + round(v * 1e9)) for v in t]),
        "iso": lambda: (["time"], [str(np.datetime64(start * 1000 + round(v * 1000), "ms")) for v in t]),
        "packs": lambda: (["timestamp"], [str(round((start + t[min(i // 4 * 4 + 3, rows[-1])]) * 1000)) for i in rows]),
        "seconds": lambda: (["timestamp"], [str(np.datetime64(start + int(v), "s")) for v in t]),
        "counter": lambda: (["time"], [str(i) for i in range(len(t))]),
        "none": lambda: ([], None),
    }  # fmt: skip
    names, times = every[form]()
    columns = [*([times] if times else []), *cells]
    order = draw(st.permutations(range(len(columns))))
    header = [*names, *header]
    separator = draw(st.sampled_from([",", ";", "\t"]))
    comma = separator != "," and draw(st.booleans())
    lines = [separator.join(header[i] for i in order)]
    for row in np.flatnonzero(left):
        line = separator.join(columns[i][row] for i in order)
        lines.append(line.replace(".", ",") if comma and form != "iso" else line)
    text = draw(st.sampled_from(["", "sep=" + separator + "\n", "# made up\n"])) + "\n".join(lines) + "\n"
    return Mixture(text, t[left], a[left], rate_hz, scale if unit.isdigit() else 0.0, form)


@settings(max_examples=int(os.environ.get("MUJO_FUZZ_CASES", "60")), deadline=None)
@given(mixture=mixtures(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), answer=st.booleans())
def test_mixture_gives_the_motion_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, mixture: Mixture, encoding: str, answer: bool
) -> None:
    path = tmp_path_factory.mktemp("mixture") / "a.csv"
    path.write_bytes(mixture.text.encode(encoding))
    asked = mixture.form in ("counter", "none")
    try:
        recording = open_recording(path, mixture.rate_hz if asked and answer else None)
    except MujoError:
        assert asked, "a form that is read"
        assert not answer, "what the message asked for"
        return
    t, x = samples(recording)
    assert len(t) == len(mixture.t), "every sample"
    assert np.median(np.linalg.norm(x[:20, :3], axis=1)) == pytest.approx(G, rel=0.02)
    np.testing.assert_allclose(x, mixture.a, atol=mixture.step + 0.05)
    tolerance = 0.06 if mixture.form == "seconds" else 0.01
    steps = np.diff(t)
    assert 1 / steps[steps < 3 * np.median(steps)].mean() == pytest.approx(mixture.rate_hz, rel=tolerance)
