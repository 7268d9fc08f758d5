"""Measurements behind the numbers in the documentation. Run with ``python -m benchmarks``."""

import os
import sys

# decoupler's loops would start as many threads as there are cores and set torch to as many, whose waiting counts as CPU time;
# numba does not allow a change once they run
if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
