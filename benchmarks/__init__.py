"""Measurements behind the numbers in the documentation. Run with ``python -m benchmarks``."""

import os

# decoupler's loops would start as many threads as there are cores and set torch to as many, whose waiting counts as CPU time
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
