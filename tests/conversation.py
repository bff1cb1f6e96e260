"""See `firmware_bridge.simulator.conversation`."""

from firmware_bridge.simulator.conversation import *  # noqa: F403
