"""Where samples come from: each module has a `Source` (see `mujo_edge.core`)."""
