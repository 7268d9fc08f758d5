"""How fast it is, as ratios against a reference that runs in the same process: ``python -m benchmarks speed``."""
