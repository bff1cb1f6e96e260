"""The FiMAD builder: videos, motion capture, skeletons and texts -> clips of up to four modalities -> shards."""
