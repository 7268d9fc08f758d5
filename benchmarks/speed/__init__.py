"""How fast it is, as ratios against a reference that runs in the same process: ``python -m benchmarks speed``."""

import os

# decoupler's loops would start as many threads as there are cores, and set torch to as many
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
