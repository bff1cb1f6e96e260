"""Program inside the virtual machine: `mujo-edge stream --ble` through a sequence of faults.

The last line of its output is a JSON object: how mujo-edge ended and its summary, the counts of the simulator, how many
predictions came before, between and after the faults, and [t_s, ax, ay, az] of the samples in the recording.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Timer

from firmware_bridge.simulator.remote import RemoteWorld

FAULTS = ("0 disconnect 1", "0 adapter-off 1")

ENOUGH = 2
"""Predictions to wait for. An emulated processor may fall behind: then there are fewer of them a second."""

PATIENCE_S = 200.0


def main(options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name, RemoteWorld("mujo", options=options) as world:
        folder = Path(name) / "recording"
        call = [str(Path(sys.executable).parent / "mujo-edge"), "stream", "--ble", "--json", f"--record={folder}"]
        client = subprocess.Popen(
            call, stdout=subprocess.PIPE, text=True, env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": world.address}
        )
        limit = Timer(PATIENCE_S, client.send_signal, [signal.SIGINT])
        limit.start()
        predictions = [0]
        faults = iter(FAULTS)
        summary = None
        assert client.stdout is not None
        for line in client.stdout:
            print(line[:150].rstrip(), flush=True)
            event = json.loads(line)
            match event["type"]:
                case "prediction":
                    predictions[-1] += 1
                    if predictions[-1] == ENOUGH:
                        fault = next(faults, None)
                        if fault is None:
                            client.send_signal(signal.SIGINT)
                        else:
                            world.fault(fault)
                case "gap":
                    predictions.append(0)
                case "summary":
                    summary = event
        code = client.wait()
        limit.cancel()
        counts = world.stats()["mujo"]
        with (folder / "samples.csv").open(newline="") as file:
            keys = ("t_s", "ax_m_s2", "ay_m_s2", "az_m_s2")
            rows = [[float(row[key]) for key in keys] for row in csv.DictReader(file)]
        report = {"code": code, "predictions": predictions, "summary": summary, "counts": counts, "rows": rows}
        print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
