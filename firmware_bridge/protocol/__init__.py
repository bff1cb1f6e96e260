"""Our own wire format: packets, framing, and predictions that a device makes itself."""
