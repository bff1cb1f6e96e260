"""Helpers of every step: command line, worker processes, provenance, tensors on disk."""
