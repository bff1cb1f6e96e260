"""Labels and names of a board that recognizes: golden bytes, which the C twin's tests read too, and hostile ones."""

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

from firmware_bridge.protocol import packet
from firmware_bridge.protocol import predictions as labels
from firmware_bridge.protocol.framing import cobs_decode, cobs_encode
from firmware_bridge.protocol.predictions import Gatherer
from firmware_bridge.serial import SerialFormat
from firmware_bridge.serial.detect import DetectedFormat, Detector
from firmware_bridge.serial.packets import PacketDecoder
from firmware_bridge.stream import CodecError, DeviceModelInfo, DevicePrediction

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "packets.json").read_text())
FIELDS = ("model", "label_set", "labels", "hop_s", "gyroscope", "samples")
NAMES = {
    key: DeviceModelInfo(**{field: table[field] for field in FIELDS} | {"labels": tuple(table["labels"])})
    for key, table in GOLDEN["names"].items()
}
FEW, MANY = NAMES["few"], NAMES["many"]
LABELS = [bytes.fromhex(case["frame"]) for case in GOLDEN["labels"] if case["names"] == "few"]
PIECES = [cobs_encode(bytes.fromhex(piece)) for piece in GOLDEN["names"]["few"]["pieces"]]
SAMPLES = [cobs_encode(packet.encode(np.full((1, 6), 1.0, np.float32), i, 312 * i, packet.LABELED)) for i in range(3)]

NAME = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize("case", GOLDEN["labels"], ids=lambda case: case["name"])
def test_golden_labels(case: dict[str, Any]) -> None:
    names, told = NAMES[case["names"]], DevicePrediction(**case["told"])
    payload = bytes.fromhex(case["payload"])
    assert labels.encode(told, names, case["number"], case["tick"]) == payload
    assert cobs_encode(payload).hex() == case["frame"]
    found = labels.decode(payload, names)
    assert (found.seq, found.tick) == (case["number"] % 2**16, case["tick"] % 2**24)
    assert found.x.shape == (0, 6 if names.gyroscope else 3)
    assert found.prediction
    assert (found.prediction.label, found.prediction.raw_label, found.prediction.reason) == (
        told.label,
        told.raw_label,
        told.reason,
    )
    assert found.prediction.score == pytest.approx(told.score, abs=1 / 65535)
    assert found.prediction.inference_s == pytest.approx(min(told.inference_s, 65535 * 64e-6), abs=32e-6)
    assert found.prediction.start_tick == told.start_tick


@pytest.mark.parametrize("key", ["few", "many"])
def test_golden_names(key: str) -> None:
    table = GOLDEN["names"][key]
    assert [piece.hex() for piece in labels.encode_names(NAMES[key])] == table["pieces"]
    assert labels.check_of(NAMES[key]) == table["check"]


@settings(deadline=None, max_examples=300)
@given(NAME, NAME, st.lists(NAME, min_size=1, max_size=60, unique=True), st.integers(1, 60_000), st.randoms())
def test_names_come_together_from_pieces_in_any_order(
    model: str, label_set: str, listed: list[str], hop_ms: int, rng: random.Random
) -> None:
    own = [label for label in listed if label != labels.UNKNOWN] or ["walking"]
    names = DeviceModelInfo(model, label_set, (*own, labels.UNKNOWN), hop_ms / 1000, True, False)
    pieces = labels.encode_names(names)
    order = [*pieces, *rng.sample(pieces, len(pieces))]
    gatherer = Gatherer()
    found = [gatherer.add(piece) for piece in order[rng.randrange(len(pieces)) :]]
    assert names in found
    assert {each for each in found if each} == {names}


def test_names_that_cannot_be_sent_are_refused() -> None:
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
            labels.encode_names(wrong)


def test_every_single_bit_error_is_found() -> None:
    for frame in (LABELS[0], PIECES[0]):
        payload = cobs_decode(frame[:-1])
        for bit in range(8 * len(payload)):
            damaged = bytearray(payload)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CodecError):
                labels.decode(bytes(damaged), FEW)
            with pytest.raises(CodecError):
                Gatherer().add(bytes(damaged))


def test_labels_of_other_names_or_beyond_them_are_damage() -> None:
    told = DevicePrediction(label=2, raw_label=2, score=1.0)
    with pytest.raises(CodecError, match="other names"):
        labels.decode(labels.encode(told, MANY, 0, 0), FEW)
    with pytest.raises(CodecError, match="label 9 of 3"):
        labels.decode(labels.encode(replace(told, raw_label=9), FEW, 0, 0), FEW)


def test_pieces_of_others_do_not_mix() -> None:
    first, *rest = labels.encode_names(MANY)
    others = labels.encode_names(replace(MANY, model="other"))
    gatherer = Gatherer()
    assert [gatherer.add(piece) for piece in (first, *others[1:], *rest)] == [None] * (len(rest) + len(others))
    assert gatherer.add(first) == MANY


def test_a_board_that_recognizes_is_found_with_its_names() -> None:
    for names, between in ((FEW, SAMPLES), (MANY, []), (replace(FEW, gyroscope=False, samples=False), [])):
        detector = Detector()
        pieces = [cobs_encode(piece) for piece in labels.encode_names(names)]
        for frame in (b"\x17\0", *between * 5, *pieces[1:]):
            detector.feed(frame)
        assert detector.found is None or len(pieces) == 1
        detector.feed(pieces[0])
        assert detector.found == DetectedFormat("packet", gyroscope=names.gyroscope, names=names)


def test_samples_and_labels_come_through_one_decoder() -> None:
    decoder = PacketDecoder(True, names=FEW)
    packets = decoder.feed(b"".join([*SAMPLES, LABELS[0], *PIECES, SAMPLES[0], LABELS[-1]]))
    assert [len(each.x) for each in packets] == [1, 1, 1, 0, 1, 0]
    assert [each.prediction is not None for each in packets] == [False] * 3 + [True, False, True]
    assert (decoder.bad, decoder.format.seq_bits, decoder.format.even) == (0, 16, True)
    alone = PacketDecoder(True, names=replace(FEW, samples=False))
    assert (alone.format.seq_bits, alone.format.even, alone.format.tick_bits) == (None, False, 24)


def test_what_a_port_was_opened_with_keeps_the_names() -> None:
    dialect = SerialFormat("packet", True, None, names=MANY)
    table = json.loads(json.dumps(dialect.dump()))
    assert SerialFormat.load(table) == dialect
    for wrong in (3, {}, {**table["names"], "labels": [1]}, {**table["names"], "hop_s": "x"}, {"model": "m"}):
        with pytest.raises(CodecError):
            SerialFormat.load({**table, "names": wrong})


def test_hostile_frames() -> None:
    survives(lambda: PacketDecoder(True, names=FEW), "", [*LABELS, *PIECES, *SAMPLES])


def test_frames_split_anywhere() -> None:
    splits_alike(lambda: PacketDecoder(True, names=FEW), [*LABELS, *PIECES, *SAMPLES], cases=2000)


def test_hostile_pieces() -> None:
    rng = random.Random(0)
    gatherer, pieces = Gatherer(), labels.encode_names(MANY)
    for _ in range(20_000):
        body = bytearray(rng.choice(pieces)[:-2])
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            found = gatherer.add(labels._closed(bytes(body[: rng.randrange(1, len(body) + 1)])))
        except CodecError:
            continue
        assert found is None or found.labels[-1] == labels.UNKNOWN
        assert len(gatherer._pieces) <= 255
