"""A number for every cell, which does not depend on the order of cells or genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl.data.cells.thinning import cell_keys


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
