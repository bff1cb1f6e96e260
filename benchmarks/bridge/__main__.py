"""Benchmarks of the bridge: unmodified bleak with virtual wearables, with and without faults.

    python -m benchmarks.bridge profiles      scan -> label for every wearable; rate and units
    python -m benchmarks.bridge faults        samples sent = delivered + lost, labels unchanged; takes 15 minutes
    python -m benchmarks.bridge load          eight wearables on one core
    python -m benchmarks.bridge memory        half an hour of every wearable in simulated time

The first three need dbus-daemon and bumble (extra `sim`): the wearables run in a separate process. Each command takes
`--out FILE`, and exits with code 1 if it misses a target.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.bridge.memory import HALF_HOUR_MIN, half_hour
from benchmarks.bridge.runs import Run, joined, show, watch, world
from firmware_bridge.profiles import PROFILES
from firmware_bridge.simulator import motion
from firmware_bridge.simulator.conversation import converse, listen, samples
from firmware_bridge.simulator.wearables import WEARABLES
from firmware_bridge.stream import G
from mujo_edge.cli.arguments import HELP
from mujo_edge.core import F32, Chunk, Window
from mujo_edge.recognizer import Recognizer
from mujo_edge.signal import InputSpec, channels_first
from mujo_edge.sources.replay import shipped_recording
from mujo_edge.windowing import WindowPipeline

app = typer.Typer(context_settings=HELP, no_args_is_help=True, add_completion=False, help=__doc__.split("\n", 1)[0])

Json = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result here.")]

MEASURED_S = 12.0
RATE_TOLERANCE, UNIT_TOLERANCE = 0.02, 0.02
SINE_HZ, SINE_M_S2 = 1.0, 0.5 * G

NUMBERED = ("banglejs", "dot", "metamotion", "movesense", "mujo", "polar-h10", "polar-verity")
"""Wearables whose packets are numbered or timed, so that every sample is accounted for."""

RESTARTED = ("banglejs",)
"""Wearables whose program ends with the connection, and its counter with it: unsent samples are unknown then."""

SAME = 1e-3
"""Tolerance in m/s2 and rad/s for the same sample: far less than one count."""

WAITING = {"polar-verity": 36}
"""Most rows that may be waiting for the gyroscope at the end of a run: a frame of the accelerometer."""

SLOWEST_HZ = 4.0
"""Rate below which every step is a gap, and a sine of 1 Hz is not resolved: no label is expected."""

P99_LIMIT_MS = 20.0
RSS_LIMIT_MB = 5.0
RETURN_LIMIT_S = 3.0 + 3.0
"""Limit of the time to the first label after a device returned: three seconds, and one window."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A row of the fault table: the faults, their end, the duration, the simulator's options, and the wearables."""

    name: str
    faults: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    seconds: float = 45.0
    options: tuple[str, ...] = ()
    wearables: tuple[str, ...] = ()


TRIALS = (
    Trial("none"),
    Trial("10 % loss", ("0 loss 0.1",), ("0 loss 0",)),
    Trial("30 % loss", ("0 loss 0.3",), ("0 loss 0",)),
    Trial("2 s bursts", ("3/10 burst 2",)),
    Trial("500 ms stalls", ("3/10 stall 0.5",)),
    Trial("1 % corrupt", ("0 corrupt 0.01",), ("0 corrupt 0",)),
    Trial("20 disconnects in 5 min", ("5/15 disconnect 1",), seconds=300.0),
    Trial("clock 200 ppm fast", options=("--drift-ppm", "200"), seconds=120.0),
    Trial("16-bit sample counter wraps", seconds=25.0, options=("--first", str(2**16 - 800))),
    Trial("24-bit clock of 64 us wraps", seconds=25.0, options=("--first", "55300"), wearables=("mujo",)),
    Trial("32-bit clock of 1 us wraps", seconds=25.0, options=("--first", "257000"), wearables=("dot",)),
    Trial("32-bit clock of 1 ms wraps", seconds=25.0, options=("--first", "223337500"), wearables=("movesense",)),
    Trial("32-bit clock of 1 ms wraps", seconds=25.0, options=("--first", "214747600"), wearables=("banglejs",)),
    Trial("32-bit counter wraps", seconds=25.0, options=("--first", str(2**32 - 800)), wearables=("banglejs",)),
    Trial("32-bit clock of 1.46 ms wraps", seconds=25.0, options=("--first", "314572000"), wearables=("metamotion",)),
)


@app.command()
def profiles(json_file: Json = None) -> None:
    """Measure every wearable from scan to label, at rest and with a sine of 1 Hz and 0.5 g."""
    runs: dict[str, dict[str, Run]] = {}
    for name in ("rest", "sine"):
        with world(("all",), "--motion", name) as remote:
            runs[name] = asyncio.run(watch(remote, MEASURED_S))
    rows = [_profile_row(name, runs["rest"][name], sine) for name, sine in runs["sine"].items()]
    show("Every profile, scan to label", rows, json_file)
    _end(all(row["right"] for row in rows))


@app.command()
def faults(
    only: Annotated[str | None, typer.Option(help="Only trials whose name contains this.")] = None,
    wearable: Annotated[list[str] | None, typer.Option(help="Only this wearable; may be repeated.")] = None,
    json_file: Json = None,
) -> None:
    """Check that samples are delivered or counted as lost, and that undamaged windows keep their labels."""
    recording = str(shipped_recording())
    names = wearable or [*NUMBERED, "witmotion"]
    rows: list[dict[str, Any]] = []
    for trial in TRIALS:
        if only and only not in trial.name:
            continue
        wearables = trial.wearables or tuple(names)
        with world(wearables, "--motion", recording, *trial.options) as remote:
            runs = asyncio.run(watch(remote, trial.seconds, trial.faults, trial.end))
        rows += [_fault_row(trial, name, run) for name, run in zip(wearables, runs.values(), strict=True)]
        show(f"Fault: {trial.name}", rows[-len(runs) :], None)
    show("Every fault and wearable", rows, json_file)
    show("Faults, over the wearables that number or time their packets", _by_fault(rows), None)
    right = all(row["exact"] is not False and row["same labels"] == row["undamaged windows"] for row in rows)
    _end(right and all((row["label after return s"] or 0.0) < RETURN_LIMIT_S for row in rows))


@app.command()
def load(
    seconds: Annotated[float, typer.Option(help="Duration.")] = 60.0,
    json_file: Json = None,
) -> None:
    """Measure eight wearables at 50 Hz, one sample per notification, with the client on one core."""
    with world(("witmotion",) * 8, "--motion", str(shipped_recording()), "--rate", "50") as remote:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        cpu_s, wall_s = time.process_time(), time.monotonic()
        runs = asyncio.run(watch(remote, seconds))
        utilization = (time.process_time() - cpu_s) / (time.monotonic() - wall_s)
    totals = np.array([event.latency.total_ms for run in runs.values() for _, event in run.predictions])
    dropped = sum(run.summary.tally.stats.dropped_windows for run in runs.values() if run.summary)
    p50, p99 = np.percentile(totals, (50, 99))
    row = {
        "devices": len(runs),
        "samples": sum(run.delivered for run in runs.values()),
        "sent": sum(run.expected for run in runs.values()),
        "predictions": len(totals),
        "dropped windows": dropped,
        "p50 ms": round(float(p50), 2),
        "p99 ms": round(float(p99), 2),
        "share of one core": round(utilization, 3),
    }
    show("Eight wearables at 50 Hz on one core: notification to prediction", [row], json_file)
    _end(bool(p99 < P99_LIMIT_MS) and dropped == 0)


@app.command()
def memory(
    minutes: Annotated[float, typer.Option(help="Simulated minutes.")] = HALF_HOUR_MIN,
    json_file: Json = None,
) -> None:
    """Measure resident memory over half an hour of all wearables at once, with losses and disconnects."""
    rows = half_hour(minutes)
    show("Resident memory, every wearable at once, 10 % loss, a disconnect every 15 s", rows, json_file)
    _end(rows[-1]["grown MB"] <= RSS_LIMIT_MB)


def _profile_row(name: str, rest: Run, sine: Run) -> dict[str, Any]:
    assert sine.info
    assert sine.summary
    at_rest, moving = joined(rest.x), joined(sine.x)
    gravity = float(np.median(np.linalg.norm(at_rest[:, :3], axis=1))) if len(at_rest) else float("nan")
    amplitude, frequency_hz = _sine(joined(sine.t_s), moving)
    stats = sine.summary.tally.stats
    sent_hz = float(sine.sent["rate_hz"])
    rate_hz = stats.rate_hz or float("nan")
    sparse = name == "infinitime"  # sends only changes, so its rate is not that of its sensor
    slow = sent_hz < SLOWEST_HZ
    right = {
        "rate": slow or sparse or abs(rate_hz / sent_hz - 1) < RATE_TOLERANCE,
        "1 g": sparse or abs(gravity / G - 1) < UNIT_TOLERANCE,
        "sine": slow or (abs(amplitude / SINE_M_S2 - 1) < 5 * UNIT_TOLERANCE and abs(frequency_hz - SINE_HZ) < 0.05),
        "label": slow or bool(sine.predictions),
    }
    return {
        "wearable": name,
        "channels": len(sine.info.channels),
        "connected s": round(sine.entered_s, 2),
        "first sample s": round(sine.arrived_s[0], 2) if sine.arrived_s else None,
        "first label s": round(sine.predictions[0][0], 2) if sine.predictions else None,
        "sensor Hz": sent_hz,
        "measured Hz": round(rate_hz, 2),
        "|a| at rest": round(gravity, 3),
        "sine m/s2": round(amplitude, 3),
        "sine Hz": round(frequency_hz, 3),
        "wrong": ", ".join(check for check, is_right in right.items() if not is_right),
        "right": all(right.values()),
    }


def _sine(t_s: np.ndarray, x: F32) -> tuple[float, float]:
    """Amplitude and frequency of the strongest line between 0.5 and 2 Hz on the x axis, by least squares."""
    best = (0.0, 0.0)
    for frequency_hz in np.arange(0.5, 2.0, 0.005):
        phase = 2 * np.pi * frequency_hz * t_s
        basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], 1)
        (a, b, _), *_ = np.linalg.lstsq(basis, x[:, 0], rcond=None)
        best = max(best, (float(np.hypot(a, b)), float(frequency_hz)))
    return best


def _fault_row(trial: Trial, name: str, run: Run) -> dict[str, Any]:
    assert run.summary
    stats = run.summary.tally.stats
    numbered = name in NUMBERED and not (name in RESTARTED and "disconnect" in " ".join(trial.faults))
    same = _same_labels(name, run) if numbered else []
    returns = [note for note in run.notes if note.startswith("reconnected")]
    return {
        "fault": trial.name,
        "wearable": name,
        "sent": run.expected,
        "delivered": run.delivered,
        "lost": stats.lost,
        "corrupt": stats.corrupt,
        "gaps": stats.gaps,
        "twice": stats.repeated,
        "clock ppm": None if stats.drift_ppm is None else round(stats.drift_ppm),
        "exact": 0 <= run.expected - run.delivered - stats.lost <= WAITING.get(name, 0) if numbered else None,
        "undamaged windows": len(same),
        "same labels": sum(same),
        "label after return s": _label_after_return_s(trial, run),
        "notes": "; ".join(returns),
    }


def _label_after_return_s(trial: Trial, run: Run) -> float | None:
    """Longest time from a device's return into range to the first label, None without a disconnect."""
    words = trial.faults[0].split() if trial.faults else []
    if "disconnect" not in words:
        return None
    away_s = float(words[-1])
    arrived_s = np.array(run.arrived_s)
    labels_s = np.array([at_s for at_s, _ in run.predictions])
    left_s = arrived_s[:-1][np.diff(arrived_s) > away_s]
    firsts = [labels_s[labels_s > at_s + away_s] for at_s in left_s]
    waits_s = [float(first[0] - at_s - away_s) for first, at_s in zip(firsts, left_s, strict=True) if len(first)]
    return round(max(waits_s), 2) if waits_s else None


def _by_fault(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums over the wearables whose samples are all accounted for, one row per fault."""
    sums: list[dict[str, Any]] = []
    for fault in dict.fromkeys(row["fault"] for row in rows):
        counted = [row for row in rows if row["fault"] == fault and row["exact"] is not None]
        counts = ("sent", "delivered", "lost", "corrupt", "twice", "gaps", "undamaged windows", "same labels")
        exact = {"wearables": len(counted), "exact": sum(row["exact"] for row in counted)}
        sums.append({"fault": fault} | exact | {key: sum(row[key] for row in counted) for key in counts})
    return sums


def _same_labels(name: str, run: Run) -> list[bool]:
    """For each undamaged window, whether its label equals that of the same window without losses.

    Sample k is the same in every run, so the stream without losses is taken from the same wearable without a radio.
    Gaps are preserved, as they restart windows. A window is damaged if one of its samples is missing, lacks the
    gyroscope, or was corrupted undetected by a protocol without checksum.
    """
    recognizer = run.recognizer
    assert recognizer
    spec, rate_hz, begun = recognizer.bundle.input, float(run.sent["rate_hz"]), run.sent["begun"]
    twin = WEARABLES[name](motion.recording(shipped_recording()), first=begun)
    talk = converse(PROFILES[twin.profile], twin)
    x = samples(listen(talk, twin, run.expected / rate_hz + 5))
    assert twin.begun is not None
    t_s, first = np.unique(joined(run.t_s), return_index=True)
    received = joined(run.x)[first]
    numbers = np.rint((t_s - t_s[0]) * rate_hz).astype(int) + begun
    own = x[np.clip(numbers - twin.begun, 0, len(x) - 1)]
    changed_s = t_s[(np.abs(received - own) > SAME).any(1)]
    finite = np.isfinite(received).all(1)
    t_s, numbers = t_s[finite], numbers[finite]
    clean = WindowPipeline(spec, recognizer.info)
    windows: dict[int, Window] = {}
    for part in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(t_s) > spec.max_gap_s) + 1):
        every = np.arange(max(numbers[part[0]], twin.begun), numbers[part[-1]] + 1)
        times = np.interp(every, numbers[part], t_s[part])
        for event in clean.update(Chunk(times, x[every - twin.begun], 0.0)):
            if isinstance(event, Window):
                windows[round(event.end_s * spec.rate_hz)] = event
    pairs = [
        (window.x, windows[at].x)
        for window in recognizer.windows
        if window.coverage == 1
        and not _within(changed_s, window, spec)
        and (at := round(window.end_s * spec.rate_hz)) in windows
    ]
    if not pairs:
        return []
    labels, expected = (_labels(recognizer, np.stack(side)) for side in zip(*pairs, strict=True))
    return [label == other for label, other in zip(labels, expected, strict=True)]


def _within(times_s: np.ndarray, window: Window, spec: InputSpec) -> bool:
    """Whether one of the ascending times is in a window or next to it."""
    start_s = window.end_s - (spec.window + 1) / spec.rate_hz
    after = np.searchsorted(times_s, start_s)
    return after < len(times_s) and bool(times_s[after] <= window.end_s + 1 / spec.rate_hz)


def _labels(recognizer: Recognizer, x: F32) -> list[str]:
    embeddings = recognizer.bundle.embed(channels_first(x))
    names = recognizer.labels.names
    return [names[int(row.argmax())] for row in recognizer.labels.probabilities(embeddings)]


def _end(right: bool) -> None:
    if not right:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
