"""Fault scripts and their effects on packets, without a radio."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from firmware_bridge.simulator.faults import KINDS, Fault, in_time, parse, script
from firmware_bridge.simulator.radio import Carriage

NOTIFICATION = bytes.fromhex("0500 0400 1b 0300 aabb")
ANSWER = bytes.fromhex("0100 0400 13")


def test_fault_has_a_time_a_kind_an_amount_and_optionally_a_wearable() -> None:
    assert parse("10 loss 0.1") == Fault(10, "loss", 0.1)
    assert parse(" 2.5/15  disconnect 3 polar-2 ") == Fault(2.5, "disconnect", 3, "polar-2", every_s=15)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is not a fault"),
        ("loss 0.1", "is not a fault"),
        ("1 loss 0.1 polar x", "is not a fault"),
        ("1 los 0.1", "no fault is called 'los'"),
        ("x loss 0.1", "'x' is not a number"),
        ("-1 loss 0.1", "'-1' is not a number"),
        ("nan loss 0.1", "'nan' is not a number"),
        ("1/0 loss 0.1", "every 0 seconds"),
        ("1 loss inf", "'inf' is not a number"),
        ("1 loss 1.1", "fraction from 0 to 1"),
        ("1 skip 1.5", "whole number"),
        ("1 adapter-off 3 polar", "affects all wearables"),
    ],
)
def test_invalid_faults_are_rejected(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(line)


def test_script_has_one_fault_per_line() -> None:
    text = "# a bad day\n1 burst 2   # everybody\n\n3 skip 5 mujo\n"
    assert script(text) == (Fault(1, "burst", 2), Fault(3, "skip", 5, "mujo"))


def test_faults_are_ordered_by_time_and_repeated() -> None:
    steps = in_time(script("7 loss 0.5\n5/10 disconnect 0\n2/4 stall 0.1"))
    assert [(step.at_s, step.kind) for step in islice(steps, 6)] == [
        (2, "stall"),
        (5, "disconnect"),
        (6, "stall"),
        (7, "loss"),
        (10, "stall"),
        (14, "stall"),
    ]


def test_every_kind_has_help() -> None:
    assert all(kind.help and kind.amount in ("fraction", "s", "count") for kind in KINDS.values())


def test_loss_has_its_rate_and_is_reproducible() -> None:
    def lost(seed: int) -> list[bool]:
        carriage = Carriage(Random(seed), loss=0.3)
        fates = [carriage.survive(b"x", 0.0) is None for _ in range(2000)]
        assert (carriage.sent, carriage.lost) == (2000, sum(fates))
        return fates

    assert lost(1) == lost(1) != lost(2)
    assert 540 < sum(lost(1)) < 660


def test_burst_loses_everything() -> None:
    carriage = Carriage(Random(0), deaf_until_s=2.0)
    assert [carriage.survive(b"x", now_s) for now_s in (0.0, 1.9, 2.0)] == [None, None, b"x"]
    assert carriage.lost == 2


def test_corruption_changes_one_byte() -> None:
    carriage = Carriage(Random(0), corruption=1.0)
    payload = bytes(range(20))
    for _ in range(100):
        damaged = carriage.survive(payload, 0.0)
        assert damaged is not None
        assert sum(a != b for a, b in zip(damaged, payload, strict=True)) == 1
    assert carriage.survive(b"", 0.0) == b""
    assert carriage.corrupted == 100


def test_delays_apply_to_their_packets() -> None:
    assert Carriage(Random(0)).due_s(NOTIFICATION, 1.0) == 1.0
    assert Carriage(Random(0), delay_s=0.5).due_s(NOTIFICATION, 1.0) == 1.5
    assert Carriage(Random(0), delay_s=0.5).due_s(ANSWER, 1.0) == 1.0
    assert Carriage(Random(0), answer_s=0.5).due_s(ANSWER, 1.0) == 1.5
    assert Carriage(Random(0), stalled_until_s=3.0).due_s(NOTIFICATION, 1.0) == 3.0
    assert Carriage(Random(0), stalled_until_s=3.0).due_s(ANSWER, 4.0) == 4.0
    assert Carriage(Random(0), interval_s=0.25).due_s(NOTIFICATION, 1.125) == 1.25
    assert Carriage(Random(0), interval_s=0.25).due_s(NOTIFICATION, 1.25) == 1.25
