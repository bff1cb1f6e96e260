"""Simulated wearables, phones and boards, for tests and for developers without the hardware."""
