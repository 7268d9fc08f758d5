"""Speed, as ratios to a reference in the same process: ``python -m benchmarks speed``."""
