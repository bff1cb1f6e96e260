"""The simulated link and its report."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bridge.time import Drift, Repair, Trouble, drift_table, link, repair, repair_table


def test_link_delivers_in_order_and_never_early_or_in_a_stall() -> None:
    taken = np.arange(5000) / 50
    arrival = link(taken, 0.045, np.random.default_rng(0), [(30.0, 0.5)])
    assert (arrival > taken).all()
    assert (np.diff(arrival) >= 0).all()
    assert not ((arrival >= 30.0) & (arrival < 30.5)).any()
    assert 0.02 < (arrival - taken).mean() < 0.04


def test_repair_reduces_lag_and_is_reproducible() -> None:
    row = repair(45, 25.0, Trouble("2 s lost", lost=(60.0, 62.0)))
    assert row == repair(45, 25.0, Trouble("2 s lost", lost=(60.0, 62.0)))
    assert (row.interval_ms, row.rate_hz, row.trouble) == (45, 25.0, "2 s lost")
    assert row.raw_sd_ms > 2 * row.sd_ms
    assert row.raw_lag_ms > row.lag_ms > 0
    assert row.most_ms < 60


@pytest.mark.parametrize(("interval_ms", "lag_ms", "sd_ms", "missed"), [
    (45, 8.0, 1.0, False), (45, 15.1, 1.0, True), (45, 8.0, 6.1, True), (45, -15.1, 1.0, True), (100, 30.0, 9.0, False),
])  # fmt: skip
def test_rows_beyond_a_limit_are_missed(interval_ms: int, lag_ms: float, sd_ms: float, missed: bool) -> None:
    assert Repair(interval_ms, 50.0, "steady", 26.0, 18.0, lag_ms, sd_ms, 20.0).missed is missed


def test_tables_are_markdown() -> None:
    table = repair_table([Repair(45, 50.0, "steady", 26.0, 18.0, 8.0, 1.0, 20.0)])
    assert table.splitlines()[-1] == "| 45 ms | 50 Hz | steady | 26.0 ms | 18.0 ms | 8.0 ms | 1.00 ms | 20 ms |"
    drifts = [Drift(45, at_s, 1.0, 2.0) for at_s in (30, 60, 120, 300)]
    assert "| 45 ms | 1.0 (2.0) ppm | 1.0 (2.0) ppm |" in drift_table(drifts)
    assert len({line.count("|") for line in table.splitlines()}) == 1
