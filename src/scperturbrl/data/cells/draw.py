"""Random choices of cells that follow from the cells and a seed, and not from the order of rows or from other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scperturbrl._core.random import numpy_rng

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells


def shuffled(cells: Cells, rows: np.ndarray, seed: int, stream: str) -> np.ndarray:
    """`rows` in random order: the same cells come in the same order, whatever their rows are.

    Every cell has a random number of its own in each stream of `seed`, and the cells are sorted by it. So the first n are a
    simple random sample, of which a part of the cells keeps its share.
    """
    return rows[order_by(cells.keys[rows], numpy_rng(seed, stream))]


def order_by(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order ``(n,)`` of cells with these numbers, the same for the same numbers wherever they stand."""
    salt = rng.integers(2**64, dtype=np.uint64, endpoint=False)
    return np.argsort(pd.util.hash_array(own ^ salt), kind="stable")
