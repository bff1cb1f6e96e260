"""The other end of `pose_process`: runs in the environment that has mediapipe, and nothing of this project.

stdin: per frame height and width (uint32), then its RGB bytes; height 0 says that another video begins. stdout:
`READY` once the model can be had, then per frame a count (uint32) of float32 values and the values: none where nobody
is seen, else 33 rows of world x, y, z (meters), image x, y (shares of width and height) and visibility.
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
    os.dup2(2, 1)  # what native code prints must not get between the answers
    import numpy as np
    from mediapipe.python.solutions.pose import Pose

    def start() -> Pose:
        # Complexity 1 is the model in the wheel; the others would be downloaded. No filter: it looks back only, and
        # believes in 30 frames/s.
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
        found = pose.process(frame)
        rows = []
        if found.pose_landmarks and found.pose_world_landmarks:
            pairs = zip(found.pose_world_landmarks.landmark, found.pose_landmarks.landmark, strict=True)
            rows = [(w.x, w.y, w.z, i.x, i.y, i.visibility) for w, i in pairs]
        values = np.array(rows, "<f4")
        answers.write(COUNT.pack(values.size) + values.tobytes())
        answers.flush()
    pose.close()


if __name__ == "__main__":
    main()
