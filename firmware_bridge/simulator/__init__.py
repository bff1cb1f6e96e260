"""Stand-ins for wearables, phones and boards, for tests and for makers without the hardware."""
