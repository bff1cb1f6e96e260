"""The child of `process`: runs in mediapipe's environment, without this project's packages.

stdin: per frame height and width (uint32 each), then its RGB bytes; height 0 starts a new video. stdout: `READY` once
the model is loaded, then per frame a count (uint32) of float32 values and the values: 0 without a visible person, else
33 rows of world x, y, z (meters), image x, y (fractions of width and height) and visibility.
"""

from __future__ import annotations

import os
import struct
import sys

READY = b"mujo"
HEADER = struct.Struct("<II")
COUNT = struct.Struct("<I")


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of native code must not mix with the answers
    import numpy as np
    from mediapipe.python.solutions.pose import Pose

    def start() -> Pose:
        # Complexity 1 is the model in the wheel; the others would be downloaded. MediaPipe's own smoothing is causal
        # and assumes 30 frames/s.
        return Pose(model_complexity=1, smooth_landmarks=False)

    pose = start()
    answers.write(READY)
    answers.flush()
    requests = sys.stdin.buffer
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        height, width = HEADER.unpack(header)
        if height == 0:
            pose.close()
            pose = start()
            continue
        frame = np.frombuffer(requests.read(height * width * 3), np.uint8).reshape(height, width, 3)
        result = pose.process(frame)
        rows = []
        if result.pose_landmarks and result.pose_world_landmarks:
            pairs = zip(result.pose_world_landmarks.landmark, result.pose_landmarks.landmark, strict=True)
            rows = [(w.x, w.y, w.z, i.x, i.y, i.visibility) for w, i in pairs]
        values = np.array(rows, "<f4")
        answers.write(COUNT.pack(values.size) + values.tobytes())
        answers.flush()
    pose.close()


if __name__ == "__main__":
    main()
