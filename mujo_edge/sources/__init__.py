"""Sources of samples: each module or room has a `Source` (see `mujo_edge.core`)."""
