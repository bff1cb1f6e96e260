"""Short videos whose gray level encodes the time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GRAY_PER_S = 20.0


def write_video(
    path: Path,
    seconds: float = 4.0,
    rate_hz: int = 24,
    size: tuple[int, int] = (64, 48),
    times: Sequence[float] | None = None,
    chapters: Sequence[tuple[str, float, float]] = (),
) -> Path:
    """MPEG-4 video of `size` (width, height) at `rate_hz`, or with frames at `times`; gray = seconds x GRAY_PER_S.

    `chapters` are (title, start, end) in seconds, written into the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate_hz)) / rate_hz if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate_hz, bit_rate=2_000_000)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 12
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1200)
        if chapters:
            base = Fraction(1, 1000)
            container.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": base,
                        "metadata": {"title": title},
                    }
                    for number, (title, start, end) in enumerate(chapters)
                ]
            )
        for t_s in times:
            gray = np.full((size[1], size[0], 3), 20 + t_s * GRAY_PER_S, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24")
            frame.pts, frame.time_base = round(t_s * 1200), Fraction(1, 1200)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """An audio file with a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def time_of(rgb: np.ndarray) -> float:
    """Time in seconds encoded in a frame."""
    return (float(np.median(rgb)) - 20) / GRAY_PER_S
