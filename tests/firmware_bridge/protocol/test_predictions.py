"""Predictions and model descriptions of a board: golden bytes, which the C twin's tests read too, and hostile ones."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import splits_alike, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.protocol import packet, predictions
from firmware_bridge.protocol.framing import cobs_decode, cobs_encode
from firmware_bridge.protocol.predictions import PieceCollector
from firmware_bridge.serial import SerialFormat
from firmware_bridge.serial.detect import DetectedFormat, Detector
from firmware_bridge.serial.packets import PacketDecoder
from firmware_bridge.stream import CodecError, DeviceModelInfo, DevicePrediction

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "packets.json").read_text())
FIELDS = ("model", "label_set", "labels", "hop_s", "gyroscope", "samples")
MODELS = {
    key: DeviceModelInfo(**{field: table[field] for field in FIELDS} | {"labels": tuple(table["labels"])})
    for key, table in GOLDEN["device_models"].items()
}
FEW, MANY = MODELS["few"], MODELS["many"]
LABELS = [bytes.fromhex(case["frame"]) for case in GOLDEN["labels"] if case["device_model"] == "few"]
PIECES = [cobs_encode(bytes.fromhex(piece)) for piece in GOLDEN["device_models"]["few"]["pieces"]]
SAMPLES = [cobs_encode(packet.encode(np.full((1, 6), 1.0, np.float32), i, 312 * i, packet.LABELED)) for i in range(3)]

NAME = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize("case", GOLDEN["labels"], ids=lambda case: case["name"])
def test_golden_labels_are_reproduced(case: dict[str, Any]) -> None:
    model, prediction = MODELS[case["device_model"]], DevicePrediction(**case["prediction"])
    payload = bytes.fromhex(case["payload"])
    assert predictions.encode(prediction, model, case["number"], case["tick"]) == payload
    assert cobs_encode(payload).hex() == case["frame"]
    decoded = predictions.decode(payload, model)
    assert (decoded.seq, decoded.tick) == (case["number"] % 2**16, case["tick"] % 2**24)
    assert decoded.x.shape == (0, 6 if model.gyroscope else 3)
    assert decoded.prediction
    assert (decoded.prediction.label, decoded.prediction.raw_label, decoded.prediction.reason) == (
        prediction.label,
        prediction.raw_label,
        prediction.reason,
    )
    assert decoded.prediction.score == pytest.approx(prediction.score, abs=1 / 65535)
    assert decoded.prediction.inference_s == pytest.approx(min(prediction.inference_s, 65535 * 64e-6), abs=32e-6)
    assert decoded.prediction.start_tick == prediction.start_tick


@pytest.mark.parametrize("key", ["few", "many"])
def test_golden_model_is_reproduced(key: str) -> None:
    table = GOLDEN["device_models"][key]
    assert [piece.hex() for piece in predictions.encode_device_model(MODELS[key])] == table["pieces"]
    assert predictions.checksum(MODELS[key]) == table["check"]


@settings(deadline=None, max_examples=300)
@given(NAME, NAME, st.lists(NAME, min_size=1, max_size=60, unique=True), st.integers(1, 60_000), st.randoms())
def test_description_is_assembled_from_pieces_in_any_order(
    model: str, label_set: str, listed: list[str], hop_ms: int, rng: random.Random
) -> None:
    own = [label for label in listed if label != predictions.UNKNOWN] or ["walking"]
    described = DeviceModelInfo(model, label_set, (*own, predictions.UNKNOWN), hop_ms / 1000, True, False)
    pieces = predictions.encode_device_model(described)
    order = [*pieces, *rng.sample(pieces, len(pieces))]
    collector = PieceCollector()
    actual = [collector.add(piece) for piece in order[rng.randrange(len(pieces)) :]]
    assert described in actual
    assert {each for each in actual if each} == {described}


def test_models_that_cannot_be_sent_are_rejected() -> None:
    for wrong in (
        replace(FEW, labels=("unknown",)),
        replace(FEW, labels=("walking", "sitting")),
        replace(FEW, labels=("a", "a", "unknown")),
        replace(FEW, labels=("a\nb", "", "unknown")),
        replace(FEW, hop_s=0.0),
        replace(FEW, model=""),
        replace(FEW, labels=(*("x" * 200 + str(i) for i in range(200)), "unknown")),
    ):
        with pytest.raises((ValueError, CodecError)):
            predictions.encode_device_model(wrong)


def test_every_single_bit_error_is_detected() -> None:
    for frame in (LABELS[0], PIECES[0]):
        payload = cobs_decode(frame[:-1])
        for bit in range(8 * len(payload)):
            damaged = bytearray(payload)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CodecError):
                predictions.decode(bytes(damaged), FEW)
            with pytest.raises(CodecError):
                PieceCollector().add(bytes(damaged))


def test_labels_of_another_model_or_out_of_range_are_rejected() -> None:
    prediction = DevicePrediction(label=2, raw_label=2, score=1.0)
    with pytest.raises(CodecError, match="another model"):
        predictions.decode(predictions.encode(prediction, MANY, 0, 0), FEW)
    with pytest.raises(CodecError, match="label 9 of 3"):
        predictions.decode(predictions.encode(replace(prediction, raw_label=9), FEW, 0, 0), FEW)


def test_pieces_of_two_models_do_not_mix() -> None:
    first, *rest = predictions.encode_device_model(MANY)
    others = predictions.encode_device_model(replace(MANY, model="other"))
    collector = PieceCollector()
    assert [collector.add(piece) for piece in (first, *others[1:], *rest)] == [None] * (len(rest) + len(others))
    assert collector.add(first) == MANY


def test_board_that_recognizes_is_detected_with_its_model() -> None:
    for model, between in ((FEW, SAMPLES), (MANY, []), (replace(FEW, gyroscope=False, samples=False), [])):
        detector = Detector()
        pieces = [cobs_encode(piece) for piece in predictions.encode_device_model(model)]
        for frame in (b"\x17\0", *between * 5, *pieces[1:]):
            detector.feed(frame)
        assert detector.result is None or len(pieces) == 1
        detector.feed(pieces[0])
        assert detector.result == DetectedFormat("packet", gyroscope=model.gyroscope, device_model=model)


def test_one_decoder_gives_samples_and_labels() -> None:
    decoder = PacketDecoder(True, device_model=FEW)
    packets = decoder.feed(b"".join([*SAMPLES, LABELS[0], *PIECES, SAMPLES[0], LABELS[-1]]))
    assert [len(each.x) for each in packets] == [1, 1, 1, 0, 1, 0]
    assert [each.prediction is not None for each in packets] == [False] * 3 + [True, False, True]
    assert (decoder.bad, decoder.format.seq_bits, decoder.format.even) == (0, 16, True)
    alone = PacketDecoder(True, device_model=replace(FEW, samples=False))
    assert (alone.format.seq_bits, alone.format.even, alone.format.tick_bits) == (None, False, 24)


def test_serial_format_round_trips_with_the_device_model() -> None:
    format = SerialFormat("packet", True, None, device_model=MANY)
    table = json.loads(json.dumps(format.dump()))
    assert SerialFormat.load(table) == format
    for wrong in (3, {}, {**table["names"], "labels": [1]}, {**table["names"], "hop_s": "x"}, {"model": "m"}):
        with pytest.raises(CodecError):
            SerialFormat.load({**table, "names": wrong})


def test_hostile_frames_are_decoded_or_rejected() -> None:
    survives(lambda: PacketDecoder(True, device_model=FEW), "", [*LABELS, *PIECES, *SAMPLES])


def test_any_split_of_the_frames_gives_the_same_packets() -> None:
    splits_alike(lambda: PacketDecoder(True, device_model=FEW), [*LABELS, *PIECES, *SAMPLES], cases=2000)


def test_hostile_pieces_are_decoded_or_rejected() -> None:
    rng = random.Random(0)
    collector, pieces = PieceCollector(), predictions.encode_device_model(MANY)
    for _ in range(20_000):
        body = bytearray(rng.choice(pieces)[:-2])
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            actual = collector.add(predictions._with_crc(bytes(body[: rng.randrange(1, len(body) + 1)])))
        except CodecError:
            continue
        assert actual is None or actual.labels[-1] == predictions.UNKNOWN
        assert len(collector._pieces) <= 255
