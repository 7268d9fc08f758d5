"""Random choices of cells that follow from the cells and a seed, and not from the order of rows or from other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    return rows[order_by(cells.keys[rows], numpy_rng(seed, stream))]


def order_by(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random order ``(n,)`` of cells with these numbers, the same for the same numbers wherever they stand."""
    salt = rng.integers(2**64, dtype=np.uint64, endpoint=False)
    return np.argsort(pd.util.hash_array(own ^ salt), kind="stable")


def distinct_keys(names: pd.Index, matrix: Any, genes: pd.Index, *, chunk: int) -> np.ndarray:
    """Number ``(n_cells,)`` of each cell, from its name, and from its expression too where names repeat."""
    found = cell_keys(names)
    repeated = np.flatnonzero(names.duplicated(keep=False))
    for start in range(0, len(repeated), chunk):
        part = slice(start, start + chunk)
        found[repeated[part]] ^= content_keys(matrix[repeated[part]], genes)
    return found


def content_keys(rows: Any, genes: pd.Index) -> np.ndarray:
    """Number of each of the cells `rows` ``(n, G)``, from its expression in single precision."""
    # names of genes and not their places, so that the order of genes does not matter either
    of_gene = cell_keys(genes)
    found = sparse.csr_matrix(rows, dtype=np.float32)
    found.eliminate_zeros()
    values = of_gene[found.indices] * pd.util.hash_array(found.data.view(np.uint32).astype(np.uint64))
    # sums wrap around, and so do their differences
    running = np.concatenate([[np.uint64(0)], np.cumsum(values)])
    return np.asarray(running[found.indptr[1:]] - running[found.indptr[:-1]])
