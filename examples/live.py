"""Recognize live what the wearer of a Bluetooth device does.

    python examples/live.py                  the known wearable with the strongest signal, until Ctrl-C
    python examples/live.py "Polar" 60       the one whose name has "Polar" in it, for 60 s of signal

Without hardware, run `make sim-ble` in another terminal and use the address that it prints. `serial("auto")`,
`phone("browser", host="192.168.1.5")` or `replay("walk.csv", speed=1)` instead of `ble(...)` are the other sources.
"""

from __future__ import annotations

import sys

from mujo_edge import MujoError, ble, recognize


def main(name: str | None = None, seconds: str | None = None) -> None:
    """Print a line for every prediction; at the end time and bouts by label, and the counts."""
    run = recognize(ble(name), labels="physio-wrist", duration_s=float(seconds) if seconds else None)
    try:
        for prediction in run:  # inside asyncio: async for
            print(f"{prediction.end_s:9.2f} s  {prediction.label:25} {prediction.score:.2f}", flush=True)
    except KeyboardInterrupt:
        pass
    except MujoError as error:
        sys.exit(f"live.py: {error}")
    if run.summary:
        for each in run.summary.recognized.times:
            print(f"{each.label:25} {each.seconds:6.1f} s, bouts: {each.bouts}")
        stats = run.summary.tally.stats
        print(f"{run.summary.session.bundle}: {stats.samples} samples, {stats.lost} lost, {stats.gaps} gaps")


if __name__ == "__main__":
    main(*sys.argv[1:])
