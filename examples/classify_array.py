"""Classify motion that is in an array already: window by window, and as a stream with smoothing and any sample rate.

python examples/classify_array.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mujo_edge
from mujo_edge import Chunk, ModelBundle, Recognizer, StreamInfo

RECORDING = Path(mujo_edge.__file__).parent / "assets/recordings/spar-10/samples.csv"


def main() -> None:
    """Seven shoulder exercises of one person, a watch on the right wrist."""
    table = np.genfromtxt(RECORDING, delimiter=",", skip_header=1, usecols=range(7))
    t_s, x = table[:, 0], table[:, 1:].astype(np.float32)  # (n,) seconds; (n, 6) m/s2 with gravity, rad/s; 50 Hz
    bundle = ModelBundle.load()

    # Windows of 3 s, one every second: channels before time, (N, 6, 150).
    windows = np.lib.stride_tricks.sliding_window_view(x, bundle.input.window, axis=0)[::50]
    for second, (label, score) in enumerate(bundle.classify(windows, "physio-wrist")):
        if second % 10 == 0:
            print(f"window from {second:3d} s: {label} {score:.2f}")

    # The same samples as a stream at half the rate: resampled, smoothed over time, with gaps taken into account.
    info = StreamInfo("an array", ("ax", "ay", "az", "gx", "gy", "gz"), rate_hz=25.0)
    recognizer = Recognizer(bundle, info, "physio-wrist")
    predictions = recognizer.update(Chunk(t_s[::2], x[::2], received_s=0.0))
    changes = [p for p, before in zip(predictions[1:], predictions, strict=False) if p.label != before.label]
    for prediction in (predictions[0], *changes):
        print(f"stream from {prediction.end_s:6.2f} s: {prediction.label}")


if __name__ == "__main__":
    main()
