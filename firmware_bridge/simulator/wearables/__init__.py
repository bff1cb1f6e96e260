"""Virtual wearables, one module a profile: the device's end of each protocol, without a radio."""
