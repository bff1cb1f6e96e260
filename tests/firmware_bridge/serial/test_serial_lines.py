"""Lines of numbers in the format of the data forwarder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fuzz import splits_alike, survives

from firmware_bridge.serial import SerialFormat
from firmware_bridge.serial.lines import Columns, LineDecoder
from firmware_bridge.stream import ACC, DEG, IMU, CodecError, G

ACC_ONLY = Columns(3, (0, 1, 2), 1.0)
TIMED = Columns(7, (1, 2, 3), G, gyro=(4, 5, 6), gyro_factor=DEG, time=0, time_factor=1e-6)


def test_example_of_the_data_forwarder_is_decoded() -> None:
    # edge-impulse-cli, README-data-forwarder.md, "Protocol": data from a 3-axis accelerometer in m/s2.
    text = b"-0.12,-6.20,7.90\r\n-0.13,-6.19,7.91\r\n-0.14,-6.20,7.92\r\n-0.13,-6.20,7.90\r\n-0.14,-6.20,7.91\r\n"
    decoder = LineDecoder(ACC_ONLY)
    packets = decoder.feed(text)
    np.testing.assert_allclose(
        np.concatenate([packet.x for packet in packets]),
        [
            [-0.13, -6.19, 7.91],
            [-0.14, -6.20, 7.92],
            [-0.13, -6.20, 7.90],
            [-0.14, -6.20, 7.91],
        ],  # the first may be cut
        rtol=1e-6,
    )
    assert (decoder.format.channels, decoder.format.rate_hz, decoder.bad) == (ACC, None, 0)
    assert all((packet.seq, packet.tick, packet.t_s) == (None, None, None) for packet in packets)


@pytest.mark.parametrize(
    "line", [b"1,2,3", b"1\t2\t3", b"1 2 3", b" 1, 2 ,\t3 ,", b"+1.,20e-1,3.0E0", b"1.0,2.0,3.0\r"]
)
def test_all_separators_and_number_formats_are_parsed(line: bytes) -> None:
    (packet,) = LineDecoder(ACC_ONLY).feed(b"\n" + line + b"\n" + line + b"\n")[-1:]
    assert packet.x.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("line", [b"1,2", b"1,2,3,4", b"1,,3", b"1,2,x", b"1,2,0x3", b"1,2,1_0", b"1;2;3", b"hello"])
def test_other_lines_are_damage(line: bytes) -> None:
    decoder = LineDecoder(ACC_ONLY)
    assert len(decoder.feed(b"half\n" + line + b"\n1,2,3\n")) == 1  # it may belong to a boot message
    assert decoder.bad == 0
    assert decoder.feed(line + b"\n") == []
    assert decoder.bad == 1
    assert "not a line of 3 numbers" in decoder.why
    assert decoder.feed(b"1,2,3\n")[0].x.tolist() == [[1, 2, 3]]


def test_blank_lines_comments_and_header_are_no_damage() -> None:
    decoder = LineDecoder(Columns(3, (0, 1, 2), 1.0, header="ax,ay,az"))
    assert len(decoder.feed(b"half\n1,2,3\n\r\n# started\nax, ay, az\r\n")) == 1
    assert decoder.bad == 0


def test_nan_of_a_dead_sensor_is_passed_on() -> None:
    (packet,) = LineDecoder(ACC_ONLY).feed(b"\n\nnan,-inf,1e999\n1e400,NaN,0\n")[-1:]
    assert not np.isfinite(packet.x[0, :2]).any()


def test_units_and_time_are_converted() -> None:
    decoder = LineDecoder(TIMED)
    first, second = decoder.feed(b"\n0,0,0,0,0,0,0\n1500000,0,0,1,90,0,-180\n2500000,0,0.5,0,0,0,0\n")
    np.testing.assert_allclose(first.x, [[0, 0, G, np.pi / 2, 0, -np.pi]], rtol=1e-6)
    assert decoder.format.channels == IMU
    assert first.t_s is not None
    assert second.t_s is not None
    assert [*first.t_s, *second.t_s] == [1.5, 2.5]


def test_separate_gravity_columns_are_added() -> None:
    columns = Columns(6, (0, 1, 2), G, gravity=(3, 4, 5))
    (packet,) = LineDecoder(columns).feed(b"\n\n0.5,0,0,0,0,1\n0.25,0,0,0,0,1\n")[-1:]
    np.testing.assert_allclose(packet.x, [[0.25 * G, 0, G]])


@pytest.mark.parametrize(("factor", "wraps"), [(1e-6, True), (1e-3, True), (1.0, False)])
def test_32_bit_counters_wrap(factor: float, wraps: bool) -> None:
    decoder = LineDecoder(Columns(4, (1, 2, 3), 1.0, time=0, time_factor=factor))
    counts = [0, 4294965296, 4294967295, 704, 20704, 4294967295, 5]
    text = "".join(f"{count},0,0,1\n" for count in counts)
    times = [float(packet.t_s[0]) for packet in decoder.feed(text.encode()) if packet.t_s is not None]
    if wraps:
        ticks = [4294965296, 4294967295, 2**32 + 704, 2**32 + 20704, 2**33 - 1, 2**33 + 5]
        assert times == pytest.approx([tick * factor for tick in ticks], rel=1e-15)
    else:
        assert times == [float(count) for count in counts[1:]]


@pytest.mark.parametrize("time", [b"nan", b"inf", b"1e305"])
def test_invalid_time_makes_a_line_bad(time: bytes) -> None:
    decoder = LineDecoder(Columns(4, (1, 2, 3), 1.0, time=0, time_factor=1e-3))
    assert decoder.feed(b"half\n1,0,0,1\n" + time + b",0,0,1\n2,0,0,1\n")[1:]
    assert decoder.bad == 1


@pytest.mark.parametrize("line", [b"ERR: failed to start the sensor", b"<ERR 3", b"err imu"])
def test_failure_message_of_a_board_is_reported(line: bytes) -> None:
    decoder = LineDecoder(ACC_ONLY)
    decoder.feed(b"\n1,2,3\n" + line + b"\r\n1,2,3\n")
    assert decoder.failed == line.decode()


@pytest.mark.parametrize(
    "dialect",
    [SerialFormat("csv", True, 50.0, TIMED), SerialFormat("csv", False, None, ACC_ONLY), SerialFormat("wit", True)],
)
def test_serial_format_round_trips_through_json(dialect: SerialFormat) -> None:
    table = {"kind": "serial", "port": "/dev/ttyACM0", **json.loads(json.dumps(dialect.dump()))}
    assert SerialFormat.load(table) == dialect
    assert dialect.decoder().format.channels == (IMU if dialect.gyroscope else ACC)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "nmea"},
        {"protocol": "packet"},
        {"columns": None},
        {"columns": {"count": 3}},
        {"columns": {"count": 3, "acc": [0, 1, 3], "acc_factor": 1}},
        {"columns": {"count": 3, "acc": "xyz", "acc_factor": 1}},
        {"columns": [1]},
        {"rate_hz": "fast"},
    ],
)
def test_invalid_serial_formats_are_rejected(change: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        SerialFormat.load({**SerialFormat("csv", False, None, ACC_ONLY).dump(), **change})
    with pytest.raises(CodecError):
        SerialFormat.load({})


LINES = [b"-0.12,-6.20,7.90\r\n", b"1\t2\t3\n", b"Started\r\n", b"ERR: no sensor\n", b"1,2\n"]


def test_hostile_lines_are_decoded_or_rejected() -> None:
    survives(lambda: LineDecoder(ACC_ONLY), "", LINES)


def test_any_split_of_lines_gives_the_same() -> None:
    rows = [b"%d,0,0,1,%d,0,0\r\n" % (20_000 * i, i) for i in (1, 2, 214748, 3)]
    splits_alike(lambda: LineDecoder(TIMED), [*rows, *LINES])
