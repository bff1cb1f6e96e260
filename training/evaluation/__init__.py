"""Accuracy, retrieval and throughput measurements, their tables and their figures."""
