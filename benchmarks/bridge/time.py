"""Accuracy of sample times: repaired arrival times of a device without clock, and drift estimates of one with a clock.

    python -m benchmarks.bridge.time --out bridge_time.json

Everything is simulated and seeded: a sensor samples evenly, 0.5 % faster than its nominal rate; each packet waits for
the next connection event, arrives up to 3 ms after it, and one in 500 is retransmitted for 50 to 250 ms, which delays
those behind it. Lag is the time assigned to a sample minus the time at which it was taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from firmware_bridge.protocol.packet import SEQ_BITS, TICK_BITS, TICK_HZ
from firmware_bridge.stream import ACC, F64, Format, Packet
from mujo_edge.benchmark import machine
from mujo_edge.cli.arguments import run_alone
from mujo_edge.sources.estimators import GUESS_HZ
from mujo_edge.sources.timebase import REPAIR_S, Timebase

SEEDS = (0, 1, 2, 3)
INTERVALS_MS = (15, 30, 45, 100)
RATES_HZ = (12.5, 25.0, 50.0, 100.0)
SECONDS = 120.0

FAST = 1.005
JITTER_S, RESENT, RESENT_S = 0.003, 1 / 500, (0.05, 0.25)

LIMIT_MS, SD_LIMIT_MS, LAG_LIMIT_MS = 45, 6.0, 15.0
"""Up to this connection interval, limits of the repaired jitter's standard deviation and of the mean lag."""

DRIFT_PPM, DRIFT_AT_S, DRIFT_LIMIT_PPM = 200.0, (60, 120, 300), 15.0
"""Drift of a device's clock, times at which the estimate is read, and its largest error after two minutes."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Irregularities of a link or a device.

    `stated` is the nominal rate as a fraction of the true one, None if unknown. `scattered` is the fraction of packets
    that are lost individually, which is undetectable without packet numbers.
    """

    name: str
    stated: float | None = 1.0
    stalls: tuple[tuple[float, float], ...] = ()
    lost: tuple[float, float] = (0.0, 0.0)
    batch: int = 1
    scattered: float = 0.0


TROUBLES = (
    Trouble("500 ms stalls", stalls=((40.0, 0.5), (80.0, 0.5))),
    Trouble("2 s lost", lost=(60.0, 62.0)),
    Trouble("rate stated 5 % low", stated=0.95),
    Trouble("rate stated 5 % high", stated=1.05),
    Trouble("rate not stated", stated=None),
    Trouble("batches of 10", batch=10),
    Trouble("10 % lost", scattered=0.1),
    Trouble("30 % lost", scattered=0.3),
)


@dataclass(frozen=True, slots=True)
class Repair:
    """Lag over all seeds, after the first `REPAIR_S`: mean, standard deviation and greatest, raw and repaired."""

    interval_ms: int
    rate_hz: float
    trouble: str
    raw_lag_ms: float
    raw_sd_ms: float
    lag_ms: float
    sd_ms: float
    most_ms: float
    scattered: bool = False

    @property
    def missed(self) -> bool:
        """Whether it exceeds a limit that applies to it."""
        limited = self.interval_ms <= LIMIT_MS and not self.scattered
        return limited and (self.sd_ms >= SD_LIMIT_MS or abs(self.lag_ms) >= LAG_LIMIT_MS)


@dataclass(frozen=True, slots=True)
class Drift:
    """Error of the drift estimate `after_s` of 50 Hz, over all seeds."""

    interval_ms: int
    after_s: int
    rms_ppm: float
    most_ppm: float


def link(taken_s: F64, interval_s: float, rng: np.random.Generator, stalls: Sequence[tuple[float, float]] = ()) -> F64:
    """Arrival times (n,) of packets that are ready at `taken_s` (n,), in order. A stall is (start, duration)."""
    phase_s = rng.uniform(0, interval_s)
    arrival = (np.floor((taken_s - phase_s) / interval_s) + 1) * interval_s + phase_s
    arrival += rng.uniform(0, JITTER_S, len(taken_s))
    arrival += (rng.random(len(taken_s)) < RESENT) * rng.uniform(*RESENT_S, len(taken_s))
    for begin_s, lasts_s in stalls:
        stalled = (arrival >= begin_s) & (arrival < begin_s + lasts_s)
        arrival[stalled] = begin_s + lasts_s
    return np.asarray(np.maximum.accumulate(arrival))


def repair(interval_ms: int, rate_hz: float, trouble: Trouble) -> Repair:
    """Measure the lag of samples without device time or number."""
    raw, repaired = [], []
    for seed in SEEDS:
        numbers = np.arange(int(SECONDS * rate_hz)).reshape(-1, trouble.batch)
        taken = numbers / (rate_hz * FAST)
        received = link(taken[:, -1], interval_ms / 1e3, np.random.default_rng(seed), trouble.stalls)
        arrived = (taken[:, 0] < trouble.lost[0]) | (taken[:, 0] >= trouble.lost[1])
        arrived &= np.random.default_rng([seed, 1]).random(len(arrived)) >= trouble.scattered
        timebase = Timebase(Format(ACC, trouble.stated and trouble.stated * rate_hz))
        packet = Packet(np.zeros((trouble.batch, 3), np.float32))
        stamps = np.stack([timebase.stamp(packet, at_s)[0] for at_s in received[arrived].tolist()])
        settled = taken[arrived][:, -1] > REPAIR_S
        raw.append((received[arrived] - taken[arrived][:, -1])[settled])
        repaired.append((stamps - taken[arrived])[settled].ravel())
    before, after = 1e3 * np.concatenate(raw), 1e3 * np.concatenate(repaired)
    return Repair(
        interval_ms,
        rate_hz,
        trouble.name,
        *(round(float(value), 2) for value in (before.mean(), before.std(), after.mean(), after.std())),
        round(float(np.abs(after).max()), 1),
        trouble.scattered > 0,
    )


def drift(interval_ms: int) -> list[Drift]:
    """Measure the drift estimate for mujo-edge's own packets at `GUESS_HZ`, from a clock that runs `DRIFT_PPM` fast."""
    errors = np.empty((len(SEEDS), len(DRIFT_AT_S)))
    for row, seed in enumerate(SEEDS):
        taken = np.arange(int(DRIFT_AT_S[-1] * GUESS_HZ)) / GUESS_HZ
        received = link(taken, interval_ms / 1e3, np.random.default_rng(seed))
        ticks = np.rint(taken * (1 + DRIFT_PPM * 1e-6) * TICK_HZ).astype(int) % (1 << TICK_BITS)
        timebase = Timebase(Format(ACC, GUESS_HZ, TICK_HZ, TICK_BITS, SEQ_BITS))
        x = np.zeros((1, 3), np.float32)
        estimates = []
        for number, (tick, at_s) in enumerate(zip(ticks.tolist(), received.tolist(), strict=True)):
            timebase.stamp(Packet(x, seq=number % (1 << SEQ_BITS), tick=tick), at_s)
            estimates.append(timebase.drift_ppm)
        errors[row] = [(estimates[int(at_s * GUESS_HZ) - 1] or 0.0) - DRIFT_PPM for at_s in DRIFT_AT_S]
    rms, most = np.sqrt((errors**2).mean(0)), np.abs(errors).max(0)
    return [
        Drift(interval_ms, at_s, round(float(r), 1), round(float(m), 1))
        for at_s, r, m in zip(DRIFT_AT_S, rms, most, strict=True)
    ]


def repair_table(rows: Sequence[Repair]) -> str:
    """A Markdown table of repaired arrival times."""
    lines = [
        "| interval | rate | link | raw lag | raw sd | lag | sd | most |",
        "|--:|--:|---|--:|--:|--:|--:|--:|",
        *(
            f"| {row.interval_ms} ms | {row.rate_hz:g} Hz | {row.trouble} | {row.raw_lag_ms:.1f} ms | "
            f"{row.raw_sd_ms:.1f} ms | {row.lag_ms:.1f} ms | {row.sd_ms:.2f} ms | {row.most_ms:.0f} ms |"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def drift_table(rows: Sequence[Drift]) -> str:
    """A Markdown table with a row per connection interval and a column per time: rms and greatest error."""
    head = " | ".join(f"after {at_s} s" for at_s in DRIFT_AT_S)
    lines = [f"| interval | {head} |", "|--:|" + "--:|" * len(DRIFT_AT_S)]
    for interval_ms in INTERVALS_MS:
        cells = [f"{row.rms_ppm:.1f} ({row.most_ppm:.1f}) ppm" for row in rows if row.interval_ms == interval_ms]
        lines.append(f"| {interval_ms} ms | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(
    json_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result here.")] = None,
) -> None:
    """Measure repaired arrival times and drift estimates. Exit code 1 if a limit is exceeded."""
    plain = Trouble("steady")
    repairs = [repair(interval_ms, rate_hz, plain) for interval_ms in INTERVALS_MS for rate_hz in RATES_HZ]
    repairs += [repair(LIMIT_MS, 50.0, trouble) for trouble in TROUBLES]
    drifts = [row for interval_ms in INTERVALS_MS for row in drift(interval_ms)]
    typer.echo(f"Arrival repaired, {len(SEEDS)} runs of {SECONDS:g} s each\n\n{repair_table(repairs)}\n")
    typer.echo(f"Error of the drift estimate, {DRIFT_PPM:g} ppm, 50 Hz: rms (greatest)\n\n{drift_table(drifts)}")
    if json_file:
        content = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "seeds": SEEDS,
            "repair": [asdict(row) for row in repairs],
            "drift": [asdict(row) for row in drifts],
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n")
    late = [row for row in drifts if row.after_s >= 120 and row.most_ppm >= DRIFT_LIMIT_PPM]
    if late or any(row.missed for row in repairs):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_alone(main)
