"""Random choices of cells that follow from the cells and a seed, and not from the order of rows or from other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.thinning import cell_keys

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells


def shuffled(cells: Cells, rows: np.ndarray, seed: int, stream: str) -> np.ndarray:
    """`rows` in random order: the same cells come in the same order, whatever their rows are.

    Every cell has a random number of its own in each stream of `seed`, and the cells are sorted by it. So the first n are a
    simple random sample, of which a part of the cells keeps its share.
    """
    salt = numpy_rng(seed, stream).integers(2**64, dtype=np.uint64, endpoint=False)
    numbers = pd.util.hash_array(cells.keys[rows] ^ salt)
    return rows[np.argsort(numbers, kind="stable")]


def distinct_keys(cells: Cells) -> np.ndarray:
    """Number ``(n_cells,)`` of each cell, from its name, and from its expression too where names repeat."""
    found = cell_keys(cells.names)
    repeated = np.flatnonzero(cells.names.duplicated(keep=False))
    # names of genes and not their places, so that the order of genes does not matter either
    of_gene = cell_keys(cells.genes)
    for part, block in cells.pieces(repeated):
        rows = sparse.csr_matrix(block, dtype=np.float32)
        rows.eliminate_zeros()
        values = of_gene[rows.indices] * pd.util.hash_array(rows.data.view(np.uint32).astype(np.uint64))
        # sums wrap around, and so do their differences
        running = np.concatenate([[np.uint64(0)], np.cumsum(values)])
        found[repeated[part]] ^= running[rows.indptr[1:]] - running[rows.indptr[:-1]]
    return found
