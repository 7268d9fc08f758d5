"""Measurements behind the numbers in the documentation. Run with ``python -m benchmarks``."""
