"""Motions of simulated sensors: rest, a sine, or a recording in a loop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from firmware_bridge.simulator.wearable import Motion
from firmware_bridge.stream import F32, F64, G

COLUMNS = ("ax_m_s2", "ay_m_s2", "az_m_s2", "gx_rad_s", "gy_rad_s", "gz_rad_s")


def rest(t_s: F64) -> F32:
    """(n,) -> (n, 6): flat on a table, display up; 1 g on z."""
    x = np.zeros((len(t_s), 6), np.float32)
    x[:, 2] = G
    return x


def sine(t_s: F64) -> F32:
    """(n,) -> (n, 6): 1 Hz with 0.5 g on x and 1 rad/s about z, and 1 g on z."""
    x = rest(t_s)
    x[:, 0] = 0.5 * G * np.sin(2 * np.pi * t_s)
    x[:, 5] = np.cos(2 * np.pi * t_s)
    return x


def recording(folder: Path) -> Motion:
    """The motion in a session folder of mujo-edge, played in a loop.

    Without gyroscope in the recording, its channels are 0 rad/s. Raises `OSError`, or `ValueError` if it is no session.
    """
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) < 2 or not {"t_s", *COLUMNS[:3]} <= rows[0].keys():
        raise ValueError(f"{folder} is not a session folder of mujo-edge with an accelerometer")
    t = np.array([float(row["t_s"]) for row in rows])
    table = np.array([[float(row.get(name) or 0) for name in COLUMNS] for row in rows])
    t -= t[0]
    period_s = float(t[-1] + np.median(np.diff(t)))

    def play(t_s: F64) -> F32:
        phase = np.mod(t_s, period_s)
        return np.stack([np.interp(phase, t, column) for column in table.T], 1).astype(np.float32)

    return play


def named(name: str) -> Motion:
    """`rest`, `sine`, or the recording in the folder `name`. Raises as `recording`."""
    return {"rest": rest, "sine": sine}.get(name) or recording(Path(name))
