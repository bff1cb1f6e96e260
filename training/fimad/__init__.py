"""The FiMAD builder: videos, motion capture, skeletons and texts -> clips, each with its modalities -> shards."""
