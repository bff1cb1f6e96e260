"""mujo-edge's own wire format: packets of samples, framing, and predictions that a device makes itself."""
