"""File formats of motion capture, and the canonical skeleton. The command compares the skeletons of all sources."""
