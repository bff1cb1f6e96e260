from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fuzz import survives

from firmware_bridge.profiles import polar, recognize
from firmware_bridge.profiles.base import Read, Request, Subscribe, Write, rehearse
from firmware_bridge.profiles.polar_frames import ACC, GYRO, Stamps, decode
from firmware_bridge.simulator.conversation import advert, converse, listen, samples, stop
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.wearables.polar import PolarH10, PolarVerity
from firmware_bridge.stream import ACC as ACC_CHANNELS
from firmware_bridge.stream import DEG, IMU, CodecError, Decoder, G

STRAP, BAND = advert(PolarH10(rest)), advert(PolarVerity(rest))
MG = G / 1000


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


# Answers in "Polar Measurement Data Specification for 3rd Party": H10 and Verity Sense.
H10 = [
    unhex("0F 05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"),
    unhex("F0 01 02 00 00 00 04 19 00 32 00 64 00 C8 00 01 01 10 00 02 03 02 00 04 00 08 00"),
    unhex("F0 02 02 00 00 01"),
]
VERITY = [
    unhex("0F 6E 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"),
    unhex("F0 01 02 00 00 00 01 34 00 01 01 10 00 02 01 08 00 04 01 03"),
    unhex("F0 02 02 00 00 05 01 40 DA 7F 39"),
    unhex("F0 01 05 00 00 00 01 34 00 01 01 10 00 02 01 D0 07 04 01 03"),
    unhex("F0 02 05 00 00"),
]

# The first and the sixth of six successive frames that somebody captured from an H10 at "50 Hz", worn and still, and
# published with a client of theirs; 36 samples each.
CAPTURED = unhex(
    "02 a2 19 d9 7e 9b 43 52 08 01 be 03 0e 00 b6 fe cd 03 11 00 b6 fe d8 03 12 00 b6 fe dd 03 0e 00 b9 fe db 03 05 00"
    "b9 fe d4 03 f4 ff bd fe cc 03 e1 ff c4 fe c5 03 d7 ff c7 fe c0 03 d8 ff d8 fe c3 03 e0 ff e1 fe ce 03 e6 ff e8 fe"
    "d7 03 f0 ff f0 fe d7 03 f8 ff ef fe d4 03 00 00 f4 fe d5 03 06 00 f2 fe da 03 08 00 f1 fe d9 03 07 00 f1 fe d9 03"
    "03 00 f4 fe d4 03 f8 ff f7 fe d6 03 ec ff f9 fe d7 03 e3 ff f9 fe d8 03 e0 ff fd fe da 03 e6 ff fd fe dd 03 ed ff"
    "ff fe de 03 f2 ff 01 ff dd 03 f2 ff 04 ff dd 03 f3 ff 05 ff dd 03 f5 ff 07 ff dd 03 f8 ff 08 ff de 03 f9 ff 06 ff"
    "dd 03 f8 ff 07 ff df 03 f5 ff 02 ff e1 03 fd ff 0b ff e2 03 01 00 0e ff e1 03 00 00 03 ff dd 03 fb ff 01 ff"
)
CAPTURED_STAMPS = [
    int.from_bytes(unhex(stamp), "little")
    for stamp in (
        "a2 19 d9 7e 9b 43 52 08",
        "06 4b fc a8 9b 43 52 08",
        "a4 f3 1f d3 9b 43 52 08",
        "54 13 44 fd 9b 43 52 08",
        "9e 21 69 27 9c 43 52 08",
        "cc 83 90 51 9c 43 52 08",
    )
]


def strap() -> Decoder:
    return rehearse(polar.start(Request(STRAP)), H10)


def band() -> Decoder:
    return rehearse(polar.start(Request(BAND)), VERITY)


def frame(stamp: int, rows: int, kind: int = 2, frame_type: int = 1) -> bytes:
    return bytes([kind]) + stamp.to_bytes(8, "little") + bytes([frame_type]) + bytes(6 * rows)


def test_raw_frames_are_decoded() -> None:
    # Specification, "Start Stream": 599618164814402794 ns, -187 (0xFF45; the page says -184), -28, 949 mg.
    kind, stamp, xyz = decode(unhex("02 EA 54 A2 42 8B 45 52 08 01 45 FF E4 FF B5 03 45 FF E4 FF B8 03"), {})
    assert (kind, stamp) == (ACC, 599618164814402794)
    np.testing.assert_allclose(xyz / MG, [[-187, -28, 949], [-187, -28, 952]], rtol=1e-6)
    # AccDataTest of polar-ble-sdk, "process acc raw data frame type 1": the first two samples of 36.
    kind, stamp, xyz = decode(unhex("02 00 94 35 77 00 00 00 00 01 F7 FF FF FF E7 03 F8 FF FE FF E5 03"), {})
    assert (kind, stamp) == (ACC, 2_000_000_000)
    np.testing.assert_allclose(xyz / MG, [[-9, -1, 999], [-8, -2, 997]], rtol=1e-6)
    # Types 0 and 2 have the same samples in 8 and 24 bits (specification, "Frame types ACC").
    head = bytes([2, *bytes(8)])
    np.testing.assert_allclose(decode(head + unhex("00 F7 FF 7F"), {})[2] / MG, [[-9, -1, 127]], rtol=1e-6)
    raw24 = decode(head + unhex("02 F7 FF FF FF FF FF E7 03 01"), {})[2]
    np.testing.assert_allclose(raw24 / MG, [[-9, -1, 66535]], rtol=1e-6)


def test_captured_rest_reads_one_g() -> None:
    (packet,) = strap().feed(CAPTURED, polar.DATA)
    assert packet.x.shape == (36, 3)
    assert packet.tick == CAPTURED_STAMPS[0]
    np.testing.assert_allclose(np.linalg.norm(packet.x, axis=1).mean(), G, rtol=0.03)


def test_delta_frames_of_the_accelerometer_are_decoded() -> None:
    # Specification, "Start Stream": the factor of the answer, and the first samples of the frame.
    units = {ACC: 0.000243999995291}
    head = unhex("02 64 6C 76 C4 3C C6 7F 07 80")
    kind, stamp, xyz = decode(head + unhex("D0 FF 65 01 E4 0F 08 02 FC 07 FF 0C 13 F2"), units)
    assert (kind, stamp) == (ACC, 540368444604181604)
    counts = [[-48, 357, 4068], [-52, 364, 4067], [-40, 383, 4053]]
    np.testing.assert_allclose(xyz / MG, np.array(counts) * 0.244, rtol=1e-6)
    # AccDataTest, "process acc compressed data type 1": differences of 6 bits.
    xyz = decode(unhex("02 65 00 00 00 00 00 00 00 81 F1 FF 14 00 F0 03 06 01 7B 0F 08"), {})[2]
    np.testing.assert_allclose(xyz / MG, [[-15, 20, 1008], [-20, 17, 1008]], rtol=1e-6)
    # The first samples that polar-ble-sdk issue 331 got from a Verity Sense: 6 bits again, about 1 g.
    xyz = decode(unhex("02 9c 58 29 13 84 57 73 07 81 fa ff 21 00 f4 03 06 04 83 d0 eb c6 f1 ef 3a f2 1b"), {})[2]
    np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), G, rtol=0.03)


def test_captured_frame_of_several_blocks_is_decoded() -> None:
    # The first frame in polar-ble-sdk issue 443: a Verity Sense on somebody who moves a little. Any bit that is read
    # in the wrong place would be carried on by all later samples.
    captured = unhex(
        "02 00 41 6F C4 12 45 93 0A 81 EE 02 1F FE 82 FF 08 0A 10 DA 20 D6 A3 0B D9 CB E7 D6 F6 C4 E6 F1 E1 F3 E0 15 1A"
        "FE 28 1B F8 37 2C 25 20 13 19 11 0A 2F ED 4F C0 7E F4 E9 BB 6E 80 0D C8 2F B0 3E 14 D1 AF B0 7F 16 C4 CC 20 87"
        "34 03 54 12 8B FF 8D 00 C1 42 FB E6 D3 DF B5 E1 91 53 2F BE F9 ED 43 B0 3E FD DB 9B 90 3D F5 03 60 5F 7B FA D9"
        "DF AE 00 0B 24 64 70 40 12 CC CF BF 04 E4 C5 33 B0 38 08 41 80 EF C2 12 EC 17 81 46 FD FE 5B B0 01 F3 D1 D7 6F"
        "81 FF CD 7B 0F C2 01 36 60 7F 43 D3 5F 3F 3F 78 CB 06 48 4E FF 00 0E FC 82 05 51 AB 55 E3 4A 2D 1D 0C 5F BD E8"
        "58 73 4D BD EB A0 67 51 02 0C C4 70 41 CA 26 7F A0 02 89 19 FE 3F 5F 74 E7 22 44 20 3F 15 66 B0 52 4D 05 5C A4"
        "1F BE E9 68 00"
    )
    xyz = decode(captured, {})[2]
    assert xyz.shape == (58, 3)
    lengths = np.linalg.norm(xyz, axis=1)
    np.testing.assert_allclose(np.median(lengths), G, rtol=0.06)
    assert 0.6 * G < lengths.min() < lengths.max() < 1.4 * G


def test_long_delta_frame_of_the_accelerometer_is_decoded() -> None:
    # AccDataTest, "process acc compressed data type 0": 56 differences of 10 bits; all are within 8 g.
    body = unhex(
        "71 07 F0 6A 9E 8D 0A 38 BE 5C BE BA 2F 96 B3 EE 4B E5 AD FB 42 B9 EB BE 4C FE BA 2F 92 BF EE 4B E4 B1 FB 12 B9"
        "EC BD 3C 3E BB 2F 8F D3 DE 4B E3 B5 F7 D2 B8 ED BD 30 7E 7B 2F 8B E3 CE 8B E2 BA F7 A2 B8 EE BC 20 BE 7B 2F 88"
        "F3 CE CB E1 BD EF 52 F8 EF BC 18 FE 3B 2F 84 03 BF CB E0 C2 EF 32 B8 F0 BB 04 4E BC 2E 81 13 AF 0B E0 C6 EF F2"
        "F7 F1 B9 FC 7D BC 2E 7D 27 9F 4B DF CA EB C2 F7 F2 B8 EC CD 7C 2E 7B 37 8F 4B DE CE E3 92 F7 F3 B8 E0 0D FD 2D"
        "77 4B 7F CB DD D2 DF 62 37 F5 B7 D4 4D BD 2D 74 5B 6F CB DC D7 D7 32 37 F6 B5 C8 8D 7D 2D 71 6B 4F 4B DC DC D3"
        "F2 36 F7 B4 BC DD FD 2C 6F 7B 3F 4B DB E0 CF D2 36 F8 B2 B0 2D BE 2C 6C 8F 1F CB DA E3 C7 A2 76 F9"
    )
    xyz = decode(unhex("02 00 94 35 77 00 00 00 00 80") + body, {ACC: 2.44e-4})[2] / G
    assert xyz.shape == (57, 3)
    np.testing.assert_allclose(xyz[0], np.array([1905, 27376, -29282]) * 2.44e-4, rtol=1e-6)
    np.testing.assert_allclose(xyz[1], np.array([1905 + 190, 27376 - 105, -29282 - 85]) * 2.44e-4, rtol=1e-6)
    assert np.abs(xyz).max() <= 8


def test_delta_frames_of_the_gyroscope_are_decoded() -> None:
    # GyrDataTest of polar-ble-sdk, "process gyro compressed data type 0".
    kind, stamp, xyz = decode(unhex("05 FF FF FF FF FF FF FF 7F 80 EA FF 08 00 0D 00 03 01 DF 00"), {})
    assert (kind, stamp) == (GYRO, 0x7FFFFFFFFFFFFFFF)
    np.testing.assert_allclose(xyz / DEG, [[-22, 8, 13], [-23, 11, 16]], rtol=1e-6)
    # GyrDataTest, "process gyro compressed data type 1 with factor": differences between the bits of floats.
    body = unhex("00 00 80 3F 00 00 20 41 00 00 A0 41 1C 01 00 00 A0 01 00 00 08 CD CC EC 0D")
    xyz = decode(unhex("05 00 94 35 77 00 00 00 00 81") + body, {GYRO: 0.5})[2]
    bits = np.array([0x3F800000 + 0x1A00000, 0x41200000 + 0x800000, (0x41A00000 + 0xFDECCCCD) & 0xFFFFFFFF], np.uint32)
    np.testing.assert_allclose(xyz / DEG, [[0.5, 5, 10], bits.view(np.float32) * 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "more than 10 bytes"),
        ("02 00 00 00 00 00 00 00 00 01", "more than 10 bytes"),
        ("02 00 00 00 00 00 00 00 00 01 00 00 00 00", "6 bytes each"),
        ("02 00 00 00 00 00 00 00 00 83 00", "type 0x83 is unknown"),
        ("05 00 00 00 00 00 00 00 00 00 00", "measurement 5 and type 0x00"),
        ("01 00 00 00 00 00 00 00 00 80 00", "measurement 1"),
        ("02 00 00 00 00 00 00 00 00 80 00 00 00 00 00 00", "did not state"),
        ("02 00 00 00 00 00 00 00 00 81 00 00 00 00 00", "within its reference sample"),
        ("02 00 00 00 00 00 00 00 00 81 00 00 00 00 00 00 08", "within the head of a block"),
        ("02 00 00 00 00 00 00 00 00 81 00 00 00 00 00 00 08 02 00 00 00 00 00", "2 differences of 8 bits"),
        ("02 00 00 00 00 00 00 00 00 81 00 00 00 00 00 00 21 00", "differences of 33 bits"),
    ],
)
def test_damaged_frames_are_rejected(data: str, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        decode(unhex(data), {})


def test_samples_are_spaced_by_the_measured_rate_of_frames() -> None:
    # The captured "50 Hz" are 50.9 Hz.
    stamps = Stamps(50)
    times = np.concatenate([stamps.times(stamp, 36) for stamp in CAPTURED_STAMPS])
    np.testing.assert_allclose(1 / np.diff(times[36:]), 50.9, atol=0.1)
    np.testing.assert_array_equal(times[35::36], np.array(CAPTURED_STAMPS) * 1e-9)
    # After a loss, at the last known rate.
    after = stamps.times(CAPTURED_STAMPS[-1] + 3 * 707_000_000, 36)
    np.testing.assert_allclose(1 / np.diff(after), 50.9, atol=0.1)


@pytest.mark.parametrize("make", [strap, band])
def test_frame_with_an_implausible_time_is_damaged(make: Callable[[], Decoder]) -> None:
    decoder, second = make(), 10**9
    at = [5 * second, int(5.7 * second), 900 * second, int(7.1 * second), int(7.8 * second)]
    got = [[packet.tick for packet in decoder.feed(frame(stamp, 36), polar.DATA)] for stamp in at]
    assert decoder.bad == 1
    assert "was off by 894 s" in decoder.why
    if make is strap:
        assert got == [at[:1], at[1:2], [], [], at[3:]]


def test_strap_is_started_with_the_requested_rate() -> None:
    asked = converse(polar.PROFILE, PolarH10(sine))
    assert asked.replies == H10
    assert [step for step in asked.steps if isinstance(step, Subscribe | Read | Write)] == [
        Subscribe(polar.CONTROL),
        Subscribe(polar.DATA),
        Read(polar.CONTROL),
        Write(polar.CONTROL, unhex("01 02")),
        Write(polar.CONTROL, unhex("02 02 00 01 32 00 01 01 10 00 02 01 08 00")),
    ]
    fast = converse(polar.PROFILE, PolarH10(sine), 180)
    assert fast.steps[-2] == Write(polar.CONTROL, unhex("02 02 00 01 C8 00 01 01 10 00 02 01 08 00"))
    assert fast.decoder.format.rate_hz == 200


@pytest.mark.parametrize("drift_ppm", [0, 200])
def test_simulated_strap_streams_its_motion(drift_ppm: float) -> None:
    assert recognize(STRAP) is polar.PROFILE
    wearable = PolarH10(sine, drift_ppm=drift_ppm, first=1000)
    talk = converse(polar.PROFILE, wearable)
    packets = listen(talk, wearable, 5)
    assert talk.decoder.format.channels == ACC_CHANNELS
    assert (talk.decoder.format.tick_hz, talk.decoder.format.placement) == (1e9, "chest")
    x = samples(packets)
    assert len(x) == wearable.notified == 36 * 6
    np.testing.assert_allclose(x, sine((1000 + np.arange(len(x))) / 50)[:, :3], atol=0.006)
    ticks = [packet.tick for packet in packets if packet.tick is not None]
    np.testing.assert_allclose(np.diff(ticks), 36 / 50 * 1e9, atol=2)


def test_band_is_started_with_the_requested_rate() -> None:
    asked = converse(polar.PROFILE, PolarVerity(rest))
    assert [step.data for step in asked.steps if isinstance(step, Write)] == [
        unhex("01 02"),
        unhex("02 02 00 01 34 00 01 01 10 00 02 01 08 00 04 01 03"),  # specification, "Start Stream"
        unhex("01 05"),
        unhex("02 05 00 01 34 00 01 01 10 00 02 01 D0 07 04 01 03"),
    ]
    assert asked.decoder.format.rate_hz == 52


def test_sdk_mode_is_used_only_for_rates_that_need_it() -> None:
    band = PolarVerity(rest)
    fast = converse(polar.PROFILE, band, 100)
    assert [step.data for step in fast.steps if isinstance(step, Write)] == [
        unhex("01 02"),
        unhex("04 02"),
        unhex("02 09"),
        unhex("01 02"),
        unhex("02 02 00 01 68 00 01 01 10 00 02 01 10 00 04 01 03"),
        unhex("01 05"),
        unhex("02 05 00 01 68 00 01 01 10 00 02 01 D0 07 04 01 03"),
    ]
    assert fast.decoder.format.rate_hz == band.rate_hz == 104
    near = converse(polar.PROFILE, PolarVerity(rest), 50)
    assert unhex("02 09") not in [step.data for step in near.steps if isinstance(step, Write)]
    again = converse(polar.PROFILE, band, 100)  # SDK mode outlives the connection
    assert again.decoder.format.rate_hz == 104


@pytest.mark.parametrize(("rate_hz", "gyro_batch"), [(None, 36), (104.0, 36), (None, 28), (None, 71)])
def test_simulated_band_streams_its_motion(rate_hz: float | None, gyro_batch: int) -> None:
    assert recognize(BAND) is polar.PROFILE
    wearable = PolarVerity(sine)
    wearable.gyro_batch = gyro_batch
    talk = converse(polar.PROFILE, wearable, rate_hz)
    packets = listen(talk, wearable, 8)
    assert talk.decoder.format.channels == IMU
    x, t_s = samples(packets), np.concatenate([packet.t_s for packet in packets if packet.t_s is not None])
    expected = sine(np.arange(len(x)) / wearable.rate_hz)
    assert 0 <= wearable.notified - len(x) <= gyro_batch * (gyro_batch != 36)  # those wait for the gyroscope
    np.testing.assert_allclose(x[:, :3], expected[:, :3], atol=0.006)
    assert np.isnan(x[0, 3:]).all()  # taken before the first of the gyroscope
    np.testing.assert_allclose(x[1:, 3:], expected[1:, 3:], atol=0.006)
    np.testing.assert_allclose(np.diff(t_s), 1 / wearable.rate_hz, rtol=1e-3)


def test_lost_gyroscope_frame_loses_no_row() -> None:
    wearable = PolarVerity(sine)
    talk = converse(polar.PROFILE, wearable)
    packets, turns = [], 0
    for now_s in np.arange(0, 12, 0.1):
        for uuid, payload in wearable.due(float(now_s)):
            turns += payload[0] == GYRO
            if payload[0] == ACC or turns != 5:
                packets += talk.decoder.feed(payload, uuid)
    x = samples(packets)
    assert wearable.notified - len(x) <= 36
    np.testing.assert_allclose(x[:, :3], sine(np.arange(len(x)) / 52)[:, :3], atol=0.006)
    unknown = np.flatnonzero(np.isnan(x[1:, 3])) + 1
    np.testing.assert_array_equal(unknown, np.arange(112, 141))  # between gyroscope samples 111 and 140


def test_pending_rows_are_kept_when_the_connection_ends() -> None:
    wearable = PolarVerity(sine)
    talk = converse(polar.PROFILE, wearable)
    packets = listen(talk, wearable, 8)
    assert len(samples(packets)) < wearable.notified
    rest = talk.decoder.finish()
    x = samples([*packets, *rest])
    assert len(x) == wearable.notified
    np.testing.assert_allclose(x[:, :3], sine(np.arange(len(x)) / 52)[:, :3], atol=0.006)
    assert np.isnan(samples(rest)[-1, 3:]).all()
    assert talk.decoder.finish() == []


def test_stopped_gyroscope_does_not_stop_the_accelerometer() -> None:
    wearable = PolarVerity(sine)
    talk = converse(polar.PROFILE, wearable)
    known: list[bool] = []
    for now_s in np.arange(0, 20, 0.1):
        for uuid, payload in wearable.due(float(now_s)):
            if payload[0] == ACC or now_s < 8:
                known += [np.isfinite(row).all() for packet in talk.decoder.feed(payload, uuid) for row in packet.x]
    assert wearable.notified - len(known) < 52 * (polar.WAIT_S + 1)
    assert sum(known) > 52 * 7
    assert not any(known[-52:])


def test_running_measurement_is_restarted() -> None:
    wearable = PolarH10(sine)
    converse(polar.PROFILE, wearable, 25)
    again = converse(polar.PROFILE, wearable, 100)
    assert again.replies[2:] == [
        unhex("F0 02 02 06 00"),
        unhex("F0 03 02 00 00"),
        unhex("F0 02 02 00 00 01"),
    ]
    assert wearable.rate_hz == 100


def test_stop_steps_end_the_stream() -> None:
    wearable = PolarVerity(sine)
    converse(polar.PROFILE, wearable, 104)
    assert wearable.streaming
    assert [answer for _, answer in stop(polar.PROFILE, wearable, 1.0)] == [
        unhex("F0 03 02 00 00"),  # specification, "Stop Stream"
        unhex("F0 03 05 00 00"),
        unhex("F0 03 09 00 00"),
    ]
    assert wearable.next_s() is None
    # A captured answer of an H10 where nothing runs.
    assert PolarH10(sine).write(polar.CONTROL, unhex("03 02"), 0.0) == [(polar.CONTROL, unhex("F0 03 02 06 00"))]


def test_refusals_have_a_reason() -> None:
    wearable = PolarH10(sine)
    wearable.in_charger = True
    with pytest.raises(CodecError, match="refuses to start its accelerometer: it is in its charger"):
        converse(polar.PROFILE, wearable)
    # BlePmdClientControlPointResponseTest of polar-ble-sdk has this failure, of a magnetometer.
    with pytest.raises(CodecError, match="refuses to describe its accelerometer: it does not have that resolution"):
        rehearse(polar.start(Request(STRAP)), [H10[0], unhex("F0 01 02 07 00")])
    with pytest.raises(CodecError, match="status 77"):
        rehearse(polar.start(Request(STRAP)), [H10[0], unhex("F0 01 02 4D 00")])
    with pytest.raises(CodecError, match="no accelerometer"):
        rehearse(polar.start(Request(STRAP)), [unhex("0F 01 00")])
    with pytest.raises(CodecError, match="not the features"):
        rehearse(polar.start(Request(STRAP)), [b""])
    with pytest.raises(CodecError, match="offers no rate"):
        rehearse(polar.start(Request(STRAP)), [H10[0], unhex("F0 01 02 00 00")])
    with pytest.raises(CodecError, match="offers no rate"):  # but 0 Hz
        rehearse(polar.start(Request(STRAP)), [H10[0], unhex("F0 01 02 00 00 00 01 00 00")])
    with pytest.raises(CodecError, match="not the settings"):
        rehearse(polar.start(Request(STRAP)), [H10[0], unhex("F0 01 02 00 00 00 04 19 00")])
    with pytest.raises(CodecError, match="no plausible unit"):
        rehearse(polar.start(Request(STRAP)), [*H10[:2], unhex("F0 02 02 00 00 05 01 00 00 C0 7F")])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("01 07", 3),
        ("0A 02", 1),
        ("02 02 00 01 33 00 01 01 10 00 02 01 08 00", 8),
        ("02 02 00 01 32 00 01 01 11 00 02 01 08 00", 7),
        ("02 02 00 01 32 00 01 01 10 00 02 01 10 00", 9),
        ("02 02 00 01 32 00 01 01 10 00 02 01 08 00 04 01 03", 5),  # an H10 knows no number of channels
    ],
)
def test_simulated_device_rejects_what_the_real_one_does(sent: str, status: int) -> None:
    wearable = PolarH10(sine)
    wearable.connect(0.0)
    (answer,) = wearable.write(polar.CONTROL, unhex(sent), 0.0)
    assert answer == (polar.CONTROL, bytes([0xF0, *unhex(sent)[:2], status, 0]))
    assert not wearable.streaming


def test_reply_in_several_parts_is_joined() -> None:
    # PmdSettingTest of polar-ble-sdk: four ranges; here in two parts, the first with "more" set.
    parts = [
        unhex("F0 01 02 00 01 00 01 34 00 01 01 10 00"),
        unhex("F0 01 02 00 00 02 04 F5 00 F4 01 E8 03 D0 07 04 01 03"),
    ]
    script = polar.start(Request(STRAP))
    next(script)
    for answer in (b"", b"", H10[0], b"", *parts):
        step = script.send(answer)
    assert step == Write(polar.CONTROL, unhex("02 02 00 01 34 00 01 01 10 00 02 01 D0 07 04 01 03"))
    endless = [H10[0], *[unhex("F0 01 02 00 01") + bytes(64)] * 9]
    with pytest.raises(CodecError, match="reply does not end"):
        rehearse(polar.start(Request(STRAP)), endless)


@pytest.mark.parametrize("make", [strap, band])
def test_hostile_bytes_are_decoded_or_rejected(make: Callable[[], Decoder]) -> None:
    valid = [
        CAPTURED,
        unhex("02 65 00 00 00 00 00 00 00 81 F1 FF 14 00 F0 03 06 01 7B 0F 08"),
        unhex("05 FF FF FF FF FF FF FF 7F 80 EA FF 08 00 0D 00 03 01 DF 00"),
        unhex(
            "05 00 94 35 77 00 00 00 00 81 00 00 80 3F 00 00 20 41 00 00 A0 41 1C 01 00 00 A0 01 00 00 08 CD CC EC 0D"
        ),
    ]
    survives(make, polar.DATA, valid)
