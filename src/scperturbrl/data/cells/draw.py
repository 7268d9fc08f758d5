"""Random choices of cells that depend only on the cells and a seed, not on the order of rows or on other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core.random import numpy_rng

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells


def shuffled(cells: Cells, rows: np.ndarray, seed: int, stream: str) -> np.ndarray:
    """Return `rows` in a random order that depends on the cells and not on their rows.

    Every cell has its own random number in each stream of `seed`, and the cells are sorted by it. So the first n are a
    simple random sample, also within any subset of the cells.
    """
    return rows[order_by(cells.keys[rows], numpy_rng(seed, stream))]


def order_by(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order ``(n,)`` of cells with these keys; it does not depend on their positions."""
    salt = rng.integers(2**64, dtype=np.uint64, endpoint=False)
    return np.argsort(pd.util.hash_array(own ^ salt), kind="stable")
